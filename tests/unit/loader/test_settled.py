from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.loader.settled import Look, Settled, Step
from headrace.order import VersionPolicy

SETTLE_S = 2.0


def _look(
    there: Mapping[int, Any], serving: Mapping[int, Any], latest: int | None = None, **more: Any
) -> Look:
    return Look(there, serving, choose=VersionPolicy(latest=latest).choose, **more)


def test_a_version_counts_when_nothing_of_it_has_changed_for_the_settle_time() -> None:
    settled = Settled(SETTLE_S)
    assert settled.step(0.0, _look({2: "half"}, {1: "a"} | {})) == Step()
    assert settled.step(1.5, _look({2: "whole"}, {})) == Step()
    assert settled.step(3.0, _look({2: "whole"}, {})) == Step()
    assert settled.step(3.5, _look({2: "whole"}, {})) == Step(load=(2,))


def test_what_could_not_be_loaded_is_tried_again_when_it_changes() -> None:
    settled = Settled(0.0)
    settled.tried(2, "broken")
    assert settled.step(0.0, _look({2: "broken"}, {})) == Step()
    assert settled.step(1.0, _look({2: "mended"}, {})) == Step(load=(2,))


def test_what_found_no_room_is_tried_at_every_look_at_which_nothing_leaves() -> None:
    settled = Settled(0.0)
    there = {1: "a", 2: "b"}
    assert settled.step(0.0, _look(there, {1: "a"})) == Step(load=(2,))
    for now_s in (1.0, 2.0):
        settled.tried(2, "b")
        settled.again(2)
        assert settled.step(now_s, _look(there, {1: "a"})) == Step(load=(2,))
    # Version 3 serves, so that the last to have room need not stay when its files are deleted.
    there, serving = {2: "b", 3: "c"}, {1: "a", 3: "c"}
    assert settled.step(3.0, _look(there, serving)) == Step(unload=(1,))
    assert settled.step(4.0, _look(there, {3: "c"})) == Step(load=(2,))
    assert settled.step(5.0, _look(there, there)) == Step()


def test_with_latest_1_the_old_version_goes_when_the_new_one_serves_and_not_before() -> None:
    settled = Settled(0.0)
    there = {1: "a", 2: "b"}
    assert settled.step(0.0, _look(there, {1: "a"}, latest=1)) == Step(load=(2,))
    settled.tried(2, "b")
    assert settled.step(1.0, _look(there, {1: "a"}, latest=1)) == Step()
    assert settled.step(2.0, _look(there, there, latest=1)) == Step(unload=(1,))


def test_with_latest_1_an_older_version_comes_back_when_the_newest_is_deleted() -> None:
    settled = Settled(0.0)
    settled.tried(1, "a")
    settled.step(0.0, _look({1: "a", 2: "b"}, {1: "a", 2: "b"}, latest=1))
    assert settled.step(1.0, _look({1: "a"}, {2: "b"}, latest=1)) == Step(load=(1,))
    assert settled.step(2.0, _look({1: "a"}, {1: "a", 2: "b"}, latest=1)) == Step(unload=(2,))


def test_the_only_version_goes_with_its_files_after_the_settle_time() -> None:
    settled = Settled(SETTLE_S)
    assert settled.step(0.0, _look({}, {1: "a"})) == Step()
    assert settled.step(2.0, _look({}, {1: "a"})) == Step(unload=(1,))


def test_what_takes_the_place_of_deleted_files_is_waited_for() -> None:
    settled = Settled(SETTLE_S)
    for now_s in (0.0, 1.0, 2.0, 3.0):  # version 2 is still being copied
        assert settled.step(now_s, _look({2: now_s}, {1: "a"})) == Step()
    assert settled.step(5.0, _look({2: 3.0}, {1: "a"})) == Step(load=(2,))
    assert settled.step(6.0, _look({2: 3.0}, {1: "a", 2: 3.0})) == Step(unload=(1,))


@pytest.mark.parametrize("unsure", [{"unsure": frozenset({1})}, {"unsure_of_all": True}])
def test_what_cannot_be_read_is_left_alone(unsure: dict[str, Any]) -> None:
    settled = Settled(0.0)
    for now_s in (0.0, 5.0, 10.0):
        assert settled.step(now_s, _look({}, {1: "a"}, **unsure)) == Step()


_FOLDERS = st.dictionaries(st.integers(1, 4), st.sampled_from("abX"), max_size=4)


@given(
    st.lists(st.tuples(_FOLDERS, st.booleans(), st.integers(0, 2)), min_size=1, max_size=12),
    st.sampled_from([None, 1, 2]),
)
def test_whatever_happens_a_model_with_files_keeps_a_version_and_settles(
    looks: list[tuple[dict[int, str], bool, int]], latest: int | None
) -> None:
    """Content X never loads. Then, left alone, it comes to rest with what there is to serve."""
    settled, serving, now_s = Settled(SETTLE_S), {}, 0.0  # type: tuple[Settled, dict[int, str], float]

    def step(there: dict[int, str], *, unsure: bool) -> Step:
        nonlocal serving
        before = dict(serving)
        done = settled.step(now_s, _look(there, before, latest, unsure_of_all=unsure))
        assert not (done.load and done.unload)
        for version in done.load:
            assert there[version] != before.get(version)
            settled.tried(version, there[version])
            if there[version] != "X":
                serving[version] = there[version]
        for version in done.unload:
            del serving[version]
        assert not unsure or done == Step()
        assert serving or not before or not there
        return done

    for there, unsure, pause_s in looks:
        step(there, unsure=unsure)
        now_s += pause_s
    there = looks[-1][0]
    for _ in range(10):
        now_s += SETTLE_S
        step(there, unsure=False)
    now_s += SETTLE_S
    assert step(there, unsure=False) == Step()
    wanted = VersionPolicy(latest=latest).choose(there)
    for version in wanted:
        assert there[version] == "X" or serving[version] == there[version]
    if all(there[version] != "X" for version in wanted):
        assert serving.keys() == wanted
