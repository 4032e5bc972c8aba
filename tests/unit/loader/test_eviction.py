"""Versions that leave memory for others, in a fleet of engines in miniature."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.control import ModelServing, ModelState, Use, Used
from headrace.errors import ModelLoadError, ModelTooLarge, NoRoom
from headrace.loader import memory, residents
from headrace.loader.fleet import Fleet
from headrace.loader.residency import guess_bytes
from headrace.loader.store import FoundVersion
from tests.unit.loader.fleets import Receiver, begins, fleet_of, version_of

pytestmark = pytest.mark.slow

MIB = 2**20
A, B, C = ("a", 1), ("b", 1), ("c", 1)


@pytest.fixture(autouse=True)
def _nobody_asks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residents, "_BRIEF_S", 0.05)


def _listed(folder: Path, name: str, **settings: Any) -> FoundVersion:
    return version_of(folder, 1, name, preload=False, **settings)


def _three(folder: Path) -> list[FoundVersion]:
    return [_listed(folder, name) for name in "abc"]


def _moves(receiver: Receiver, key: tuple[str, int]) -> list[str]:
    moves = [m for m in receiver.heard if isinstance(m, ModelState)]
    return [m.state for m in moves if (m.name, m.version) == key]


def _serving(fleet: Fleet) -> set[str]:
    return {name for name, _ in fleet.serving}


def _use(fleet: Fleet, key: tuple[str, int], used_s: float, *, sequences: bool = False) -> None:
    one = Use(name=key[0], version=key[1], used_s=used_s, sequences=sequences)
    fleet.residents.used(Used(models=(one,)))


@contextlib.asynccontextmanager
async def _leaving(
    folder: Path,
) -> AsyncIterator[tuple[Fleet, Receiver, Callable[[], None], asyncio.Task[None]]]:
    """B comes to the only place: A leaves it, once it is said that nothing is left for it."""
    async with fleet_of(folder, *_three(folder), max_resident=1) as (fleet, receiver):
        await fleet.bring(A)
        receiver.empties = False
        path = fleet.serving[A].socket_path
        coming = asyncio.create_task(fleet.bring(B))
        await receiver.until_state(A, "evicting")
        yield fleet, receiver, partial(fleet.emptied, path), coming


async def test_the_least_recently_used_leaves_and_comes_back(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=2) as (fleet, receiver):
        await fleet.bring(A)
        await fleet.bring(B)
        _use(fleet, A, 3e9)
        _use(fleet, B, 2e9)
        await fleet.bring(C)
        assert _serving(fleet) == {"a", "c"}
        life = ["listed", "loading", "warming", "serving", "evicting", "listed"]
        assert _moves(receiver, B) == life
        _use(fleet, C, 4e9)
        await fleet.bring(B)
        assert _moves(receiver, B) == life + life[1:4]
        assert _serving(fleet) == {"b", "c"}
        assert all(m.on_demand for m in receiver.heard if isinstance(m, ModelState))
        assert len(fleet._keepers) == 2


async def test_nobody_leaves_before_the_receiver_has_nothing_left_for_it(tmp_path: Path) -> None:
    async with _leaving(tmp_path) as (fleet, receiver, emptied, coming):
        post = fleet.posts()[A]
        assert post.keeper.pid is not None
        assert not _moves(receiver, B)[1:]  # the next does not begin before that
        emptied()
        await coming
        assert post.keeper.pid is None
        assert _serving(fleet) == {"b"}


async def test_many_for_one_place_all_have_their_turn(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, receiver):

        async def bring(key: tuple[str, int]) -> None:
            await fleet.bring(key)
            assert key in fleet.serving  # whoever waits for it is told while it is there

        await asyncio.gather(*(bring(key) for key in (A, B, C)))
        served = [m.name for m in receiver.heard if isinstance(m, ModelServing)]
        assert served == ["a", "b", "c"]


async def test_one_with_sequences_stays_until_they_have_ended(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, _):
        await fleet.bring(A)
        _use(fleet, A, 3e9, sequences=True)
        with pytest.raises(NoRoom, match="'b' version 1: there is no room"):
            await fleet.bring(B)
        with pytest.raises(NoRoom):
            await fleet.load(version_of(tmp_path, 2, "b"))
        _use(fleet, A, 3e9)
        await fleet.bring(B)
        assert _serving(fleet) == {"b"}


async def test_sequences_end_with_their_receiver(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, _):
        await fleet.bring(A)
        _use(fleet, A, 3e9, sequences=True)
        fleet.left()
        await fleet.bring(B)
        assert _serving(fleet) == {"b"}


async def test_a_pinned_one_stays_and_takes_no_place(tmp_path: Path) -> None:
    pinned = version_of(tmp_path, 1, "a", pinned=True)
    others = [_listed(tmp_path, name) for name in "bc"]
    async with fleet_of(tmp_path, *others, pinned, max_resident=1) as (fleet, receiver):
        await receiver.until(ModelServing)
        for key in (B, C, B):
            await fleet.bring(key)
        assert _serving(fleet) == {"a", "b"}


async def test_what_has_no_room_at_the_start_is_listed(tmp_path: Path) -> None:
    found = [version_of(tmp_path, 1, name) for name in "abc"]
    async with fleet_of(tmp_path, *found, max_resident=2) as (fleet, receiver):
        await receiver.until(ModelServing, 2)
        assert receiver.states()[C] == "listed"
        while fleet.waiting():
            await fleet._news.some(1)
        await fleet.bring(C)
        assert "c" in _serving(fleet)
        assert len(_serving(fleet)) == 2


async def test_what_comes_to_be_loaded_and_has_no_room_is_listed(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, _listed(tmp_path, "a"), max_resident=1) as (fleet, receiver):
        await fleet.bring(A)
        _use(fleet, A, 3e9, sequences=True)
        await fleet.take(version_of(tmp_path, 1, "b"))
        assert (receiver.states()[B], fleet.waiting()) == ("listed", [])
        _use(fleet, A, 3e9)
        async with asyncio.timeout(60):
            await fleet.bring(B)
        assert _serving(fleet) == {"b"}


async def test_one_that_is_unloaded_while_it_leaves_is_unloaded(tmp_path: Path) -> None:
    async with _leaving(tmp_path) as (fleet, receiver, emptied, coming):
        unloading = asyncio.create_task(fleet.unload(A))
        await receiver.until_state(A, "draining")
        emptied()
        await asyncio.gather(coming, unloading)
        assert (receiver.states()[A], _serving(fleet)) == ("unloaded", {"b"})


async def test_one_that_is_unloaded_when_nothing_is_left_for_it_does_not_wait(
    tmp_path: Path,
) -> None:
    async with _leaving(tmp_path) as (fleet, receiver, emptied, coming):
        emptied()  # that is said once
        async with asyncio.timeout(3.0):  # less than `drain_timeout_s`
            await fleet.unload(A)
        await coming
        assert (receiver.states()[A], _serving(fleet)) == ("unloaded", {"b"})


async def test_one_that_is_wanted_while_it_leaves_comes_back_when_it_has_left(
    tmp_path: Path,
) -> None:
    async with _leaving(tmp_path) as (fleet, receiver, emptied, coming):
        again = asyncio.create_task(fleet.bring(A))
        receiver.empties = True
        emptied()
        await asyncio.gather(coming, again)
        assert _serving(fleet) == {"a"}


async def test_one_whose_engine_dies_while_it_leaves_has_left(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, receiver):
        await fleet.bring(A)
        receiver.empties = False
        coming = asyncio.create_task(fleet.bring(B))
        await receiver.until_state(A, "evicting")
        pid = fleet.posts()[A].keeper.pid
        assert pid is not None  # 0 would be every process of these tests
        os.kill(pid, signal.SIGKILL)
        await coming
        assert (receiver.states()[A], _serving(fleet)) == ("listed", {"b"})


async def test_one_that_takes_its_own_place_leaves_it_first(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, receiver):
        await fleet.bring(A)
        await fleet.load(_listed(tmp_path, "a", max_queue=5))
        assert fleet.serving[A].settings.max_queue == 5
        assert _moves(receiver, A)[3:] == [
            "serving",
            "evicting",
            "listed",
            "listed",
            "loading",
            "warming",
            "serving",
        ]
        assert len(fleet._keepers) == 1


@pytest.mark.parametrize("was_there", [True, False])
async def test_one_that_has_left_for_what_cannot_be_loaded_comes_back_as_it_was(
    tmp_path: Path, *, was_there: bool
) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, receiver):
        if was_there:
            await fleet.bring(A)
        fleet._begin_process = begins("refuse")
        fleet._places = 0
        loading = asyncio.create_task(fleet.load(_listed(tmp_path, "a", max_queue=5)))
        while fleet.posts()[A].found.settings.max_queue != 5:
            await fleet._news.some(1)
        waiting = asyncio.create_task(fleet.bring(A))
        fleet._places = 4
        fleet._news.wake()
        with pytest.raises(ModelLoadError, match="Frob"):
            await loading
        await waiting
        assert (receiver.states()[A], "failed" in _moves(receiver, A)) == ("listed", False)
        await fleet.bring(A)
        assert fleet.serving[A].settings.max_queue != 5
        assert len(fleet._keepers) == 1


async def test_one_that_has_left_for_what_no_receiver_can_serve_comes_back_as_it_was(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, receiver):
        await fleet.bring(A)
        receiver.confirms = False
        loading = asyncio.create_task(fleet.load(_listed(tmp_path, "a", max_queue=5)))
        await receiver.until(ModelServing, 2)
        fleet.refuse(A, fleet.serving[A].socket_path, "no tokenizer")
        with pytest.raises(ModelLoadError, match="no tokenizer"):
            await loading
        assert _moves(receiver, A)[-2:] == ["failed", "listed"]  # another receiver may have it
        receiver.confirms = True
        await fleet.bring(A)
        assert fleet.serving[A].settings.max_queue != 5


async def test_who_is_no_longer_waited_for_gives_its_room_back(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, receiver):
        await fleet.bring(A)
        receiver.empties = False
        path = fleet.serving[A].socket_path
        waiting = asyncio.create_task(fleet.bring(B))
        await receiver.until_state(A, "evicting")
        waiting.cancel()
        await asyncio.wait({waiting})
        receiver.empties = True
        fleet.emptied(path)
        await fleet.bring(C)
        assert _serving(fleet) == {"c"}


# -- memory ----------------------------------------------------------------------------------------


class Sizes:
    """What engines take, in bytes: all the same."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes

    def __call__(self, _: int) -> int:
        return self.size_bytes


