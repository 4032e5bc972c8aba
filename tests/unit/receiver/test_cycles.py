"""A request leaves nothing for the garbage collector, however it ends; nor does a model.

Whoever is in a reference cycle keeps the request's body until a collection, and the receiver
collects rarely: refusals of large bodies would fill the memory, and the collection stop the loop.
A model that is there no more would keep the slots of its engine, which are up to some 100 MiB each.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message_factory import GetMessageClass

from headrace.load.apis import oip_grpc, oip_rest
from headrace.receiver.codecs.protobuf import POOL
from headrace.settings import Sequence
from tests.unit.receiver.inside import GRPC, Call, Came, Inside, inside

SLOW = "base_ms: 20\n"
FAILING = "fail_at: 13\n"
STATEFUL = """
inputs: {x: [FP32, [null, 4]], state: [FP32, [null, 4]]}
outputs: {stateN: [FP32, [null, 4]], y: [FP32, [null, 4]]}
"""
SEQUENCE = Sequence.model_validate({"state": [{"input": "state", "output": "stateN"}]})
ROW = np.ones((1, 4), np.float32)
HTTP = {
    "ok": b'{"input": [[1, 1, 1, 1]]}',
    "invalid_input": b'{"input": [[1, 2]]}',
    "malformed_request": b"{",
    "inference_failed": b'{"input": [[13, 0, 0, 0]]}',
}
TIMES = 5
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def _classes(kinds: Iterable[Any]) -> Iterator[Any]:
    for kind in kinds:
        yield GetMessageClass(kind)
        yield from _classes(kind.nested_types)


# Protobuf makes the class of a part of a message when it is wanted, a cycle, and anew when it was
# collected: that has nothing of a request, and happens in no test while these are kept.
FILE = POOL.FindFileContainingSymbol("inference.ModelInferRequest")
CLASSES = list(_classes(FILE.message_types_by_name.values()))


@pytest.fixture(autouse=True)
def collected_by_hand() -> Iterator[None]:
    """Only what the test itself makes is looked at."""
    gc.collect()
    gc.disable()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.enable()


async def expect(server: Inside, outcome: str, came: Came) -> None:
    """The request ended as it should, and without a cycle."""
    assert came.headers.get("headrace-error", "ok") == outcome
    await asyncio.sleep(0)  # let the last callbacks of its futures run
    found = gc.collect()
    assert found == 0


@pytest.mark.parametrize("outcome", HTTP)
async def test_over_http(tmp_path: Path, outcome: str) -> None:
    body = HTTP[outcome]
    async with inside(FAILING, tmp_path) as server:
        await server.ask("/predict/m", body)
        gc.collect()
        for _ in range(TIMES):
            await expect(server, outcome, await server.ask("/predict/m", body))


@pytest.mark.parametrize("outcome", ["ok", "inference_failed", "invalid_input"])
async def test_over_grpc_and_binary_rest(tmp_path: Path, outcome: str) -> None:
    array = {"ok": ROW, "inference_failed": ROW * 13, "invalid_input": ROW[:, :2]}[outcome]
    infer, binary = oip_grpc.encode("m", {"x": array}), oip_rest.encode("m", {"x": array})
    headers = [(name.encode(), value.encode()) for name, value in binary.headers]
    async with inside(FAILING, tmp_path) as server:
        for number in range(TIMES + 1):
            grpc = await server.ask(
                "/inference.GRPCInferenceService/ModelInfer",
                frame(infer.body),
                headers=[(b"content-type", b"application/grpc")],
            )
            rest = await server.ask("/v2/models/m/infer", binary.body, headers=headers)
            if number == 0:  # what is remembered of the first stays
                gc.collect()
                continue
            await expect(server, outcome, grpc)
            await expect(server, outcome, rest)


async def test_when_refused_or_too_late(tmp_path: Path) -> None:
    timed = [(b"headrace-timeout-ms", b"30")]
    async with inside(SLOW, tmp_path, max_queue=4, max_batch=1) as server:
        for number in range(TIMES):
            asked = [server.ask("/predict/m", HTTP["ok"], headers=timed) for _ in range(12)]
            came = await asyncio.gather(*asked)
            assert any("headrace-error" in one.headers for one in came)
            del asked, came
            await asyncio.sleep(0)
            found = gc.collect()
            assert number == 0 or found == 0


async def test_when_a_request_of_many_batches_is_refused(tmp_path: Path) -> None:
    body = json.dumps({"input": np.ones((9, 4)).tolist()}).encode()
    async with inside(SLOW, tmp_path, slo_ms=15, max_batch=2) as server:
        for number in range(TIMES):
            came = await server.ask("/predict/m", body)
            if number == 0:
                gc.collect()
                continue
            await expect(server, "predicted_miss", came)


@pytest.mark.parametrize(("card", "sequence"), [(FAILING, None), (STATEFUL, SEQUENCE)])
@pytest.mark.parametrize("reloaded", [True, False])
async def test_when_a_model_leaves(
    tmp_path: Path, card: str, sequence: Sequence | None, reloaded: bool
) -> None:
    begun = [(b"headrace-sequence-id", b"7"), (b"headrace-sequence-start", b"1")]
    async with inside(card, tmp_path, sequence=sequence) as server:
        came = await server.ask("/predict/m", HTTP["ok"], headers=begun if sequence else ())
        assert came.status == 200
        parts = server.parts()
        if reloaded:
            await server.reload()
        else:
            server.drain()
        for _ in range(9):  # turns of the loop, until it is empty and its last callbacks have run
            await asyncio.sleep(0)
        assert [name for name, part in parts.items() if part() is not None] == []


def frame(body: bytes) -> bytes:
    """A gRPC message."""
    return b"\0" + len(body).to_bytes(4, "big") + body


ONE = frame(oip_grpc.encode("m", {"x": ROW}).body)
STREAMS: dict[str, tuple[bytes, bool, str | None]] = {
    "ends": (b"", False, "0"),
    "ends in the middle of a message": (ONE[:-4], False, "3"),
    "says what is no message": (b"\2" * 64, True, "3"),
    "leaves": (b"", True, None),
    "leaves in the middle of a message": (ONE[:-4], True, None),
    "leaves while requests run and wait": (ONE * 3, True, None),
    "stays too long": (b"", True, "4"),
    "stays too long in the middle of a message": (ONE[:-4], True, "4"),
}
"""What a client does → what it says after a request, whether more is to come, and the status."""


@pytest.mark.parametrize("how", STREAMS)
async def test_on_a_stream(tmp_path: Path, how: str) -> None:
    rest, more, status = STREAMS[how]
    headers = [*GRPC, (b"grpc-timeout", b"60m")] if how.startswith("stays") else GRPC
    async with inside(SLOW, tmp_path, max_batch=1) as server:
        for number in range(TIMES):
            call = Call()
            call.say(ONE + rest, more=more)
            ended = server.call(STREAM, call, headers)
            if how.startswith("leaves"):
                await call.taken()
                call.leave()
            await ended
            assert call.status == status
            del ended, call
            await asyncio.sleep(0)
            found = gc.collect()
            assert number == 0 or found == 0
