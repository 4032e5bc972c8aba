"""The lanes of an engine: as many run at a time as the receiver wants."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.engine.backends.contract import Instance
from headrace.engine.client import EngineClient, Listener
from headrace.engine.reception import Reception
from headrace.errors import HeadraceError
from headrace.settings import ModelSettings
from headrace.values import Array, DType, Signature, TensorSpec
from tests.profiles import plain
from tests.unit.engine.doubles import Staged

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 1)),),
    batched=True,
)
X = {"x": np.ones((1, 1), np.float32)}
LONG = 7


class Room:
    """Computes for 10 ms, and notes how many did at a time."""

    def __init__(self) -> None:
        self.most = 0
        self._lock = threading.Lock()
        self._inside = 0

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(0.01)
        with self._lock:
            self._inside -= 1
        return {"y": inputs["x"]}


def _raise(_: int, error: HeadraceError) -> None:
    raise error


@contextlib.asynccontextmanager
async def _engine(
    folder: Path,
    lanes: Sequence[Instance],
    slots: int,
    done: Callable[..., None],
    failed: Callable[[int, HeadraceError], None] = _raise,
    signature: Signature = SIGNATURE,
    **said: Any,
) -> AsyncIterator[EngineClient]:
    """A receiver's client of these lanes, which have taken it in; ``said`` is for who serves it."""
    attached = asyncio.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()

        reception = Reception(listener, signature, None, **said)
        thread = threading.Thread(target=reception.serve, args=(lanes,))
        thread.start()
        client = EngineClient(
            asyncio.get_running_loop(),
            plain(signature, instances=2),
            ModelSettings(slot_mib=1),
            slots,
            Listener(done=done, failed=failed, lost=lambda: None, attached=attached.set),
        )
        await client.connect(str(folder / "s"))
        await attached.wait()
        yield client
        client.close()
        reception.close()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


async def test_as_many_lanes_run_as_are_wanted_and_every_batch_is_answered(tmp_path: Path) -> None:
    room = Room()
    answered: asyncio.Queue[int] = asyncio.Queue()

    def done(batch_id: int, *_: object) -> None:
        answered.put_nowait(batch_id)

    async with _engine(tmp_path, [room, room], 8, done) as client:
        for lanes, most in ((2, 2), (1, 1), (2, 2)):
            client.set_lanes(lanes)
            room.most = 0
            for number in range(6):
                client.run(number, 1, [X])
            assert {await answered.get() for _ in range(6)} == set(range(6))
            assert room.most == most


class Queued:
    """A lane that computes when those before it in its instance have; some batches take long."""

    def __init__(self, computing: threading.Lock, may_end: threading.Event) -> None:
        self._computing = computing
        self._may_end = may_end

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        with self._computing:
            if inputs["x"][0, 0] == LONG:
                self._may_end.wait(10)
        return {"y": inputs["x"]}


async def test_while_one_instance_of_several_lanes_is_busy_batches_run_on_the_other(
    tmp_path: Path,
) -> None:
    answered: asyncio.Queue[int] = asyncio.Queue()
    may_end = threading.Event()
    lanes = [Queued(computing, may_end) for computing in (threading.Lock(), threading.Lock())]
    side_by_side = [lane for lane in lanes for _ in range(2)]

    def done(batch_id: int, *_: object) -> None:
        answered.put_nowait(batch_id)

    answers = []
    async with _engine(tmp_path, side_by_side, 4, done, stages=2) as client:
        for turn in range(3):
            may_end.clear()
            client.run(0, 1, [{"x": np.full((1, 1), LONG, np.float32)}])
            for number in range(1, 6 + turn):  # more than there are lanes, and not evenly so
                client.run(number, 1, [X])
                answers.append(await answered.get())
            may_end.set()
            answers.append(await answered.get())
    assert answers == [*range(1, 6), 0, *range(1, 7), 0, *range(1, 8), 0]


async def test_lanes_of_one_instance_have_pinned_slots_until_the_receiver_leaves(
    tmp_path: Path,
) -> None:
    answered: asyncio.Queue[float] = asyncio.Queue()
    first = Staged(stages=2).instance()

    def done(_: int, infer_s: float, __: object) -> None:
        answered.put_nowait(infer_s)

    lanes = [first, first.beside()]
    async with _engine(tmp_path, lanes, 3, done, stages=2, pinned_bytes=5000) as client:
        client.run(0, 1, [X])
        assert await answered.get() >= 0
        assert first.pinned == [8192] * 3
        assert first.released == 0
    assert first.released == 1


class Many:
    """A model with so many tensors that no frame describes them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.signature = Signature(
            tuple(TensorSpec(f"x{number}", DType.FP32, (None, 1)) for number in range(inputs)),
            tuple(TensorSpec(f"y{number}", DType.FP32, (None, 1)) for number in range(outputs)),
            batched=True,
        )

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {spec.name: inputs["x0"] for spec in self.signature.outputs}


@pytest.mark.parametrize("many", [Many(2500, 1), Many(1, 2500)])
async def test_a_batch_of_which_too_much_would_have_to_be_told_fails(
    tmp_path: Path, many: Many
) -> None:
    told: asyncio.Queue[tuple[int, HeadraceError]] = asyncio.Queue()

    def failed(batch_id: int, error: HeadraceError) -> None:
        told.put_nowait((batch_id, error))

    x = np.ones((1, 1), np.float32)
    async with (
        _engine(tmp_path, [many], 1, lambda *_: None, failed, many.signature) as client,
        asyncio.timeout(30),
    ):
        for number in range(2):  # the second in the slot of the first
            client.run(number, 1, [{spec.name: x for spec in many.signature.inputs}])
            batch_id, error = await told.get()
            assert (batch_id, error.code) == (number, "inference_failed")
    assert "no batch can be told of" in error.message
