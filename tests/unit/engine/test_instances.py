"""The lanes of an engine: as many run at a time as the receiver wants."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

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
PROFILE = plain(SIGNATURE, instances=2)
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


async def test_as_many_lanes_run_as_are_wanted_and_every_batch_is_answered(tmp_path: Path) -> None:
    room = Room()
    loop = asyncio.get_running_loop()
    answered: asyncio.Queue[int] = asyncio.Queue()
    attached = asyncio.Event()

    def failed(_: int, error: HeadraceError) -> None:
        raise error

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        reception = Reception(listener, SIGNATURE, None)
        thread = threading.Thread(target=reception.serve, args=([room, room],))
        thread.start()
        client = EngineClient(
            loop,
            PROFILE,
            ModelSettings(slot_mib=1),
            8,
            Listener(
                done=lambda batch_id, *_: answered.put_nowait(batch_id),
                failed=failed,
                lost=lambda: None,
                attached=attached.set,
            ),
        )
        await client.connect(str(tmp_path / "s"))
        await attached.wait()
        for lanes, most in ((2, 2), (1, 1), (2, 2)):
            client.set_lanes(lanes)
            room.most = 0
            for number in range(6):
                client.run(number, 1, [X])
            assert {await answered.get() for _ in range(6)} == set(range(6))
            assert room.most == most
        client.close()
        reception.close()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


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
    loop = asyncio.get_running_loop()
    answered: asyncio.Queue[int] = asyncio.Queue()
    may_end = threading.Event()
    lanes = [Queued(computing, may_end) for computing in (threading.Lock(), threading.Lock())]

    def failed(_: int, error: HeadraceError) -> None:
        raise error

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        reception = Reception(listener, SIGNATURE, None, stages=2)
        side_by_side = [lane for lane in lanes for _ in range(2)]
        thread = threading.Thread(target=reception.serve, args=(side_by_side,))
        thread.start()
        client = EngineClient(
            loop,
            PROFILE,
            ModelSettings(slot_mib=1),
            4,
            Listener(
                done=lambda batch_id, *_: answered.put_nowait(batch_id),
                failed=failed,
                lost=lambda: None,
            ),
        )
        await client.connect(str(tmp_path / "s"))
        answers = []
        for turn in range(3):
            may_end.clear()
            client.run(0, 1, [{"x": np.full((1, 1), LONG, np.float32)}])
            for number in range(1, 6 + turn):  # more than there are lanes, and not evenly so
                client.run(number, 1, [X])
                answers.append(await answered.get())
            may_end.set()
            answers.append(await answered.get())
        client.close()
        reception.close()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    assert answers == [*range(1, 6), 0, *range(1, 7), 0, *range(1, 8), 0]


async def test_lanes_of_one_instance_have_pinned_slots_until_the_receiver_leaves(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    answered: asyncio.Queue[float] = asyncio.Queue()
    first = Staged(stages=2).instance()

    def failed(_: int, error: HeadraceError) -> None:
        raise error

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        reception = Reception(listener, SIGNATURE, None, stages=2, pinned_bytes=5000)
        thread = threading.Thread(target=reception.serve, args=([first, first.beside()],))
        thread.start()
        client = EngineClient(
            loop,
            PROFILE,
            ModelSettings(slot_mib=1),
            3,
            Listener(
                done=lambda _, infer_s, __: answered.put_nowait(infer_s),
                failed=failed,
                lost=lambda: None,
            ),
        )
        await client.connect(str(tmp_path / "s"))
        client.run(0, 1, [X])
        assert await answered.get() >= 0
        assert first.pinned == [8192] * 3
        assert first.released == 0
        client.close()
        reception.close()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
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
    failed: asyncio.Queue[tuple[int, HeadraceError]] = asyncio.Queue()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        reception = Reception(listener, many.signature, None)
        thread = threading.Thread(target=reception.serve, args=([many],))
        thread.start()
        client = EngineClient(
            asyncio.get_running_loop(),
            plain(many.signature),
            ModelSettings(slot_mib=1),
            1,
            Listener(
                done=lambda *_: None,
                failed=lambda *told: failed.put_nowait(told),
                lost=lambda: None,
            ),
        )
        await client.connect(str(tmp_path / "s"))
        x = np.ones((1, 1), np.float32)
        async with asyncio.timeout(30):
            for number in range(2):  # the second in the slot of the first
                client.run(number, 1, [{spec.name: x for spec in many.signature.inputs}])
                batch_id, error = await failed.get()
                assert (batch_id, error.code) == (number, "inference_failed")
        assert "no batch can be told of" in error.message
        client.close()
        reception.close()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