def _measure(monkeypatch: pytest.MonkeyPatch, size_of: Callable[[int], int]) -> None:
    for name in ("resident_bytes", "taken_bytes"):
        monkeypatch.setattr(memory, name, size_of)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    found = Sizes(50 * MIB)
    _measure(monkeypatch, found)
    return found


async def test_a_size_is_guessed_until_it_has_been_measured(tmp_path: Path, sizes: Sizes) -> None:
    sizes.size_bytes = guess_bytes(0) // 2
    budget_mib = 1.2 * guess_bytes(0) / MIB
    async with fleet_of(tmp_path, *_three(tmp_path), memory_budget_mib=budget_mib) as (fleet, _):
        await fleet.bring(A)
        await fleet.bring(B)
        assert _serving(fleet) == {"b"}  # by the guess there is no room for both
        await fleet.bring(A)
        assert _serving(fleet) == {"a", "b"}
        fleet.residents.trim()
        assert _serving(fleet) == {"a", "b"}


async def test_those_that_grow_over_the_budget_leave_in_order(tmp_path: Path, sizes: Sizes) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), memory_budget_mib=300) as (fleet, receiver):
        for key in (A, B, C):
            await fleet.bring(key)
        for number, key in enumerate((B, A, C)):
            _use(fleet, key, 2e9 + number)
        sizes.size_bytes = 110 * MIB
        fleet.residents.trim()
        await receiver.until_state(B, "listed")
        while fleet.posts()[B].keeper.pid is not None:
            await fleet._news.some(1)
        assert _serving(fleet) == {"a", "c"}


