"""Engines are forked in a nursery, and where that is not to be had they start by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psutil
import pytest

from headrace.engine_control import EngineFailed, EngineSpec, engine_report
from headrace.loader import nursery
from headrace.loader.engine_process import EngineProcess, end_of
from headrace.loader.forked import Forked
from headrace.loader.nursery import Nursery
from headrace.message import line
from headrace.settings import ModelSettings
from tests.e2e.server import has_ended, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there is no nursery here"),
]

WITH_A_THREAD = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
WITHOUT_DESCRIPTORS = """
import os
def pidfd_open(pid):
    raise PermissionError(1, "not in this container")
os.pidfd_open = pidfd_open
"""
DRAWS = """
import numpy.random
from headrace.engine import worker
worker.main = lambda: print(numpy.random.random(), flush=True) or 0
"""
LEAVES = """
import os, signal
from headrace.engine import worker
def main():
    if STUBBORN:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child:
        print(child, flush=True)
    signal.pause()
worker.main = main
"""
BEGIN = """
from headrace.engine.nursery import main
raise SystemExit(main())
"""


@asynccontextmanager
async def _nursery() -> AsyncIterator[Nursery]:
    found = Nursery()
    await found.start()
    try:
        yield found
    finally:
        await found.end()


def _replace(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(nursery, "NURSERY", (sys.executable, "-c", code))


async def _ended(engine: EngineProcess) -> int:
    """An engine that hears nothing has nothing to do."""
    assert engine.stdin is not None
    engine.stdin.close()
    return await engine.wait()


def _command(pid: int) -> Sequence[str]:
    return psutil.Process(pid).cmdline()


async def test_engines_are_forked_and_each_has_pipes_of_its_own() -> None:
    async with _nursery() as found:
        engines = await asyncio.gather(*(found.engine(f"m/{number}") for number in (1, 2)))
        parents = {psutil.Process(engine.pid).ppid() for engine in engines}
        assert parents == {found._process and found._process.pid}
        first, second = engines
        # One that has been told nothing has none of the other's ends: it hears when they close.
        assert await _ended(first) == first.returncode == 0
        assert second.returncode is None
        assert await _ended(second) == 0


async def test_a_forked_engine_says_what_it_is_and_what_becomes_of_its_model() -> None:
    async with _nursery() as found:
        engine = await found.engine("digits/3")
        while "headrace.engine.worker digits/3" not in " ".join(_command(engine.pid)):
            await asyncio.to_thread(os.sched_yield)  # it renames itself
        assert os.getpgid(engine.pid) == engine.pid
        assert engine.stdin is not None
        assert engine.stdout is not None
        spec = EngineSpec(
            name="digits",
            version=3,
            path="/nowhere/digits.onnx",
            socket_path="/nowhere/socket",
            settings=ModelSettings(instances=1),
        )
        engine.stdin.write(line(spec))
        said = await engine.stdout.read()
        failed = engine_report.validate_json(said.splitlines()[-1])
        assert isinstance(failed, EngineFailed)
        assert failed.code == "model_load"
        assert await engine.wait() == 1


async def test_the_end_of_a_forked_engine_is_told() -> None:
    async with _nursery() as found:
        engine = await found.engine("m/1")
        assert isinstance(engine, Forked)
        engine.kill()
        status = await engine.wait()
        assert status == engine.returncode == -signal.SIGKILL
        assert end_of(status) == "was killed by SIGKILL (out of memory?)"
        for late in (engine.kill, engine.terminate):
            with pytest.raises(ProcessLookupError):
                late()


@pytest.mark.parametrize(
    ("kills_nursery", "stubborn"), [(False, False), (True, False), (False, True), (True, True)]
)
async def test_what_a_forked_engine_has_forked_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, kills_nursery: bool, stubborn: bool
) -> None:
    _replace(monkeypatch, f"STUBBORN = {stubborn}\n" + LEAVES + BEGIN)
    async with _nursery() as found:
        engine = await found.engine("m/1")
        other = await found.engine("m/2")
        assert isinstance(engine, Forked)
        assert isinstance(other, Forked)
        child = psutil.Process(int(await engine.stdout.readline()))
        spared = psutil.Process(int(await other.stdout.readline()))
        if kills_nursery:
            found._kill()
        engine.kill()
        await _ended(engine)
        await asyncio.to_thread(until, lambda: has_ended(child))
        assert not has_ended(spared)
        other.kill()
        await _ended(other)


async def test_no_two_engines_draw_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace(monkeypatch, DRAWS + BEGIN)
    async with _nursery() as found:
        drawn = []
        for number in range(2):
            engine = await found.engine(f"m/{number}")
            assert isinstance(engine, Forked)
            drawn.append(float(await engine.stdout.read()))
            assert await engine.wait() == 0
        assert drawn[0] != drawn[1]


async def test_engines_outlive_their_nursery_and_the_next_one_has_another() -> None:
    async with _nursery() as found:
        first = await found.engine("m/1")
        assert found._process is not None
        found._process.kill()
        await found._process.wait()
        while found._socket is not None:  # noqa: ASYNC110 - its end is heard a moment later
            await asyncio.sleep(0)
        second = await found.engine("m/2")
        assert isinstance(second, Forked)
        assert psutil.Process(second.pid).ppid() == found._process.pid
        assert first.returncode is None
        assert end_of(await _ended(first)).startswith("ended, and nobody knows how")
        assert await _ended(second) == 0


async def test_where_none_can_live_engines_start_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _replace(monkeypatch, "")
    async with _nursery() as found:
        for number in range(4):
            engine = await found.engine(f"m/{number}")
            assert isinstance(engine, asyncio.subprocess.Process)
            assert await _ended(engine) == 0
        assert found._starts == 3  # it has died as often, and is not tried any more


async def test_one_that_hangs_holds_up_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace(monkeypatch, "import signal; signal.pause()")
    monkeypatch.setattr(nursery, "_BIRTH_TIMEOUT_S", 0.05)
    async with _nursery() as found:
        engine = await found.engine("m/1")
        assert isinstance(engine, asyncio.subprocess.Process)
        assert await _ended(engine) == 0
        assert found._process is not None
        assert await found._process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("code", [WITH_A_THREAD, WITHOUT_DESCRIPTORS])
async def test_one_that_never_can_refuses_and_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    _replace(monkeypatch, code + BEGIN)
    async with _nursery() as found:
        for number in range(2):
            engine = await found.engine(f"m/{number}")
            assert isinstance(engine, asyncio.subprocess.Process)
            assert await _ended(engine) == 0
            assert found._process is None


async def test_the_end_waits_for_no_birth(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace(monkeypatch, "import signal; signal.pause()")
    async with _nursery() as found:
        birth = asyncio.create_task(found.engine("m/1"))
        while not found._expected:
            await asyncio.to_thread(os.sched_yield)
        await found.end()
        engine = await birth
        assert isinstance(engine, asyncio.subprocess.Process)
        assert await _ended(engine) == 0


async def test_without_descriptors_of_processes_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    async with _nursery() as found:
        engine = await found.engine("m/1")
        assert isinstance(engine, asyncio.subprocess.Process)
        assert await _ended(engine) == 0
