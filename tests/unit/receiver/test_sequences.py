"""Sequences in one process: waiting, deadlines, ends, and models that break their word."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema_rs import validator_for

from headrace.accepts import AcceptedAudio
from headrace.receiver import grpc
from headrace.receiver.run.sequences import Remembered
from headrace.server_settings import ServerSettings
from headrace.settings import Sequence
from tests.e2e.clients import grpc_request
from tests.unit.media.files import sound, tone
from tests.unit.receiver.inside import GRPC, Call, Came, Inside, inside

DELAY = """
inputs: {x: [FP32, [null, 2]], state: [FP32, [null, 2]]}
outputs: {stateN: [FP32, [null, 2]], y: [FP32, [null, 2]]}
"""
CARD = Sequence.model_validate({"state": [{"input": "state", "output": "stateN", "initial": 7}]})
SERVICE = "/inference.GRPCInferenceService/"
START, ON, END = (True, False), (False, False), (False, True)


def _headers(call: tuple[bool, bool], more: dict[str, str]) -> list[tuple[bytes, bytes]]:
    start, end = call
    said = {
        "headrace-sequence-id": "a",
        "headrace-sequence-start": str(start),
        "headrace-sequence-end": str(end),
    } | more
    return [(name.encode(), value.encode()) for name, value in said.items()]


async def _ask(
    server: Inside,
    number: float,
    call: tuple[bool, bool],
    *,
    more: dict[str, str] | None = None,
    stays: bool = True,
) -> Came:
    body = json.dumps({"input": [[number, number]]}).encode()
    return await server.ask("/predict/m", body, headers=_headers(call, more or {}), stays=stays)


def _number(came: Came) -> float:
    assert came.status == 200, came.body
    return float(json.loads(came.body)["output"][0][0])


def _error(came: Came) -> tuple[str, str]:
    return came.headers["headrace-error"], json.loads(came.body)["error"]


async def test_requests_of_a_sequence_wait_for_each_other(tmp_path: Path) -> None:
    async with inside(DELAY + "base_ms: 5\n", tmp_path, sequence=CARD, max_batch=1) as server:
        calls = [START, ON, ON, END, START]
        came = await asyncio.gather(*[_ask(server, n, call) for n, call in enumerate(calls)])
        assert [_number(one) for one in came] == [7, 0, 1, 2, 7]


async def test_waiting_ends_with_the_clients_deadline(tmp_path: Path) -> None:
    async with inside(DELAY + "base_ms: 100\n", tmp_path, sequence=CARD, max_batch=1) as server:
        late = {"headrace-timeout-ms": "20"}
        first, second = await asyncio.gather(
            _ask(server, 1, START), _ask(server, 2, ON, more=late), return_exceptions=False
        )
        assert _number(first) == 7
        code, words = _error(second)
        assert (second.status, code) == (504, "expired")
        assert "while it waited for the requests before it in sequence a" in words
        assert _number(await _ask(server, 3, END)) == 1


async def test_who_leaves_during_the_run_changes_nothing(tmp_path: Path) -> None:
    async with inside(DELAY + "base_ms: 40\n", tmp_path, sequence=CARD, max_batch=1) as server:
        assert _number(await _ask(server, 1, START)) == 7
        for call in (ON, START, END):
            left = await _ask(server, 2, call, stays=False)
            assert _error(left)[0] == "cancelled"
        assert _number(await _ask(server, 3, END)) == 1
        assert _error(await _ask(server, 2, START, stays=False))[0] == "cancelled"
        assert _error(await _ask(server, 3, ON))[0] == "sequence_not_started"


async def test_who_leaves_while_waiting_is_never_run(tmp_path: Path) -> None:
    card = DELAY + "base_ms: 40\nfail_at: 13\n"
    async with inside(card, tmp_path, sequence=CARD, max_batch=1) as server:
        first, left, third = await asyncio.gather(
            _ask(server, 1, START), _ask(server, 13, ON, stays=False), _ask(server, 3, ON)
        )
        assert (_number(first), _number(third)) == (7, 1)
        assert _error(left)[0] == "cancelled"  # and not that it failed


@pytest.mark.parametrize(
    ("method", "more"),
    [("ModelInfer", False), ("ModelStreamInfer", False), ("ModelStreamInfer", True)],
)
async def test_a_cancelled_call_changes_nothing(tmp_path: Path, method: str, more: bool) -> None:
    async with inside(DELAY + "base_ms: 40\n", tmp_path, sequence=CARD, max_batch=1) as server:
        assert _number(await _ask(server, 1, START)) == 7
        call = Call()
        asked = grpc_request("m", np.full((1, 2), 2, np.float32))
        call.say(grpc.frame(asked.SerializeToString()), more=more)
        task = server.call(SERVICE + method, call, [*GRPC, *_headers(ON, {})])
        await call.asked(2 if more else 1)
        call.leave()
        await task
        assert call.bodies == []
        assert _number(await _ask(server, 3, ON)) == 1


@pytest.fixture
def shared() -> Iterator[str]:
    """A shared memory object of 8 bytes."""
    path = Path("/dev/shm") / f"headrace-sequences-{os.getpid()}"  # noqa: S108
    path.write_bytes(bytes(8))
    yield path.name
    path.unlink()


@pytest.mark.parametrize("front", ["grpc", "rest", "stream"])
async def test_an_answer_that_cannot_be_written_changes_nothing(
    tmp_path: Path, shared: str, front: str
) -> None:
    settings = ServerSettings(shared_memory=True)
    place = {"shared_memory_region": "r", "shared_memory_byte_size": 4}
    async with inside(DELAY, tmp_path, server=settings, sequence=CARD) as server:
        body = json.dumps({"key": shared, "byte_size": 8}).encode()
        await server.ask("/v2/systemsharedmemory/region/r/register", body)
        assert _number(await _ask(server, 1, START)) == 7
        if front == "rest":
            x = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [2, 2]}
            wanted = {"inputs": [x], "outputs": [{"name": "y", "parameters": place}]}
            body = json.dumps({**wanted, "parameters": {"sequence_id": "a"}}).encode()
            came = await server.ask("/v2/models/m/infer", body)
            assert "has 8 bytes, its place in shared memory" in _error(came)[1]
        else:
            asked = grpc_request("m", np.full((1, 2), 2, np.float32))
            output = asked.outputs.add(name="y")
            output.parameters["shared_memory_region"].string_param = "r"
            output.parameters["shared_memory_byte_size"].int64_param = 4
            method = "ModelInfer" if front == "grpc" else "ModelStreamInfer"
            came = await server.ask(
                SERVICE + method,
                grpc.frame(asked.SerializeToString()),
                headers=[*GRPC, *_headers(ON, {})],
            )
            told = came.headers.get("grpc-message", "") + came.body.decode("latin-1")
            assert "has 8 bytes, its place in shared memory" in told
        assert _number(await _ask(server, 3, ON)) == 1


async def test_one_that_waits_for_the_end_is_told_to_start(tmp_path: Path) -> None:
    async with inside(DELAY + "base_ms: 5\n", tmp_path, sequence=CARD, max_batch=1) as server:
        first, second, third = await asyncio.gather(
            _ask(server, 1, (True, True)), _ask(server, 2, ON), _ask(server, 3, START)
        )
        assert _number(first) == 7
        assert _error(second)[0] == "sequence_not_started"
        assert _number(third) == 7


async def test_those_that_wait_are_refused_when_the_server_stops(tmp_path: Path) -> None:
    async with inside(DELAY + "base_ms: 200\n", tmp_path, sequence=CARD, max_batch=1) as server:
        asked = [asyncio.ensure_future(_ask(server, n, c)) for n, c in enumerate((START, ON, ON))]
        await asyncio.sleep(0)
    for came in await asyncio.gather(*asked):
        assert _error(came) == ("not_ready", "the server has stopped")


async def test_a_model_of_one_row_has_sequences_too(tmp_path: Path) -> None:
    one_row = DELAY.replace("null", "1")
    async with inside(one_row, tmp_path, sequence=CARD) as server:
        calls = [START, ON, END]
        assert [_number(await _ask(server, n, call)) for n, call in enumerate(calls)] == [7, 0, 1]
        alone = await server.ask("/predict/m", b'{"input": [[3, 3]]}')
        assert _number(alone) == 7


async def test_a_state_may_have_no_axes(tmp_path: Path) -> None:
    ports = {
        "inputs": {"x": ["FP32", []], "state": ["FP32", []]},
        "outputs": {"stateN": ["FP32", []], "y": ["FP32", []]},
    }
    async with inside(json.dumps(ports), tmp_path, sequence=CARD) as server:
        for number, call in enumerate([START, ON, END]):
            body = json.dumps({"input": number}).encode()
            came = await server.ask("/predict/m", body, headers=_headers(call, {}))
            assert json.loads(came.body) == {"output": [7, 0, 1][number]}
        came = await server.ask("/predict/m", b'{"input": 3}')
        assert json.loads(came.body) == {"output": 7}


def test_rows_are_where_the_card_says() -> None:
    state = Remembered("state", "stateN", np.zeros((4, 1, 2)), batch_axis=1)
    assert state.with_rows(3) == (4, 3, 2)


async def test_rows_that_a_model_cannot_keep_are_the_clients_fault(tmp_path: Path) -> None:
    async with inside(DELAY, tmp_path, sequence=CARD, batched=False) as server:
        one = b'{"input": [[1, 1]]}'
        two = json.dumps({"input": [[2, 2], [2, 2]]}).encode()
        for headers in ([], _headers(START, {})):
            assert (await server.ask("/predict/m", one, headers=headers)).status == 200
        for headers in ([], _headers(ON, {})):
            came = await server.ask("/predict/m", two, headers=headers)
            assert (came.status, _error(came)[0]) == (400, "invalid_input")
            assert "the request has 2 rows, and the model remembers one" in _error(came)[1]
        assert _number(await server.ask("/predict/m", one, headers=_headers(ON, {}))) == 1


async def test_a_file_is_the_whole_request_of_a_model_with_state(tmp_path: Path) -> None:
    """Its state is no input that clients would have to send, nor may."""
    heard = AcceptedAudio(kind="audio", input="x", rate_hz=8000, samples=2, length="pad_or_cut")
    async with inside(DELAY, tmp_path, sequence=CARD, accepts=(heard,)) as server:
        kind = (b"content-type", b"audio/wav")
        wave = sound(tone(8000, 0.01), 8000)
        for call, before in ((START, 7), (ON, 0)):  # and the first sample of a sine is 0
            came = await server.ask("/predict/m", wave, headers=[kind, *_headers(call, {})])
            assert _number(came) == before


async def test_what_the_document_says_of_a_model_with_state_it_takes(tmp_path: Path) -> None:
    async with inside(DELAY, tmp_path, sequence=CARD) as server:
        document = json.loads((await server.ask("/openapi.json", method="GET")).body)
        (said,) = document["x-headrace-models"]
        assert [one["name"] for one in said["inputs"]] == ["x"]
        assert _number(await server.ask("/predict/m", json.dumps(said["example"]).encode())) == 7
        operation = document["paths"]["/v2/models/m/infer"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        one = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
        assert validator_for(schema).is_valid({"inputs": [one]})
        for path in ("/predict/m", "/v1/models/m:predict", "/v2/models/m/infer"):
            assert "state" not in json.dumps(document["paths"][path])


async def test_a_state_that_changes_its_shape_is_the_models_fault(tmp_path: Path) -> None:
    wide = DELAY.replace("x: [FP32, [null, 2]]", "x: [FP32, [null, 3]]")
    async with inside(wide, tmp_path, sequence=CARD) as server:
        came = await server.ask("/predict/m", b'{"input": [[1, 2, 3]]}')
        code, words = _error(came)
        assert (came.status, code) == (500, "inference_failed")
        assert "output 'stateN' has shape [1, 3], which cannot become input 'state'" in words


async def test_a_request_has_no_more_rows_than_may_be_kept(tmp_path: Path) -> None:
    card = CARD.model_copy(update={"max_streams": 3})
    async with inside(DELAY, tmp_path, sequence=card) as server:
        body = json.dumps({"input": [[1, 1]] * 4}).encode()
        for headers in ([], _headers(START, {})):
            came = await server.ask("/predict/m", body, headers=headers)
            code, words = _error(came)
            assert (came.status, code) == (400, "invalid_input")
            assert "4 rows, each with a state of its own, and the model may keep 3" in words
        three = json.dumps({"input": [[1, 1]] * 3}).encode()
        assert _number(await server.ask("/predict/m", three, headers=_headers(START, {}))) == 7
        came = await _ask(server, 1, START, more={"headrace-sequence-id": "b"})
        assert (came.status, _error(came)[0]) == (429, "too_many_sequences")


async def test_a_request_that_is_refused_costs_no_state(tmp_path: Path) -> None:
    wide = DELAY.replace("state: [FP32, [null, 2]]", "state: [FP32, [null, 16384]]")
    async with inside(wide, tmp_path, sequence=CARD, max_batch=1, max_queue=1) as server:
        body = json.dumps({"input": [[1, 1]] * 1000}).encode()
        tracemalloc.start()
        try:
            # The first takes the only place in the queue, in the same turn of the loop.
            _, came = await asyncio.gather(_ask(server, 1, START), server.ask("/predict/m", body))
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert _error(came)[0] == "queue_full"
    assert peak_bytes < 8 * 2**20, "its states would be 64 MiB"


@pytest.mark.parametrize(
    ("number", "call", "outcome"),
    [(1, (True, True), "ok"), (1, ON, "sequence_not_started"), (13, START, "inference_failed")],
)
async def test_a_request_leaves_nothing_for_the_garbage_collector(
    tmp_path: Path, number: float, call: Any, outcome: str
) -> None:
    async with inside(DELAY + "fail_at: 13\n", tmp_path, sequence=CARD) as server:
        await _ask(server, number, call)
        gc.collect()
        gc.disable()
        try:
            came = await _ask(server, number, call)
            await asyncio.sleep(0)
            assert gc.collect() == 0
        finally:
            gc.enable()
        assert came.headers.get("headrace-error", "ok") == outcome