async def test_one_that_is_too_large_leaves_alone_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), memory_budget_mib=250) as (fleet, receiver):
        _measure(monkeypatch, lambda _: 50 * MIB)
        await fleet.bring(A)
        small = fleet.posts()[A].keeper.pid
        _measure(monkeypatch, lambda pid: (50 if pid == small else 260) * MIB)
        await fleet.bring(B)
        _use(fleet, A, 2e9)
        _use(fleet, B, 3e9)
        fleet.residents.trim()
        await receiver.until_state(B, "listed")
        assert _serving(fleet) == {"a"}
        with pytest.raises(ModelTooLarge, match=r"takes 260 MiB.*250 MiB \(server.memory_budget"):
            await fleet.bring(B)
        assert _serving(fleet) == {"a"}


async def test_one_that_has_grown_too_large_comes_back_as_small_as_it_was_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), memory_budget_mib=250) as (fleet, receiver):
        large: list[int | None] = []
        _measure(monkeypatch, lambda pid: (260 if pid in large else 50) * MIB)
        await fleet.bring(A)
        await fleet.bring(B)
        for times in (1, 2):
            large.append(fleet.posts()[B].keeper.pid)
            _use(fleet, B, 3e9 + times)
            fleet.residents.trim()
            await receiver.until_state(B, "listed")
            assert _serving(fleet) == {"a"}
            await fleet.bring(B)
            fleet.residents.trim()
            assert _serving(fleet) == {"a", "b"}  # nobody has had to leave for it


