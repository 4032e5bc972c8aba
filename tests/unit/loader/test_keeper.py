from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.control import ModelServing, ModelState
from headrace.errors import StartError
from headrace.loader.engine_process import (
    EngineProcess,
    check_socket_path,
    socket_path,
    socket_paths,
    start,
)
from headrace.loader.keeper import Audience, EngineKeeper, Surroundings
from headrace.loader.store import FoundVersion
from headrace.priority import may_come_back
from headrace.server_settings import ServerSettings
from headrace.settings import ModelSettings

ENGINE = Path(__file__).with_name("fake_engine.py")
FOUND = FoundVersion(
    "digits", 3, Path("/models/digits.fake"), Path("/models"), ModelSettings(instances=2), ("a",)
)


class Seen:
    """What a keeper called back, and a way to wait for a state without sleeping."""

    def __init__(self) -> None:
        self.states: list[ModelState] = []
        self.serving: list[ModelServing] = []
        self.steps: list[tuple[Any, ...]] = []
        self._news = asyncio.Event()

    def note(self, state: ModelState) -> None:
        self.states.append(state)
        self._news.set()

    def step(self, *step: Any) -> None:
        self.steps.append(step)
        self._news.set()

    def names(self) -> list[str]:
        return [state.state for state in self.states]

    async def until_loading(self) -> None:
        while not self.steps:
            self._news.clear()
            await self._news.wait()

    async def until(self, state: str, times: int = 1) -> None:
        while self.names().count(state) < times:
            self._news.clear()
            await self._news.wait()


def _keeper(
    folder: Path,
    seen: Seen,
    *command: str,
    beside: bool = False,
    changed: bool = False,
    begin: Callable[[str], Awaitable[EngineProcess]] | None = None,
    **server: Any,
) -> EngineKeeper:
    async def have_changed() -> bool:
        return changed

    return EngineKeeper(
        FOUND,
        ServerSettings(**server),
        audience=Audience(
            on_serving=seen.serving.append,
            on_state=seen.note,
            on_progress=seen.step,
        ),
        surroundings=Surroundings(
            begin=begin or partial(start, *command),
            sockets=socket_paths(folder, FOUND.name, FOUND.version),
            others_serve=lambda: beside,
            samples=lambda: None,
            have_changed=have_changed,
        ),
    )


@asynccontextmanager
async def _kept(
    folder: Path, behaviour: str, **server: Any
) -> AsyncIterator[tuple[EngineKeeper, Seen]]:
    seen = Seen()
    keeper = _keeper(folder, seen, sys.executable, str(ENGINE), behaviour, **server)
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        yield keeper, seen
        await keeper.stop(5.0)


async def _until_policy(keeper: EngineKeeper, policy: int) -> None:
    while keeper.pid is None or os.sched_getscheduler(keeper.pid) != policy:
        await asyncio.to_thread(os.sched_yield)  # the kernel tells nobody


async def _failure(folder: Path, behaviour: str, **server: Any) -> tuple[Seen, str]:
    async with _kept(folder, behaviour, **server) as (_, seen):
        await seen.until("failed")
    return seen, seen.states[-1].reason


async def test_an_engine_loads_warms_serves_and_is_stopped(tmp_path: Path) -> None:
    async with _kept(tmp_path, "serve") as (keeper, seen):
        await seen.until("serving")
        assert keeper.pid is not None
    assert seen.names() == ["loading", "warming", "serving", "draining", "unloaded"]
    assert seen.steps == [("digits", 3, "reading"), ("digits", 3, "warming 1 of 1")]
    (serving,) = seen.serving
    assert (serving.name, serving.version) == ("digits", 3)
    assert serving.settings == FOUND.settings
    assert serving.socket_path == str(tmp_path / "digits-3-1.sock")
    assert keeper.pid is None


