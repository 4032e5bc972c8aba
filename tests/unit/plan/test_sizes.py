"""What loads show of the sizes of batches, beside each other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.plan.seen import Between
from headrace.plan.sizes import corrected, factors
from tests.unit.plan.profiles import machine, question


def said_s(rows: int) -> float:
    return 0.004 + 0.001 * rows


def load(slower: float, counts: Mapping[int, int], truth: Mapping[int, float]) -> Between:
    """So many runs of each size, on a machine that is so much slower than at warm-up."""
    runs = [
        (rows, count, count * slower * truth.get(rows, 1.0) * said_s(rows))
        for rows, count in counts.items()
    ]
    return Between(1.0, 100, tuple(runs))


@settings(deadline=None)
@given(st.floats(0.3, 3), st.floats(0.3, 3), st.floats(0.5, 2), st.floats(0.5, 2))
def test_sizes_are_found_whatever_each_load_does_to_all(
    quiet: float, busy: float, two: float, eight: float
) -> None:
    truth = {2: two, 8: eight}
    loads = [load(quiet, {1: 4000, 2: 4000}, truth), load(busy, {2: 4000, 8: 4000}, truth)]
    found = dict(factors(said_s, loads))
    assert found[2] / found[1] == pytest.approx(two, rel=0.02)
    assert found[8] / found[1] == pytest.approx(eight, rel=0.02)


def test_sizes_that_never_ran_beside_others_stay_as_warm_up_said() -> None:
    found = factors(said_s, [load(1.0, {1: 1000}, {}), load(1.5, {16: 1000}, {16: 0.7})])
    assert [factor for _, factor in found] == pytest.approx([1.0, 1.0])


def test_few_runs_are_believed_in_part_and_fewest_not_at_all() -> None:
    def found(count: int) -> dict[int, float]:
        return dict(factors(said_s, [load(1.0, {1: 1000, 4: count}, {4: 0.5})]))

    assert found(4) == {}
    few, many = found(10), found(1000)
    assert 0.5 < many[4] / many[1] < few[4] / few[1] < 1


@pytest.mark.parametrize("loads", [(), (load(1.0, {1: 100}, {}),), (Between(1.0, 0, ()),)])
def test_one_size_tells_nothing(loads: tuple[Between, ...]) -> None:
    assert factors(said_s, loads) == ()


def test_run_times_are_as_they_were_and_those_between_as_their_neighbours() -> None:
    known = machine(question()).known
    assert corrected(known, ()) == known
    before, after = known.latency(), corrected(known, ((1, 0.9), (4, 0.8))).latency()
    ratios = [after.expect(4, rows) / before.expect(4, rows) for rows in (1, 2, 4, 8, 16)]
    assert ratios == pytest.approx([0.9, 0.85, 0.8, 0.8, 0.8], rel=0.01)
