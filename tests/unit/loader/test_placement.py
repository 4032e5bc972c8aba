"""Instances get cores of their own while there are some, near each other, and spread evenly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.errors import SettingsError
from headrace.loader.placement import Claim, place, suited
from headrace.settings import ModelSettings, Placement
from headrace.topology import Machine
from tests.unit.machines import machine

MACHINES = st.builds(
    machine,
    st.integers(1, 4),
    st.sampled_from([2, 4, 8]),
    halves=st.integers(1, 2),
    caches=st.sampled_from([1, 2]),
)
COUNTS = st.integers(1, 12)


def wants(instances: int, threads: int = 1, how: Placement = Placement.CORES) -> ModelSettings:
    return ModelSettings(instances=instances, threads=threads, placement=how)


def placed(plan: Machine, *models: ModelSettings, receivers: int = 1) -> list[Claim]:
    """The claims of models that come one after the other."""
    claims: list[Claim] = []
    for model in models:
        claim = place(plan, claims, model, receivers)
        assert claim is not None
        claims.append(claim)
    return claims


def union(claim: Claim) -> set[int]:
    return {number for cores in claim.cores for number in cores}


@given(MACHINES, COUNTS, COUNTS)
def test_every_instance_has_cores_and_none_are_shared_within_a_model(
    plan: Machine, instances: int, threads: int
) -> None:
    claim = place(plan, (), wants(instances, threads), 1)
    assert (claim is None) == (instances * threads > len(plan.cpus))
    if claim is not None:
        assert [len(cores) for cores in claim.cores] == [threads] * instances
        assert len(union(claim)) == instances * threads
        assert union(claim) <= {cpu.number for cpu in plan.cpus}


@given(MACHINES, st.lists(st.tuples(COUNTS, st.integers(1, 4)), min_size=1, max_size=4))
def test_models_share_none_while_there_are_enough(
    plan: Machine, models: list[tuple[int, int]]
) -> None:
    assume(sum(i * t for i, t in models) <= len(plan.cpus))
    claims = placed(plan, *(wants(*model) for model in models))
    assert len(set().union(*map(union, claims))) == sum(i * t for i, t in models)


@given(MACHINES, COUNTS, st.integers(1, 8))
def test_an_instance_that_fits_a_node_has_cores_of_one(
    plan: Machine, instances: int, threads: int
) -> None:
    nodes = {cpu.number: cpu.node for cpu in plan.cpus}
    sizes = Counter(nodes.values())
    assume(instances <= sum(size // threads for size in sizes.values()))
    (claim,) = placed(plan, wants(instances, threads))
    assert all(len({nodes[number] for number in cores}) == 1 for cores in claim.cores)


@given(MACHINES, COUNTS, st.integers(1, 4))
def test_instances_are_spread_over_the_nodes_evenly(
    plan: Machine, instances: int, threads: int
) -> None:
    nodes = {cpu.number: cpu.node for cpu in plan.cpus}
    counts = Counter(dict.fromkeys(nodes.values(), 0))
    assume(instances <= min(Counter(nodes.values()).values()) // threads * len(counts))
    (claim,) = placed(plan, wants(instances, threads), receivers=0)
    counts.update(nodes[cores[0]] for cores in claim.cores)
    assert max(counts.values()) - min(counts.values()) <= 1


@given(MACHINES, COUNTS)
def test_physical_cores_come_before_their_second_halves(plan: Machine, instances: int) -> None:
    physical = {cpu.number: cpu.core for cpu in plan.cpus}
    assume(instances <= len(set(physical.values())))
    (claim,) = placed(plan, wants(instances))
    assert len({physical[number] for number in union(claim)}) == instances


@given(MACHINES, COUNTS, st.integers(1, 2))
def test_cores_are_left_to_the_receivers_while_there_are_others(
    plan: Machine, instances: int, receivers: int
) -> None:
    physical = {cpu.number: cpu.core for cpu in plan.cpus}
    assume(instances + receivers <= len(set(physical.values())))
    (claim,) = placed(plan, wants(instances), receivers=receivers)
    assert not {physical[number] for number in union(claim)} & set(range(receivers))


def test_an_instance_stays_within_a_cache_where_it_fits() -> None:
    (claim,) = placed(machine(1, 8, caches=2), wants(2, 4), receivers=0)
    assert sorted(claim.cores) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_models_that_want_more_than_there_is_share_what_fewest_have() -> None:
    first, second, third = placed(machine(1, 4), wants(3), wants(2), wants(3))
    assert len(union(first) & union(second)) == 1
    uses = Counter(n for claim in (first, second, third) for n in union(claim))
    assert sorted(uses.values()) == [2, 2, 2, 2]


def test_each_model_is_on_a_node_and_they_are_spread() -> None:
    plan = machine(2, 4)
    one = wants(2, how=Placement.NODE)
    first, second, third = placed(plan, one, wants(1, how=Placement.NODE), one)
    assert first.cores == ((0, 1, 2, 3),) * 2
    assert second.cores == ((4, 5, 6, 7),)
    assert third.cores == ((4, 5, 6, 7),) * 2  # where one is, not two


def test_a_model_that_fits_no_node_is_not_placed_on_one() -> None:
    assert place(machine(2, 4), (), wants(5, how=Placement.NODE), 1) is None


def test_without_a_number_of_instances_there_are_as_many_as_a_node_has_room_for() -> None:
    asked = wants(8, how=Placement.NODE)
    assert suited(machine(2, 4), "m", asked, said=False).instances == 4
    assert suited(machine(1, 8), "m", asked, said=False).instances == 8


@pytest.mark.parametrize(
    ("plan", "settings", "words"),
    [
        (machine(2, 4), wants(3, 3), "wants 9 cores, and this machine has 8: lower `instances`"),
        (machine(2, 4), wants(5, how=Placement.NODE), "a memory node here has 4"),
        (replace(machine(1, 8), quota=2), wants(1), "quota of 2 of 8.*cpuset"),
        (
            machine(1, 2),
            ModelSettings(instances=1, device="cuda", placement=Placement.NODE),
            "cuda:0 runs this: say `placement: none`",
        ),
    ],
)
def test_what_a_machine_has_not_is_refused_with_what_to_change(
    plan: Machine, settings: ModelSettings, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        suited(plan, "m", settings, said=True)


def test_a_quota_does_not_keep_a_model_from_a_node() -> None:
    asked = wants(2, how=Placement.NODE)
    assert suited(replace(machine(2, 8), quota=2), "m", asked, said=True) == asked