@pytest.mark.skipif(not may_come_back(), reason="this user may not come back")
async def test_an_engine_stands_back_while_it_loads_beside_others(tmp_path: Path) -> None:
    seen = Seen()
    keeper = _keeper(tmp_path, seen, sys.executable, str(ENGINE), "hang", beside=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        await seen.until_loading()
        assert keeper.pid is not None
        assert os.sched_getscheduler(keeper.pid) == os.SCHED_IDLE
        await keeper.stop(0)


async def test_the_successor_of_a_dead_engine_does_not_stand_back(tmp_path: Path) -> None:
    async with _kept(tmp_path, "tell_beside", beside=True) as (keeper, seen):
        await seen.until("serving")
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGKILL)
        await seen.until("serving", times=2)
    told = [step[2] for step in seen.steps if step[2].startswith("beside")]
    assert told == ["beside True", "beside False"]


@pytest.mark.parametrize("beside", [True, False])
async def test_an_engine_that_serves_competes(tmp_path: Path, beside: bool) -> None:
    async with _kept(tmp_path, "serve", beside=beside) as (keeper, seen):
        await seen.until("serving")
        assert keeper.pid is not None
        assert os.sched_getscheduler(keeper.pid) == os.SCHED_OTHER


@pytest.mark.skipif(not may_come_back(), reason="this user may not come back")
async def test_an_engine_that_loads_for_long_stands_back_no_more(tmp_path: Path) -> None:
    seen = Seen()
    command = sys.executable, str(ENGINE), "hang"
    keeper = _keeper(tmp_path, seen, *command, beside=True, load_timeout_s=0.4)
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        await seen.until("loading")
        await _until_policy(keeper, os.SCHED_IDLE)
        await _until_policy(keeper, os.SCHED_OTHER)
        assert seen.names() == ["loading"]
        await keeper.stop(0)


async def test_a_killed_engine_is_replaced_at_another_socket(tmp_path: Path) -> None:
    async with _kept(tmp_path, "serve") as (keeper, seen):
        await seen.until("serving")
        first = keeper.pid
        assert first is not None
        socket = Path(seen.serving[0].socket_path)
        socket.touch()  # noqa: ASYNC240 - a test may wait for its disk
        os.kill(first, signal.SIGKILL)
        await seen.until("serving", times=2)
        assert keeper.pid not in {None, first}
        assert not socket.exists()  # noqa: ASYNC240 - the same
    assert seen.names()[2:] == ["serving", "recovering", "serving", "draining", "unloaded"]
    assert seen.states[3].reason == "the engine was killed by SIGKILL (out of memory?)"
    assert [one.socket_path for one in seen.serving] == [
        str(tmp_path / "digits-3-1.sock"),
        str(tmp_path / "digits-3-2.sock"),
    ]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("refuse", "no such operator: Frob"),
        (
            "crash",
            (
                "the engine exited with status 3 while it loaded the model, at the step: starting; "
                "what it printed is in the log"
            ),
        ),
        (
            "abort",
            (
                "the engine was killed by SIGKILL (out of memory?) while it loaded the model, at "
                "the step: reading; what it printed is in the log"
            ),
        ),
        ("shout", "the engine said more in one line than is heard: 67108864 bytes"),
    ],
)
async def test_a_model_that_cannot_load_fails_at_once(
    tmp_path: Path, behaviour: str, reason: str
) -> None:
    seen, said = await _failure(tmp_path, behaviour)
    assert seen.names() == ["loading", "failed"]
    assert said == reason


