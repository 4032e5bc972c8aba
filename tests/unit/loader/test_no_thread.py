"""A system in which no thread can be started, for a while: what needs one fails, and no more."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from headrace.loader.aside import aside
from headrace.loader.engine_process import end, start, watch_children
from headrace.loader.memory import EngineMemory, Sizes
from headrace.priority import may_come_back


@pytest.fixture
def _no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("_no_thread")
async def test_a_call_aside_fails_where_it_is_awaited() -> None:
    future = aside(lambda: None)
    with pytest.raises(OSError, match="no thread can be started"):
        await future


@pytest.mark.usefixtures("_no_thread")
def test_nobody_stands_back() -> None:
    assert not may_come_back()


@pytest.mark.usefixtures("_no_thread")
async def test_memory_is_looked_at_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.loader.memory._EVERY_S", 0)
    looks = asyncio.Queue[None]()
    memory = EngineMemory(dict, lambda _: None, Sizes())
    monkeypatch.setattr(memory, "look", lambda: looks.put_nowait(None))
    running = asyncio.create_task(memory.run())
    for _ in range(2):
        await looks.get()
    assert not running.done()
    running.cancel()


@pytest.fixture
def _watched() -> Iterator[None]:
    if sys.version_info >= (3, 12):
        yield
        return
    before = asyncio.get_child_watcher()
    watch_children()
    yield
    asyncio.set_child_watcher(before)


@pytest.mark.usefixtures("_watched", "_no_thread")
async def test_a_process_needs_none_of_our_threads() -> None:
    process = await start(sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(3)")
    assert process.stdin is not None
    process.stdin.close()
    assert await process.wait() == 3
    await end(process)
