"""Corners of the loop behind every request: parts of one, models that leave, engines that wait."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path

import pytest

from headrace.control import ModelServing
from headrace.receiver.runtime import Runtime
from headrace.settings import BackendName, ModelSettings
from headrace.values import DType, Signature, TensorSpec
from tests.profiles import plain
from tests.unit.receiver.inside import Inside, inside

ROWS = Signature(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 1)),),
    batched=True,
)


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