async def _come_back(keeper: EngineKeeper, seen: Seen, state: str) -> None:
    """Have an engine serve, leave memory and come back, until that has come to a state."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run())
        await seen.until("serving")
        keeper.evict()
        await keeper.stop(5.0)
        await running
        group.create_task(keeper.run())
        await seen.until(state, times=2 if state == "serving" else 1)
        await keeper.stop(5.0)


def _begins(*behaviours: str) -> Callable[[str], Awaitable[EngineProcess]]:
    """Engines that behave so, one after the other; "" cannot be started."""
    left = iter(behaviours)

    async def begin(name: str) -> EngineProcess:
        behaviour = next(left)
        if not behaviour:
            raise OSError(errno.EAGAIN, "no process is left")
        return await start(sys.executable, str(ENGINE), behaviour, name)

    return begin


@pytest.mark.parametrize("behaviour", ["abort", ""])
async def test_what_comes_back_and_is_killed_meanwhile_is_tried_again(
    tmp_path: Path, behaviour: str
) -> None:
    seen = Seen()
    keeper = _keeper(tmp_path, seen, begin=_begins("serve", behaviour, "serve"))
    await _come_back(keeper, seen, "serving")
    life = ["evicting", "listed", "loading", "recovering", "serving", "draining", "unloaded"]
    assert seen.names()[3:] == life


async def test_what_comes_back_and_is_killed_too_often_has_failed(tmp_path: Path) -> None:
    seen = Seen()
    begin = _begins("serve", "abort", "abort")
    await _come_back(_keeper(tmp_path, seen, begin=begin, engine_restart_limit=2), seen, "failed")
    assert seen.states[-1].reason.startswith("its engine died 2 times within 60 s; the last time")


async def test_what_is_killed_slowly_each_time_it_comes_back_has_failed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.loader.keeper._VAIN", 1)
    seen = Seen()
    begin = _begins("serve", "abort", "abort")
    await _come_back(_keeper(tmp_path, seen, begin=begin), seen, "failed")
    assert seen.states[-1].reason.startswith("its engine died 2 times as it came back; the last")


async def test_what_comes_back_and_refuses_has_failed(tmp_path: Path) -> None:
    seen = Seen()
    await _come_back(_keeper(tmp_path, seen, begin=_begins("serve", "refuse")), seen, "failed")
    assert seen.names()[-2:] == ["loading", "failed"]


async def test_a_model_that_takes_too_long_fails_and_its_engine_is_ended(tmp_path: Path) -> None:
    async with _kept(tmp_path, "hang", load_timeout_s=0.1) as (keeper, seen):
        await seen.until("failed")
        assert keeper.pid is None
    assert seen.states[-1].reason in {
        f"did not load and warm up within 0.1 s (server.load_timeout_s); it was at the step: {step}"
        for step in ("starting", "reading")  # it may be slow to say so
    }


async def test_an_engine_that_dies_too_often_fails(tmp_path: Path) -> None:
    seen, reason = await _failure(tmp_path, "die_serving", engine_restart_limit=2)
    assert seen.names() == ["loading", "warming", "serving", "recovering", "serving", "failed"]
    assert reason == (
        "its engine died 2 times within 60 s; the last time the engine exited with status 4"
    )


async def test_a_successor_that_refuses_files_being_written_over_has_not_died(
    tmp_path: Path,
) -> None:
    seen = Seen()
    begin = _begins("die_serving", "refuse", "refuse", "serve")
    keeper = _keeper(tmp_path, seen, begin=begin, changed=True, engine_restart_limit=2)
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        await seen.until("serving", times=2)
        await keeper.stop(5.0)
    assert seen.names()[2:7] == ["serving", *["recovering"] * 3, "serving"]
    assert [state.reason for state in seen.states[4:6]] == ["no such operator: Frob"] * 2


@pytest.mark.parametrize(("name", "bound"), [("_TRIES", 1), ("_TRIES_S", 1e-9)])
async def test_what_refuses_files_that_have_changed_without_end_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, bound: float
) -> None:
    monkeypatch.setattr(f"headrace.loader.keeper.{name}", bound)
    seen = Seen()
    begin = _begins("die_serving", "refuse", "refuse")
    async with asyncio.TaskGroup() as group:
        group.create_task(_keeper(tmp_path, seen, begin=begin, changed=True).run())
    assert seen.names()[-2:] == ["recovering", "failed"]
    said = "its files have changed since they served, and cannot be loaded: no such operator: Frob"
    assert seen.states[-1].reason == said


async def test_what_refuses_the_files_that_it_has_served_dies_as_any_other(tmp_path: Path) -> None:
    seen = Seen()
    begin = _begins("die_serving", "refuse")
    async with asyncio.TaskGroup() as group:
        group.create_task(_keeper(tmp_path, seen, begin=begin, engine_restart_limit=2).run())
    assert seen.states[-1].reason.startswith("its engine died 2 times within 60 s; the last time")


async def test_an_engine_whose_child_lives_on_is_known_to_be_dead(tmp_path: Path) -> None:
    seen, reason = await _failure(tmp_path, "die_as_parent", engine_restart_limit=1)
    os.kill(int(seen.steps[0][2].removeprefix("child ")), signal.SIGKILL)
    assert reason.endswith("the engine exited with status 5")


async def test_a_program_that_cannot_be_started_fails(tmp_path: Path) -> None:
    seen = Seen()
    await _keeper(tmp_path, seen, str(tmp_path / "no-such-program")).run()
    assert seen.names() == ["loading", "failed"]
    assert "No such file" in seen.states[-1].reason


async def test_the_engine_hears_its_specification_and_can_import_headrace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    _, said = await _failure(tmp_path, "echo", log_level="error", log_format="json")
    spec, version, arguments = json.loads(said)
    assert arguments == ["digits/3"]  # so that `ps` tells whose engine it is
    assert version == headrace.__version__
    assert spec["kind"] == "engine_spec"
    assert (spec["name"], spec["version"], spec["path"]) == ("digits", 3, "/models/digits.fake")
    assert spec["socket_path"] == str(tmp_path / "digits-3-1.sock")
    assert ModelSettings.model_validate(spec["settings"]) == FOUND.settings
    assert (spec["log_level"], spec["log_format"]) == ("error", "json")


async def test_words_of_a_library_on_standard_output_do_no_harm(tmp_path: Path) -> None:
    async with _kept(tmp_path, "chatter") as (_, seen):
        await seen.until("serving")
    assert seen.names()[-1] == "unloaded"


async def test_an_engine_that_does_not_listen_is_ended(tmp_path: Path) -> None:
    async with _kept(tmp_path, "deaf") as (keeper, seen):
        await seen.until("serving")
        await keeper.stop(0.05)
        assert keeper.pid is None
    assert seen.names()[-2:] == ["draining", "unloaded"]


async def test_stop_while_it_loads(tmp_path: Path) -> None:
    async with _kept(tmp_path, "hang") as (keeper, seen):
        await seen.until("loading")
        await keeper.stop(0.05)
    assert seen.names() == ["loading", "draining", "unloaded"]


async def test_stop_without_patience_ends_the_engine_at_once(tmp_path: Path) -> None:
    async with _kept(tmp_path, "deaf") as (keeper, seen):
        await seen.until("serving")
        await keeper.stop(0)
        assert keeper.pid is None


async def test_stop_before_it_ran_and_twice(tmp_path: Path) -> None:
    seen = Seen()
    keeper = _keeper(tmp_path, seen, sys.executable, str(ENGINE), "serve")
    await keeper.stop(1.0)
    await keeper.run()
    await keeper.stop(1.0)
    assert seen.names() == ["unloaded"]


async def test_cancelling_run_ends_the_engine(tmp_path: Path) -> None:
    seen = Seen()
    keeper = _keeper(tmp_path, seen, sys.executable, str(ENGINE), "serve")
    task = asyncio.create_task(keeper.run())
    await seen.until("serving")
    pid = keeper.pid
    assert pid is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_socket_paths_fit_the_kernel() -> None:
    folder = Path("/tmp/headrace-x")  # noqa: S108 - a name, nothing is written
    assert socket_path(folder, "resnet", 2, 1) == "/tmp/headrace-x/resnet-2-1.sock"  # noqa: S108
    long = socket_path(folder, "n" * 200, 2, 1)
    assert len(long) < 108
    assert long != socket_path(folder, "n" * 199, 2, 1)
    with pytest.raises(StartError, match="TMPDIR"):
        socket_path(Path("/" + "d" * 100), "resnet", 1, 1)
    check_socket_path(Path("/" + "d" * 106))
    with pytest.raises(StartError, match="TMPDIR"):
        check_socket_path(Path("/" + "d" * 107))
