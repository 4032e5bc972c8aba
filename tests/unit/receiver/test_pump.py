"""Corners of the loop behind every request: parts of one, models that leave, engines that wait."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from headrace.control import ModelServing
from headrace.receiver.runtime import Runtime
from headrace.settings import BackendName, ModelSettings
from headrace.values import Array, DType, Signature, TensorSpec
from tests.profiles import plain
from tests.unit.receiver.inside import Inside, inside

ROWS = Signature(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 1)),),
    batched=True,
)
TWO = """
inputs: {a: ROW, b: ROW}
outputs: {ya: ROW, yb: ROW}
""".replace("ROW", "[FP32, [null, 1]]")
SWAPPED = TWO.replace("ya", "y").replace("yb", "ya").replace("y:", "yb:")
ROWS_OF_TWO = b'{"inputs": {"a": [[1], [2], [3]], "b": [[4], [5], [6]]}}'


@pytest.mark.parametrize("max_queue", [1, 3, 256])
async def test_a_request_of_many_batches_is_whole_though_its_model_leaves_meanwhile(
    tmp_path: Path, max_queue: int
) -> None:
    body = json.dumps({"input": [[1, 2, 3, 4]] * 16}).encode()
    async with inside("base_ms: 10\n", tmp_path, max_batch=2, max_queue=max_queue) as server:
        task = asyncio.create_task(server.ask("/predict/m", body))
        await server.retire_once_busy()
        async with asyncio.timeout(30):
            came = await task
    assert came.status == 200
    assert len(json.loads(came.body)["output"]) == 16


class Uneven:
    """Its rows are as long as the largest number among them."""

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        x = inputs["x"]
        return {"y": np.zeros((len(x), int(x.max())), np.float32)}


async def test_rows_of_a_request_that_are_longer_in_another_batch_are_told_to_come_apart(
    tmp_path: Path,
) -> None:
    card = "{inputs: {x: [FP32, [null, 1]]}, outputs: {y: [FP32, [null, null]]}}"
    async with inside(card, tmp_path, instance=Uneven(), max_batch=2) as server:
        alike = await server.ask("/predict/m", b'{"input": [[1], [2], [2]]}')
        came = await server.ask("/predict/m", b'{"input": [[1], [2], [3]]}')
    assert (alike.status, json.loads(alike.body)["output"]) == (200, [[0, 0]] * 3)
    assert (came.status, came.headers["headrace-error"]) == (500, "inference_failed")
    assert "shape [2] in one batch and [3] in another" in json.loads(came.body)["error"]
    assert "send at most 2 rows at a time, or raise max_batch" in json.loads(came.body)["error"]


class Counting:
    """Tells how long its strings are, and how many there were in each run."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        self.rows.append(len(inputs["x"]))
        return {"y": np.array([b"%d" % len(text) for text in inputs["x"]], object)}


async def test_a_batch_that_a_slot_has_no_room_for_is_halved_until_there_is(
    tmp_path: Path,
) -> None:
    card, counting = "{inputs: {x: [BYTES, [null]]}, outputs: {y: [BYTES, [null]]}}", Counting()
    body = json.dumps({"input": ["a" * 300_000]}).encode()  # three fit
    async with inside(card, tmp_path, instance=counting, max_batch=8, slot_mib=1) as server:
        came = await asyncio.gather(*[server.ask("/predict/m", body) for _ in range(8)])
    assert [json.loads(one.body)["output"] for one in came] == [["300000"]] * 8
    assert sum(counting.rows) == 8
    assert len(counting.rows) < 8


async def test_an_engine_that_does_not_answer_yet_keeps_no_deadline_and_takes_no_core(
    tmp_path: Path,
) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    runtime = Runtime(asyncio.get_running_loop(), "")
    settings = ModelSettings(name="m", backend=BackendName.FAKE, instances=1, slo_ms=50)
    serving = ModelServing(
        name="m",
        version=1,
        socket_path=str(tmp_path / "s"),
        settings=settings,
        profile=plain(ROWS, batch_sizes=(1, 2)),
    )
    with listener:
        await runtime._serve(serving)
        server = Inside(runtime)
        try:
            before_s = time.thread_time()
            async with asyncio.timeout(30):
                came = await asyncio.gather(
                    *[server.ask("/predict/m", b'{"input": [[1]]}') for _ in range(3)]
                )
            assert [one.status for one in came] == [504] * 3
            assert time.thread_time() - before_s < 0.04  # of 0.05 s, were it asked again and again
        finally:
            await runtime.stop()


async def test_an_engine_that_has_loaded_another_file_is_asked_by_what_that_says(
    tmp_path: Path,
) -> None:
    async with inside(TWO, tmp_path) as server:
        assert await _answer(server) == {"ya": [[1], [2], [3]], "yb": [[4], [5], [6]]}
        server.lose_engine()
        waits = asyncio.create_task(server.ask("/predict/m", ROWS_OF_TWO))
        for _ in range(3):  # until it is queued
            await asyncio.sleep(0)
        async with server.succeed(SWAPPED, tmp_path):
            assert await _answer(server) == {"yb": [[1], [2], [3]], "ya": [[4], [5], [6]]}
            came = await waits
    assert (came.status, came.headers["headrace-error"]) == (503, "engine_lost")
    assert "its model has changed meanwhile" in json.loads(came.body)["error"]


async def test_an_engine_of_the_same_model_that_pads_to_other_sizes_gets_room_for_them(
    tmp_path: Path,
) -> None:
    before, now = {"pads": True, "batch_sizes": (1, 2, 3)}, {"pads": True, "batch_sizes": (1, 99)}
    async with inside(TWO, tmp_path, found=before) as server:
        assert await _answer(server) == {"ya": [[1], [2], [3]], "yb": [[4], [5], [6]]}
        server.lose_engine()
        waits = asyncio.create_task(_answer(server))
        for _ in range(3):
            await asyncio.sleep(0)
        async with server.succeed(TWO, tmp_path, **now):
            assert await waits == {"ya": [[1], [2], [3]], "yb": [[4], [5], [6]]}


async def _answer(server: Inside) -> dict[str, list[list[float]]]:
    came = await server.ask("/predict/m", ROWS_OF_TWO)
    assert came.status == 200, came.body
    outputs: dict[str, list[list[float]]] = json.loads(came.body)["output"]
    return outputs