async def test_a_pinned_one_leaves_for_what_takes_its_own_place(
    tmp_path: Path, sizes: Sizes
) -> None:
    def large(name: str, **settings: Any) -> FoundVersion:
        found = version_of(tmp_path, 1, name, pinned=True, **settings)
        found.path.write_bytes(bytes(10 * MIB))
        return found

    sizes.size_bytes = 90 * MIB
    async with fleet_of(tmp_path, large("a"), memory_budget_mib=95) as (fleet, receiver):
        await receiver.until_state(A, "serving")
        with pytest.raises(ModelTooLarge):
            await fleet.load(large("b"))
        await fleet.load(large("a", max_queue=5))
        assert fleet.serving[A].settings.max_queue == 5


async def test_one_whose_files_are_too_large_is_refused_unloaded(tmp_path: Path) -> None:
    found = _listed(tmp_path, "a")
    found.path.write_bytes(bytes(3 * MIB))
    async with fleet_of(tmp_path, found, memory_budget_mib=2) as (fleet, receiver):
        with pytest.raises(ModelTooLarge, match="takes at least, by its files, 3 MiB"):
            await fleet.bring(A)
        assert receiver.states() == {A: "listed"}


@pytest.mark.parametrize("change", ["unload", "take"])
async def test_one_that_is_no_longer_meant_to_come_holds_nobody_up(
    tmp_path: Path, change: str
) -> None:
    async with fleet_of(tmp_path, *_three(tmp_path), max_resident=1) as (fleet, receiver):
        receiver.confirms = False
        first = asyncio.create_task(fleet.bring(A))
        await receiver.until(ModelServing)
        waiting = asyncio.create_task(fleet.bring(B))  # until A has come
        while not fleet.posts()[B].wanted:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        if change == "unload":
            await fleet.unload(B)
        else:
            await fleet.take(_listed(tmp_path, "b", max_queue=5))
        receiver.confirms = True
        fleet.confirm(A, fleet.serving[A].socket_path)
        async with asyncio.timeout(5.0):
            await asyncio.gather(first, waiting)
            await fleet.bring(C)
        assert _serving(fleet) == {"c"}


async def test_nobody_waits_for_room_for_ever(tmp_path: Path) -> None:
    found = _three(tmp_path)
    async with fleet_of(tmp_path, *found, max_resident=1, load_timeout_s=0.5) as (fleet, receiver):
        await fleet.bring(A)
        receiver.empties = False
        with pytest.raises(NoRoom, match=r"nobody made room for it in 0\.5 s"):
            await fleet.bring(B)
        fleet.left()
