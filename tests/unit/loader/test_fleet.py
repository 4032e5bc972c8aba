"""A fleet of engines in miniature, and a receiver that is only what the test says it is."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import timeit
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.control import Labels, ModelServing, ModelState, Recall
from headrace.errors import ModelDiffers, ModelLoadError
from headrace.loader.crew import _look
from headrace.loader.engine_process import EngineProcess
from headrace.loader.fleet import Fleet
from headrace.loader.store import FoundVersion
from tests.unit.loader.audience import NOBODY
from tests.unit.loader.fleets import Receiver, begins, exist, fleet_of, version_of


async def replaced(fleet: Fleet, receiver: Receiver, folder: Path) -> asyncio.Task[None]:
    """Load the version again, as far as the receiver has heard of it."""
    replacing = asyncio.create_task(fleet.load(version_of(folder)))
    await receiver.until(ModelServing, 2)
    return replacing


async def test_a_version_is_loaded_when_the_receiver_serves_it(tmp_path: Path) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        receiver.confirms = False
        loading = asyncio.create_task(fleet.load(version_of(tmp_path)))
        await receiver.until(ModelServing)
        await asyncio.sleep(0)
        assert not loading.done()
        assert fleet.waiting() == [("m", 1)]
        fleet.confirm(("m", 1), fleet.serving["m", 1].socket_path)
        await loading
        assert fleet.waiting() == []
        assert receiver.states() == {("m", 1): "serving"}


async def test_a_version_that_a_receiver_cannot_serve_has_failed_and_says_why(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        receiver.confirms = False
        loading = asyncio.create_task(fleet.load(version_of(tmp_path)))
        await receiver.until(ModelServing)
        path = fleet.serving["m", 1].socket_path
        fleet.refuse(("m", 1), f"{path}-of-another", "of an engine that has gone")
        assert fleet.waiting() == [("m", 1)]
        post = fleet.versions("m")[1]
        fleet.refuse(("m", 1), path, "no tokenizer")
        with pytest.raises(ModelLoadError, match="version 1: no tokenizer"):
            await loading
        assert fleet.waiting() == []
        assert fleet.states["m", 1].reason == "no tokenizer"
        fleet.refuse(("m", 1), path, "as another receiver says")
        while post.keeper.pid is not None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        assert receiver.states() == {("m", 1): "failed"}


async def test_a_receiver_that_does_not_answer_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.loader.fleet._TAKE_UP_S", 0.2)
    async with fleet_of(tmp_path, drain_timeout_s=0.2) as (fleet, _):
        fleet.joined("frozen")
        async with asyncio.timeout(30.0):
            await fleet.load(version_of(tmp_path))
            first = fleet.posts()["m", 1]
            await fleet.settle(first)
            await fleet.load(version_of(tmp_path))
        assert first.keeper.pid is None
        assert fleet.posts()["m", 1].keeper.pid is not None


async def test_who_waits_at_one_receiver_does_not_wait_for_another(tmp_path: Path) -> None:
    listed = version_of(tmp_path, preload=False)
    async with fleet_of(tmp_path, listed, drain_timeout_s=60.0) as (fleet, _):
        fleet.joined("frozen")
        async with asyncio.timeout(30.0):
            await fleet.bring(("m", 1))
            await fleet.bring(("m", 1))  # it is there
        assert fleet.waiting() == []


async def test_one_that_replaces_another_is_told_so_and_the_other_ends(tmp_path: Path) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        await fleet.load(version_of(tmp_path))
        first = fleet.versions("m")[1]
        receiver.empties = False
        replacing = await replaced(fleet, receiver, tmp_path)
        second = fleet.serving["m", 1]
        told = [message for message in receiver.heard if isinstance(message, ModelServing)]
        assert [message.replaces for message in told] == [False, True]
        assert not second.replaces  # for a receiver that comes later
        assert second.socket_path != told[0].socket_path
        await asyncio.sleep(0)
        assert first.keeper.pid is not None  # something of it is still in the receiver
        fleet.emptied(told[0].socket_path)
        await replacing
        assert first.keeper.pid is None
        assert set(receiver.states().values()) == {"serving"}  # nobody saw it leave


async def test_of_two_that_are_loaded_at_once_as_one_version_one_engine_stays(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        for _ in range(2):  # where nothing serves, and where something does
            found = version_of(tmp_path)
            await asyncio.gather(fleet.load(found), fleet.load(found))
            assert [keeper.pid for keeper in fleet._keepers] == [fleet.versions("m")[1].keeper.pid]
        assert receiver.states() == {("m", 1): "serving"}


async def test_a_version_that_differs_fails_and_what_serves_goes_on(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, behaviour="differ") as (fleet, receiver):
        await fleet.load(version_of(tmp_path, 1, verify="shadow"))
        await fleet.load(version_of(tmp_path, 2))  # whose settings do not ask for it
        for version, like in ((3, 2), (1, 1)):  # the newest that serves, or itself
            with pytest.raises(ModelDiffers, match=f"version {version}: not as version {like}"):
                await fleet.load(version_of(tmp_path, version, verify="shadow"))
        states = receiver.states()
        assert states == {("m", 1): "serving", ("m", 2): "serving", ("m", 3): "failed"}
        asked = [message for message in receiver.heard if isinstance(message, Recall)]
        assert [message.versions for message in asked] == [(2, 1), (1,)]
        assert not exist(message.path for message in asked)


async def test_one_that_has_been_compared_is_not_compared_again(tmp_path: Path) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        await fleet.load(version_of(tmp_path, 1))
        await fleet.load(version_of(tmp_path, 2, verify="shadow"))
        keeper = fleet._posts["m", 2].keeper
        keeper._surroundings = replace(keeper._surroundings, begin=begins("differ"))
        pid = fleet._posts["m", 2].keeper.pid
        assert pid is not None  # 0 would be every process of these tests
        os.kill(pid, signal.SIGKILL)
        await receiver.until(ModelServing, 3)
        assert receiver.states()["m", 2] == "serving"


async def test_a_replacement_that_fails_leaves_what_serves(tmp_path: Path) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        await fleet.load(version_of(tmp_path))
        first = fleet.versions("m")[1]
        fleet._begin_process = begins("refuse")
        with pytest.raises(ModelLoadError, match="version 1: no such operator: Frob"):
            await fleet.load(version_of(tmp_path))
        assert fleet.versions("m") == {1: first}
        assert receiver.states() == {("m", 1): "serving"}
        assert first.keeper.pid is not None


async def test_a_new_version_that_fails_has_failed(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, behaviour="refuse") as (fleet, receiver):
        with pytest.raises(ModelLoadError, match="Frob"):
            await fleet.load(version_of(tmp_path))
        assert receiver.states() == {("m", 1): "failed"}
        assert fleet.versions("m") == {}
        assert fleet.names() == []


async def test_an_unloaded_version_waits_for_the_receiver_and_can_come_back(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        await fleet.load(version_of(tmp_path))
        receiver.empties = False
        path = fleet.serving["m", 1].socket_path
        unloading = asyncio.create_task(fleet.unload(("m", 1)))
        await receiver.until_state(("m", 1), "draining")
        assert not unloading.done()
        fleet.emptied(path)
        await unloading
        assert receiver.states() == {("m", 1): "unloaded"}
        assert fleet.names() == []
        await fleet.load(version_of(tmp_path))
        assert receiver.states() == {("m", 1): "serving"}


async def test_a_receiver_that_dies_has_nothing_left(tmp_path: Path) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        await fleet.load(version_of(tmp_path))
        receiver.empties = False
        unloading = asyncio.create_task(fleet.unload(("m", 1)))
        await asyncio.sleep(0)
        fleet.left()
        await unloading
        assert receiver.states() == {("m", 1): "unloaded"}


async def test_versions_at_start_are_found_first_and_names_are_those_that_serve(
    tmp_path: Path,
) -> None:
    found = (version_of(tmp_path, 1), version_of(tmp_path, 2), version_of(tmp_path, 1, "other"))
    async with fleet_of(tmp_path, *found) as (fleet, receiver):
        assert fleet.states["m", 2].state == "found"
        await receiver.until(ModelServing, 3)
        assert set(fleet.versions("m")) == {1, 2}
        await fleet.unload(("other", 1))
        assert fleet.names() == ["m"]


async def test_what_is_listed_waits_for_nobody_and_loads_once_when_it_is_wanted(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path, version_of(tmp_path, preload=False)) as (fleet, receiver):
        assert (receiver.states(), fleet.waiting()) == ({("m", 1): "listed"}, [])
        assert set(fleet.versions("m")) == {1}
        await asyncio.gather(fleet.bring(("m", 1)), fleet.bring(("m", 1)))
        await fleet.bring(("m", 1))
        assert receiver.states() == {("m", 1): "serving"}
        assert sum(isinstance(message, ModelServing) for message in receiver.heard) == 1
        moves = [message for message in receiver.heard if isinstance(message, ModelState)]
        assert all(message.on_demand for message in moves)


async def test_one_that_is_wanted_and_fails_has_failed(tmp_path: Path) -> None:
    listed = version_of(tmp_path, preload=False)
    async with fleet_of(tmp_path, listed, behaviour="refuse") as (fleet, receiver):
        await fleet.bring(("m", 1))
        assert receiver.states() == {("m", 1): "failed"}
        await fleet.bring(("m", 1))  # which changes nothing
        await fleet.bring(("m", 2))  # nor does what is not known


async def test_one_that_is_listed_can_be_unloaded_and_listed_anew(tmp_path: Path) -> None:
    listed = version_of(tmp_path, preload=False)
    async with fleet_of(tmp_path, listed) as (fleet, receiver):
        await fleet.unload(("m", 1))
        assert receiver.states() == {("m", 1): "unloaded"}
        await fleet.take(listed)
        assert receiver.states() == {("m", 1): "listed"}
        await fleet.take(version_of(tmp_path, preload=False, max_queue=5))
        assert receiver.states() == {("m", 1): "listed"}
        await fleet.bring(("m", 1))
        assert fleet.serving["m", 1].settings.max_queue == 5
        assert len(fleet._keepers) == 1


async def test_what_comes_into_memory_while_files_are_looked_at_is_not_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, looked = threading.Event(), threading.Event()

    def slowly(found: FoundVersion, folder: Path) -> Any:  # as on a share
        looking.set()
        looked.wait(60)
        return _look(found, folder)

    async with fleet_of(tmp_path, version_of(tmp_path, 1, preload=False)) as (fleet, receiver):
        monkeypatch.setattr("headrace.loader.crew._look", slowly)
        taking = asyncio.create_task(fleet.take(version_of(tmp_path, 2, preload=False)))
        await asyncio.to_thread(looking.wait, 60)
        await fleet.bring(("m", 1))
        looked.set()
        async with asyncio.timeout(60):
            await taking
        assert receiver.states() == {("m", 1): "serving", ("m", 2): "serving"}
        assert fleet.waiting() == []


async def test_a_new_version_is_loaded_too_where_another_is_on_its_way(tmp_path: Path) -> None:
    async with fleet_of(tmp_path, version_of(tmp_path, 1, preload=False)) as (fleet, receiver):
        fleet._places = 0  # both wait for theirs
        bringing = asyncio.create_task(fleet.bring(("m", 1)))
        taking = asyncio.create_task(fleet.take(version_of(tmp_path, 2, preload=False)))
        while ("m", 2) not in receiver.states():
            await fleet._news.some(1)
        fleet._places = 4
        fleet._news.wake()
        await asyncio.gather(bringing, taking)
        assert receiver.states() == {("m", 1): "serving", ("m", 2): "serving"}


async def test_one_that_is_being_loaded_when_it_is_listed_anew_is_loaded_as_it_is_now(
    tmp_path: Path,
) -> None:
    listed = version_of(tmp_path, preload=False)
    async with fleet_of(tmp_path, listed) as (fleet, receiver):
        fleet._places = 0  # it waits for its place
        waiting = asyncio.create_task(fleet.bring(("m", 1)))
        loading = asyncio.create_task(fleet.load(version_of(tmp_path, preload=False, max_queue=5)))
        await receiver.until(ModelState, 2)  # it is listed again
        fleet._places = 4
        fleet._news.wake()
        await asyncio.gather(waiting, loading)
        assert fleet.serving["m", 1].settings.max_queue == 5
        assert sum(isinstance(message, ModelServing) for message in receiver.heard) == 1


async def test_where_it_cannot_be_loaded_then_what_was_listed_stays_and_is_loaded_when_wanted(
    tmp_path: Path,
) -> None:
    listed = version_of(tmp_path, preload=False, max_queue=5)
    behaviour = ["refuse"]

    async def begin(socket_path: str) -> EngineProcess:
        return await begins(behaviour[0])(socket_path)

    async with fleet_of(tmp_path, listed) as (fleet, receiver):
        fleet._begin_process = begin
        fleet._places = 0
        waiting = asyncio.create_task(fleet.bring(("m", 1)))
        loading = asyncio.create_task(fleet.load(version_of(tmp_path, preload=False, max_queue=7)))
        await receiver.until(ModelState, 2)
        fleet._places = 4
        fleet._news.wake()
        with pytest.raises(ModelLoadError):
            await loading
        async with asyncio.timeout(5):
            await waiting
        assert receiver.states() == {("m", 1): "listed"}
        behaviour[0] = "serve"
        await fleet.bring(("m", 1))
        assert receiver.states() == {("m", 1): "serving"}
        assert fleet.serving["m", 1].settings.max_queue == 5


async def test_one_that_is_unloaded_while_it_waits_for_its_place_is_waited_for_no_more(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path, version_of(tmp_path, preload=False)) as (fleet, receiver):
        fleet._places = 0
        waiting = asyncio.create_task(fleet.bring(("m", 1)))
        await asyncio.sleep(0)
        await fleet.unload(("m", 1))
        async with asyncio.timeout(5):
            await waiting
        assert receiver.states() == {("m", 1): "unloaded"}


async def test_labels_are_told_and_kept(tmp_path: Path) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        fleet.label("m", {"stable": 1})
        assert receiver.heard == [Labels(name="m", versions={"stable": 1})]
        assert fleet.labels == {"m": {"stable": 1}}


async def test_a_replacement_that_a_receiver_cannot_serve_leaves_what_serves(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        await fleet.load(version_of(tmp_path))
        first, before = fleet.versions("m")[1], fleet.serving["m", 1]
        receiver.confirms = receiver.empties = False
        replacing = await replaced(fleet, receiver, tmp_path)
        fleet.refuse(("m", 1), fleet.serving["m", 1].socket_path, "no tokenizer")
        with pytest.raises(ModelLoadError, match="version 1: no tokenizer"):
            await replacing
        assert fleet.versions("m") == {1: first}
        assert first.keeper.pid is not None
        assert fleet.serving["m", 1] == before  # for a receiver that comes later
        assert fleet.waiting() == []
        assert receiver.states() == {("m", 1): "serving"}

        receiver.confirms = receiver.empties = True
        await fleet.load(version_of(tmp_path))
        assert first.keeper.pid is None
        assert receiver.states() == {("m", 1): "serving"}


async def test_a_replacement_that_one_receiver_serves_and_another_cannot_has_failed(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        await fleet.load(version_of(tmp_path))
        receiver.confirms = False
        fleet.joined("other")
        before = fleet.serving["m", 1].socket_path
        fleet.confirm(("m", 1), before, "other")
        replacing = await replaced(fleet, receiver, tmp_path)
        path = fleet.serving["m", 1].socket_path
        fleet.confirm(("m", 1), path, "other")
        fleet.emptied(before, "other")
        fleet.refuse(("m", 1), path, "no tokenizer")
        with pytest.raises(ModelLoadError, match="no tokenizer"):
            await replacing
        assert receiver.states() == {("m", 1): "failed"}


async def test_one_that_dies_before_the_receiver_has_changed_over_still_replaces(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path) as (fleet, receiver):
        await fleet.load(version_of(tmp_path))
        receiver.confirms = False
        replacing = await replaced(fleet, receiver, tmp_path)
        pid = fleet.versions("m")[1].keeper.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await receiver.until(ModelServing, 3)
        told = [message for message in receiver.heard if isinstance(message, ModelServing)]
        assert [message.replaces for message in told] == [False, True, True]
        fleet.confirm(("m", 1), told[-1].socket_path)
        await replacing


async def test_no_more_engines_load_at_once_than_there_are_places(tmp_path: Path) -> None:
    found = [version_of(tmp_path, version) for version in range(1, 40)]
    async with fleet_of(tmp_path, *found, behaviour="hang") as (fleet, receiver):
        fleet._places = 2
        await receiver.until_state(("m", 2), "loading")
        states = list(receiver.states().values())
        assert states.count("loading") == 2
        assert states.count("found") == 37
        async with asyncio.timeout(2):
            await fleet.unload(("m", 39))  # which still waits for its place
        assert receiver.states()["m", 39] == "unloaded"
        await fleet.stop(0.0)
        assert set(receiver.states().values()) == {"unloaded"}


async def test_nobody_stands_back_before_the_server_is_ready_and_what_comes_later_does(
    tmp_path: Path,
) -> None:
    steps: list[tuple[int, str]] = []
    hears = replace(NOBODY, on_progress=lambda _, version, step: steps.append((version, step)))
    found = [version_of(tmp_path, version) for version in (1, 2)]
    async with fleet_of(tmp_path, *found, behaviour="tell_beside", audience=hears) as (fleet, _):
        fleet._places = 1
        await fleet.load(version_of(tmp_path, 3))  # which a store has brought, say
        fleet.ready = True
        await fleet.load(version_of(tmp_path, 4))
    assert [step for step in steps if step[1].startswith("beside")] == [
        (1, "beside False"),
        (2, "beside False"),
        (3, "beside False"),
        (4, "beside True"),
    ]


async def test_who_serves_makes_place_for_the_next(tmp_path: Path) -> None:
    found = [version_of(tmp_path, version) for version in range(1, 5)]
    async with fleet_of(tmp_path, *found) as (fleet, receiver):
        fleet._places = 1
        await receiver.until(ModelServing, 4)
        assert {one.version for one in fleet.serving.values()} == {1, 2, 3, 4}


async def test_who_fails_makes_place_for_the_next(tmp_path: Path) -> None:
    found = [version_of(tmp_path, version) for version in range(1, 4)]
    async with fleet_of(tmp_path, *found, behaviour="refuse") as (fleet, receiver):
        fleet._places = 1
        for one in found:
            await receiver.until_state((one.name, one.version), "failed")
        assert set(receiver.states().values()) == {"failed"}


async def test_what_looking_through_the_models_costs_grows_with_their_number_only(
    tmp_path: Path,
) -> None:
    file = version_of(tmp_path, preload=False)

    async def least_s(count: int) -> float:
        many = [replace(file, name=f"m{number}") for number in range(count)]
        async with fleet_of(tmp_path, *many) as (fleet, _):
            assert len(fleet.names()) == count
            return min(timeit.repeat(fleet.names, number=1, repeat=5))

    few_s, many_s = await least_s(200), await least_s(1600)
    assert many_s < 3 * 8 * few_s


async def test_a_version_that_is_forgotten_and_comes_again_is_there_once(tmp_path: Path) -> None:
    async with fleet_of(tmp_path) as (fleet, _):
        for _ in range(2):
            await fleet.load(version_of(tmp_path, 1))
            await fleet.load(version_of(tmp_path, 2))
            assert (fleet.names(), list(fleet.versions("m"))) == (["m"], [1, 2])
            for version in (1, 2):
                await fleet.unload(("m", version))
                fleet.forget(("m", version))
            assert (fleet.names(), fleet.versions("m"), fleet.posts()) == ([], {}, {})
