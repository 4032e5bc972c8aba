"""Receivers share an engine's lanes: each is answered, none keeps another out, any may leave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from headrace.engine.board import seats_for
from headrace.engine.client import EngineClient, Listener
from headrace.engine.reception import Reception
from headrace.errors import HeadraceError
from headrace.scheduler.others import NOBODY, Others
from headrace.settings import ModelSettings
from headrace.values import Array, DType, Signature, TensorSpec
from tests.profiles import plain

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 1)),),
    batched=True,
)
PROFILE = plain(SIGNATURE, instances=1)


class Held:
    """Computes only as often as it may, and notes what."""

    def __init__(self) -> None:
        self.may = threading.Semaphore(0)
        self.ran: list[float] = []

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        self.may.acquire()
        self.ran.append(float(inputs["x"][0, 0]))
        return {"y": inputs["x"] * 2}


class Receiver:
    """One connection, and what it was answered."""

    def __init__(self, slots: int = 8) -> None:
        self.answers: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
        self.attached = asyncio.Event()
        self.lost = asyncio.Event()
        self.client = EngineClient(
            asyncio.get_running_loop(),
            PROFILE,
            ModelSettings(slot_mib=1),
            slots,
            Listener(
                done=lambda number, _, outputs: self.answers.put_nowait(
                    (number, float(outputs["y"][0, 0]))
                ),
                failed=self._failed,
                lost=self.lost.set,
                attached=self.attached.set,
            ),
        )

    def _failed(self, number: int, error: HeadraceError) -> None:
        raise AssertionError(f"batch {number}: {error}")

    def run(self, number: int, value: float) -> None:
        x = np.full((1, 1), value, np.float32)
        self.client.run(number, 1, [{"x": x}], expected_s=0.25)


class Engine:
    """A reception and its one lane, in a thread."""

    def __init__(self, folder: Path, receivers: int) -> None:
        self.path = str(folder / "s")
        self.instance = Held()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self.path)
        self._listener.listen()
        self.reception = Reception(self._listener, SIGNATURE, None, receivers)
        self.thread = threading.Thread(target=self.reception.serve, args=([self.instance],))

    async def connect(self) -> Receiver:
        receiver = Receiver()
        await receiver.client.connect(self.path)
        async with asyncio.timeout(10):
            await receiver.attached.wait()
        return receiver

    def close(self) -> None:
        self._listener.close()


@contextlib.asynccontextmanager
async def _engine(folder: Path, receivers: int = 2) -> AsyncIterator[Engine]:
    engine = Engine(folder, receivers)
    engine.thread.start()
    try:
        yield engine
    finally:
        engine.instance.may.release(1000)
        engine.reception.close()
        await asyncio.to_thread(engine.thread.join, 10)
        engine.close()
        assert not engine.thread.is_alive()


async def test_each_receiver_gets_the_answers_to_its_own_batches(tmp_path: Path) -> None:
    async with _engine(tmp_path) as engine:
        one, other = await engine.connect(), await engine.connect()
        engine.instance.may.release(6)
        for number in range(3):
            one.run(number, number)
            other.run(number, 10 + number)
        assert [await one.answers.get() for _ in range(3)] == [(0, 0), (1, 2), (2, 4)]
        assert [await other.answers.get() for _ in range(3)] == [(0, 20), (1, 22), (2, 24)]
        one.client.close()
        other.client.close()


async def test_batches_run_in_the_order_in_which_they_were_handed_over_whoever_did(
    tmp_path: Path,
) -> None:
    async with _engine(tmp_path) as engine:
        one, other = await engine.connect(), await engine.connect()
        for number, receiver in enumerate([one, one, other, one, other]):
            receiver.run(number, number)
        engine.instance.may.release(5)
        for _ in range(3):
            await one.answers.get()
        for _ in range(2):
            await other.answers.get()
        assert engine.instance.ran == [0, 1, 2, 3, 4]
        one.client.close()
        other.client.close()


async def test_a_receiver_that_leaves_takes_no_answer_of_the_others_with_it(
    tmp_path: Path,
) -> None:
    async with _engine(tmp_path) as engine:
        one, other = await engine.connect(), await engine.connect()
        one.run(1, 1)
        one.run(2, 2)
        other.run(1, 3)
        one.client.close()
        engine.instance.may.release(3)
        assert await other.answers.get() == (1, 6)
        third = await engine.connect()  # in the seat of the first
        assert third.client.others() == NOBODY
        engine.instance.may.release(1)
        third.run(1, 4)
        assert await third.answers.get() == (1, 8)
        other.client.close()
        third.client.close()


async def test_each_sees_what_the_other_has_there_and_nothing_of_its_own(tmp_path: Path) -> None:
    async with _engine(tmp_path) as engine:
        one, other = await engine.connect(), await engine.connect()
        for number in range(3):
            one.run(number, number)
        seen = await _until(other, lambda found: len(found.running) == 1)
        since_s, expected_s = seen.running[0]
        assert since_s > 0
        assert expected_s == 0.25
        assert seen[1:] == (2, 0.5, 1, 0)
        assert one.client.others() == Others(mine=1)
        engine.instance.may.release(3)
        for _ in range(3):
            await one.answers.get()
        assert other.client.others() == one.client.others() == NOBODY
        one.client.close()
        other.client.close()


async def test_there_is_no_board_where_there_is_one_receiver(tmp_path: Path) -> None:
    async with _engine(tmp_path, receivers=1) as engine:
        one, late = await engine.connect(), await engine.connect()
        one.run(1, 1)
        assert late.client.others() == NOBODY
        engine.instance.may.release(1)
        assert await one.answers.get() == (1, 2)
        one.client.close()
        late.client.close()


async def test_what_was_handed_over_is_answered_when_the_engine_is_told_to_end(
    tmp_path: Path,
) -> None:
    async with _engine(tmp_path) as engine:
        one = await engine.connect()
        one.run(1, 1)
        one.run(2, 2)
        engine.reception.close()
        engine.instance.may.release(2)
        assert [await one.answers.get() for _ in range(2)] == [(1, 2), (2, 4)]
        one.client.close()


async def _until(receiver: Receiver, right: object) -> Others:
    """What a receiver sees, once that is right."""
    assert callable(right)
    async with asyncio.timeout(10):
        while not right(found := receiver.client.others()):  # noqa: ASYNC110 - no bell rings
            await asyncio.sleep(0)
    return found


async def test_who_has_left_keeps_no_slot_whoever_keeps_it(tmp_path: Path) -> None:
    async with _engine(tmp_path) as engine:
        one = await engine.connect()
        engine.instance.may.release(1)
        one.run(1, 1)
        assert await one.answers.get() == (1, 2)  # whose places are remembered
        slots = weakref.ref(one.client._slots)
        one.client.close()
        assert slots() is None


async def test_one_receiver_more_than_there_are_seats_for_is_turned_away_with_its_slots(
    tmp_path: Path,
) -> None:
    async with _engine(tmp_path, receivers=1) as engine:
        there = [await engine.connect() for _ in range(seats_for(1))]
        more = Receiver()
        before = _descriptors_of_slots()
        with pytest.raises(ConnectionResetError, match="the engine has gone"):
            await more.client.connect(engine.path)
        assert _descriptors_of_slots() == before
        for one in there:
            one.client.close()


def _descriptors_of_slots() -> int:
    """How many this process has; a mapping has one too."""
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of this look
            count += path.readlink().name.startswith("memfd:headrace-slots")
    return count
