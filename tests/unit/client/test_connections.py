"""What clients make of connections that fail and servers that answer oddly: real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import numpy as np
import pytest

import headrace
from headrace import errors, statuses
from headrace.client import RetryPolicy
from headrace.client.result import ModelMetadata, ModelState, Result, ServerMetadata
from headrace.receiver.codecs.protobuf import message
from headrace.values import DType
from tests.contract.clients import KINDS, opened
from tests.unit.client.kernel import sockets_to
from tests.unit.client.servers import (
    CLOSE,
    CUT_OFF,
    RESET,
    STALL,
    STALL_INSIDE,
    Aborted,
    GrpcScripted,
    Scripted,
    Step,
    after_a_burst,
    answer,
    greets_late,
    hangs_up_at_once,
    hangs_up_on_grpc,
    slow_reader,
)

X = {"x": np.ones(1, np.float32)}
HTTP = [kind for kind in KINDS if kind.startswith("http")]
GRPC = [kind for kind in KINDS if kind.startswith("grpc")]
SEQUENCE = {"sequence_id": 7, "sequence_start": True}
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
every_kind = pytest.mark.parametrize("kind", KINDS)
over_http = pytest.mark.parametrize("kind", HTTP)
over_grpc = pytest.mark.parametrize("kind", GRPC)


@contextmanager
def asked(kind: str, *steps: Any, **keys: Any) -> Iterator[tuple[Any, Any]]:
    """A server of those steps, and a client of it."""
    server: Any = Scripted(steps) if kind in HTTP else GrpcScripted(steps)
    keys.setdefault("timeout_s", 10)
    keys.setdefault("retry", RetryPolicy(backoff_s=0.001))
    with server.running(), opened(kind, server.address, **keys) as client:
        yield client, server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@every_kind
def test_nobody_there_is_a_typed_error(kind: str) -> None:
    with (
        opened(kind, f"127.0.0.1:{free_port()}", retry=RetryPolicy(backoff_s=0.001)) as client,
        pytest.raises(errors.ConnectionFailed, match="no connection to"),
    ):
        client.infer("m", X, **SEQUENCE)


@over_http
@pytest.mark.parametrize("step", [CLOSE, RESET, CUT_OFF], ids=["close", "reset", "cut off"])
def test_a_lost_connection_is_tried_once_more(kind: str, step: Step) -> None:
    with asked(kind, step) as (client, server):
        assert client.infer("m", X).output == 5
        assert len(server.requests) == 2
    with asked(kind, step, step) as (client, server):
        with pytest.raises(errors.ConnectionLost):
            client.infer("m", X)
        assert len(server.requests) == 2


@over_http
@pytest.mark.parametrize("step", [CLOSE, RESET, CUT_OFF], ids=["close", "reset", "cut off"])
def test_a_sequence_is_never_sent_twice(kind: str, step: Step) -> None:
    with asked(kind, step) as (client, server):
        with pytest.raises(errors.ConnectionLost):
            client.infer("m", X, **SEQUENCE)
        assert len(server.requests) == 1
        assert b'"sequence_id":7' in server.requests[0]


@every_kind
def test_a_refused_sequence_is_not_sent_again(kind: str) -> None:
    step: Any = answer(503, b"")
    if kind in GRPC:
        step = Aborted(UNAVAILABLE, trailers=(("headrace-error", "engine_lost"),))
    with asked(kind, step) as (client, _), pytest.raises(errors.UnavailableError):
        client.infer("m", X, **SEQUENCE)


@over_http
def test_a_server_that_is_busy_is_asked_again_when_it_says(kind: str) -> None:
    busy = answer(
        429, b'{"error": "full"}', {"retry-after": "0.05", "headrace-error": "queue_full"}
    )
    with asked(kind, busy) as (client, server):
        began_s = time.monotonic()
        assert client.infer("m", X).output == 5
        assert time.monotonic() - began_s >= 0.05
        assert server.connections == 1


@over_grpc
def test_a_lost_grpc_connection_is_tried_once_more_but_not_with_a_sequence(kind: str) -> None:
    seen: list[bytes] = []
    with (
        hangs_up_on_grpc(seen) as address,
        opened(kind, address, retry=RetryPolicy(backoff_s=0.001)) as client,
    ):
        for options, tries in (({}, 2), (SEQUENCE, 1)):
            counts: set[int] = set()
            # A try may go to a connection that has ended and does not know it: nobody sees that.
            while tries not in counts:
                seen.clear()
                with pytest.raises(errors.ConnectionLost, match=f"grpc://{address} gave no answer"):
                    client.infer("m", X, **options)
                counts.add(len(seen))
            assert max(counts) == tries


@over_grpc
def test_a_name_that_nobody_has_is_a_connection_that_failed(kind: str) -> None:
    with (
        opened(kind, "nobody.invalid:1", retry=RetryPolicy(attempts=1)) as client,
        pytest.raises(errors.ConnectionFailed, match="nobody"),
    ):
        client.infer("m", X)


@over_grpc
@pytest.mark.parametrize("host", ["dns", "unix", "ipv4"])
def test_a_host_that_is_called_as_a_scheme_of_grpc_is_looked_up(kind: str, host: str) -> None:
    with (
        opened(kind, f"{host}:9", retry=RetryPolicy(attempts=1)) as client,
        pytest.raises(
            errors.ConnectionFailed, match=rf"(resolving|resolution failed for) {host}:9"
        ),
    ):
        client.live()


@over_grpc
@pytest.mark.parametrize("message", ["full", ""])
def test_a_server_that_says_it_is_unavailable_has_answered(kind: str, message: str) -> None:
    steps = [Aborted(UNAVAILABLE, message)] * 3
    with asked(kind, *steps) as (client, server):
        with pytest.raises(errors.UnavailableError, match=message or "status 14") as caught:
            client.infer("m", X)
        assert type(caught.value) is errors.UnavailableError
        assert len(server.calls) == 3


@over_grpc
def test_a_grpc_server_that_is_back_is_found_soon_however_long_it_was_away(kind: str) -> None:
    never = RetryPolicy(attempts=1)
    with (
        hangs_up_at_once() as tries_s,
        opened(kind, tries_s.address, retry=never) as client,
    ):
        while len(tries_s.times_s) < 10:
            with pytest.raises(errors.HeadraceError):
                client.infer("m", X)
    gaps_s = [late - early for early, late in itertools.pairwise(tries_s.times_s)]
    assert max(gaps_s) < 0.7


@over_grpc
def test_a_grpc_server_far_away_has_time_to_greet(kind: str) -> None:
    with (
        GrpcScripted([]).running() as server,
        greets_late(server.address, 0.4) as address,
        opened(kind, address, timeout_s=10, retry=RetryPolicy(attempts=1)) as client,
    ):
        assert client.infer("m", X).output == 5


@over_grpc
@pytest.mark.parametrize(
    "words",
    [
        "Received message larger than max (5200083 vs. 4194304)",
        "grpc: received message larger than max (5200083 vs. 4194304)",
        "gRPC message exceeds maximum size 4194304: 5200083",
        "Max message size exceeded: 5200083 of 4194304",
    ],
    ids=["grpcio", "Go", "Java", "C++"],
)
def test_a_message_over_another_servers_limit_is_too_large_and_sent_once(
    kind: str, words: str
) -> None:
    with asked(kind, Aborted(grpc.StatusCode.RESOURCE_EXHAUSTED, words)) as (client, server):
        with pytest.raises(errors.BodyTooLarge, match=r"4194304"):
            client.infer("m", X)
        assert len(server.calls) == 1


@asynccontextmanager
async def waiting() -> AsyncIterator[tuple[headrace.AsyncClient, asyncio.Task[Result]]]:
    """A client, and a call of it that a server has and does not answer."""
    over, began = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        over.wait(10)

    with GrpcScripted([wait]).running() as server:
        client = headrace.AsyncClient(f"grpc://{server.address}")
        calling = asyncio.create_task(client.infer("m", X))
        await asyncio.to_thread(began.wait, 10)
        try:
            yield client, calling
        finally:
            over.set()


async def test_who_closes_a_client_cancels_no_task_but_ends_its_calls() -> None:
    async with waiting() as (client, calling):
        await client.close()
        with pytest.raises(errors.Cancelled, match="closed"):
            await calling


async def test_who_cancels_a_call_of_a_client_that_is_closed_gets_what_he_asked_for() -> None:
    async with waiting() as (client, calling):
        calling.cancel()
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await calling


@over_grpc
def test_a_server_that_is_late_says_it_in_its_own_words(kind: str) -> None:
    late = Aborted(grpc.StatusCode.DEADLINE_EXCEEDED, "the queue was too long")
    with (
        asked(kind, late, retry=RetryPolicy(attempts=1)) as (client, _),
        pytest.raises(errors.Expired, match="the queue was too long"),
    ):
        client.infer("m", X)


@over_grpc
def test_the_deadline_holds_over_grpc_whatever_the_server_does(kind: str) -> None:
    over = threading.Event()
    with asked(kind, lambda: over.wait(10)) as (client, _):
        began_s = time.monotonic()
        with pytest.raises(errors.Expired, match="timeout_s"):
            client.infer("m", X, timeout_s=0.2)
        over.set()
        assert 0.19 <= time.monotonic() - began_s < 2


@over_grpc
def test_a_grpc_server_that_is_busy_is_asked_again_when_it_says(kind: str) -> None:
    trailers = (("headrace-error", "queue_full"), ("grpc-retry-pushback-ms", "50"))
    busy = Aborted(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers)
    with asked(kind, busy) as (client, server):
        began_s = time.monotonic()
        assert client.infer("m", X, timeout_s=1).output == 5
        assert time.monotonic() - began_s >= 0.05
        assert len(server.calls) == 2
        assert 0 < server.left_s[1] < server.left_s[0] <= 1.01  # grpcio rounds up


@every_kind
def test_who_is_told_to_come_after_the_deadline_gives_up_at_once(kind: str) -> None:
    step: Any = answer(429, b'{"error": "full"}', {"retry-after": "60"})
    if kind in GRPC:
        trailers = (("grpc-retry-pushback-ms", "60000"),)
        step = Aborted(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers)
    began_s = time.monotonic()
    with (
        asked(kind, step) as (client, _),
        pytest.raises(errors.OverloadError, match="full") as caught,
    ):
        client.infer("m", X)
    assert caught.value.retry_after_s == 60
    assert time.monotonic() - began_s < 5


@over_http
@pytest.mark.parametrize("step", [STALL, STALL_INSIDE], ids=["no answer", "half an answer"])
def test_the_deadline_holds_whatever_the_server_does(kind: str, step: Step) -> None:
    with asked(kind, step) as (client, server):
        began_s = time.monotonic()
        with pytest.raises(errors.Expired, match="timeout_s"):
            client.infer("m", X, timeout_s=0.2)
        assert 0.2 <= time.monotonic() - began_s < 2
        assert client.infer("m", X).output == 5  # on another connection
        assert server.connections == 2
        assert b"headrace-timeout-ms: " in server.requests[0].lower()


@over_http
def test_the_deadline_holds_while_a_large_body_is_sent(kind: str) -> None:
    with slow_reader() as address, opened(kind, address) as client:
        began_s = time.monotonic()
        with pytest.raises(errors.Expired, match="timeout_s"):
            client.infer("m", {"x": np.zeros(40_000_000, np.uint8)}, timeout_s=0.5)
        assert 0.5 <= time.monotonic() - began_s < 1.5


@over_http
def test_one_connection_serves_many_calls_and_an_ended_one_is_replaced(kind: str) -> None:
    with asked(kind, answer(), answer(), Step(answer(), "close")) as (client, server):
        for _ in range(3):
            client.infer("m", X)
        assert server.connections == 1
        # Before it has heard of that, a call may be lost, and is not repeated.
        assert server.closed.acquire(timeout=10)
        while sockets_to(server.address, "01"):
            os.sched_yield()
        client.infer("m", X, **SEQUENCE)
        assert server.connections == 2


BURST = 8


def test_what_a_burst_has_left_is_closed_once_the_server_has_ended_it() -> None:
    with after_a_burst(BURST) as address, opened("http", address) as client:
        with ThreadPoolExecutor(BURST) as pool:
            list(pool.map(lambda _: client.infer("m", X), range(BURST)))
        assert sockets_to(address) == BURST
        client.infer("m", X)
        assert sockets_to(address) == 1
        client.close()


async def test_what_a_burst_of_tasks_has_left_is_closed_too() -> None:
    with after_a_burst(BURST) as address:
        async with headrace.AsyncClient(f"http://{address}") as client:
            await asyncio.gather(*[client.infer("m", X) for _ in range(BURST)])
            assert sockets_to(address) == BURST
            await client.infer("m", X)
            await asyncio.sleep(0)  # asyncio closes sockets in its next turn
            assert sockets_to(address) == 1


@every_kind
def test_headers_go_with_every_request(kind: str) -> None:
    with asked(kind, headers={"Authorization": "Bearer t"}) as (client, server):
        client.infer("m", X)
        if kind in GRPC:
            assert server.metadata[0]["authorization"] == "Bearer t"
        else:
            assert b"authorization: bearer t" in server.requests[0].lower()


@every_kind
def test_a_host_of_the_users_replaces_that_of_the_address(kind: str) -> None:
    with asked(kind, headers={"Host": "models.example:1"}) as (client, server):
        assert client.infer("m", X).output == 5
        if kind in GRPC:
            assert server.hosts == ["models.example:1"]
            assert "host" not in server.metadata[0]
        else:
            lines = server.requests[0].lower().split(b"\r\n")
            assert [one for one in lines if one.startswith(b"host:")] == [b"host: models.example:1"]


def _binary(size: str) -> bytes:
    tensor = (
        '{"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": %s}}'
    )
    return b'{"outputs": [%s]}' % (tensor % size).encode()


@over_http
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"[]",
        b"{}",
        b'{"outputs": 1}',
        b'{"outputs": [{"name": "y"}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP33", "shape": [1], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [-1], "data": [1]}]}',
        _binary("9"),
        _binary('"4"'),
    ],
)
def test_an_answer_of_something_else_is_a_typed_error(kind: str, body: bytes) -> None:
    with (
        asked(kind, answer(body=body)) as (client, _),
        pytest.raises(errors.MalformedAnswer, match="no inference of the Open Inference Protocol"),
    ):
        client.infer("m", X)


@over_http
def test_bytes_that_are_no_http_are_a_lost_connection(kind: str) -> None:
    noise = Step(b"\x00\x00\x04noise\r\n\r\n", "close")
    with asked(kind, noise, noise) as (client, _), pytest.raises(errors.ConnectionLost):
        client.infer("m", X)


@over_grpc
@pytest.mark.parametrize("data", [b"\xff\xff", b"\x2a\x03\x0a\x01y"], ids=["noise", "no tensor"])
def test_a_grpc_answer_of_something_else_is_a_typed_error(kind: str, data: bytes) -> None:
    with asked(kind, data) as (client, _), pytest.raises(errors.MalformedAnswer):
        client.infer("m", X)


NULLS = {"model_version": None, "id": None, "parameters": None}


@over_http
@pytest.mark.parametrize("said", [NULLS, {}], ids=["null", "left out"])
def test_null_in_an_answer_is_nothing_said(kind: str, said: dict[str, Any]) -> None:
    tensor: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": [1], "data": [5]}
    if said:
        tensor["parameters"] = None
    body = json.dumps({"model_name": "m", "outputs": [tensor], **said}).encode()
    with asked(kind, answer(body=body)) as (client, _):
        result = client.infer("m", X)
        assert (result.output, result.version, result.id) == (5, "", "")


@over_http
def test_null_in_metadata_is_nothing_said(kind: str) -> None:
    nothing = dict.fromkeys(("versions", "platform", "inputs", "outputs", "extensions", "version"))
    step = answer(body=json.dumps({"name": "m", **nothing}).encode())
    states = answer(body=b'[{"name": "m", "version": null, "state": "READY", "reason": null}]')
    with asked(kind, step, step, states) as (client, _):
        assert client.metadata("m") == ModelMetadata("m", (), "", (), ())
        assert client.metadata() == ServerMetadata("m", "", ())
        assert client.models() == (ModelState("m", "", "READY", ""),)


TYPED = [
    (DType.BOOL, "bool_contents", [True, False]),
    (DType.INT8, "int_contents", [-128, 127]),
    (DType.UINT16, "uint_contents", [0, 65535]),
    (DType.INT64, "int64_contents", [-(2**63), 2**63 - 1]),
    (DType.UINT64, "uint64_contents", [0, 2**64 - 1]),
    (DType.FP32, "fp32_contents", [0.5, 2.0]),
    (DType.FP64, "fp64_contents", [0.1, 2.0]),
    (DType.BYTES, "bytes_contents", [b"a", b""]),
]


def _typed(dtype: DType, field: str, values: list[Any]) -> bytes:
    said = message("inference.ModelInferResponse")(model_name="m")
    tensor = said.outputs.add(name="y", datatype=dtype.value, shape=[1, 2])
    getattr(tensor.contents, field).extend(values)
    return bytes(said.SerializeToString())


@over_grpc
@pytest.mark.parametrize(("dtype", "field", "values"), TYPED, ids=[str(one[0]) for one in TYPED])
def test_typed_contents_of_an_answer_are_read(
    kind: str, dtype: DType, field: str, values: list[Any]
) -> None:
    with asked(kind, _typed(dtype, field, values)) as (client, _):
        output = client.infer("m", X).output
        assert output.dtype == dtype.numpy
        assert output.tolist() == [values]


@over_grpc
@pytest.mark.parametrize(
    "step",
    [
        _typed(DType.FP32, "fp32_contents", [1.0]),
        _typed(DType.FP32, "int_contents", [1, 2]),
        _typed(DType.INT8, "int_contents", [1, 200]),
    ],
    ids=["too few", "another field", "too large"],
)
def test_typed_contents_that_do_not_fit_are_a_typed_error(kind: str, step: bytes) -> None:
    with asked(kind, step) as (client, _), pytest.raises(errors.MalformedAnswer):
        client.infer("m", X)


@over_http
@pytest.mark.parametrize(
    ("step", "live"),
    [
        (answer(body=b""), True),
        (answer(body=b'{"live": true}'), True),
        (answer(body=b'{"live": false}'), False),
        (answer(400, b""), False),
        (answer(503, b""), False),
    ],
)
def test_health_is_read_as_every_server_says_it(kind: str, step: bytes, live: bool) -> None:
    with asked(kind, step) as (client, _):
        assert client.live() is live


def _parameters(request: Any) -> dict[str, Any]:
    sent = request.parameters.items()
    return {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in sent}


@over_grpc
def test_parameters_of_a_sequence_go_as_they_are(kind: str) -> None:
    with asked(kind) as (client, server):
        client.infer("m", X, sequence_id="a", sequence_start=True)
        client.infer("m", X, sequence_id=7, sequence_end=True)
        client.infer("m", X, sequence_id=2**64 - 1)
    kind_of = message("inference.ModelInferRequest")
    first, last, large = [_parameters(kind_of.FromString(body)) for body in server.bodies]
    assert large["sequence_id"] == 2**64 - 1
    assert first == {"sequence_id": "a", "sequence_start": True, "sequence_end": False}
    assert last == {"sequence_id": 7, "sequence_start": False, "sequence_end": True}


@every_kind
def test_a_storm_is_not_made_worse(kind: str) -> None:
    step: Any = answer(503, b"")
    if kind in GRPC:
        step = Aborted(UNAVAILABLE, trailers=(("headrace-error", "draining"),))
    with asked(kind, *[step] * 100) as (client, server):
        for _ in range(30):
            with pytest.raises(errors.UnavailableError):
                client.infer("m", X)
        tries = len(server.calls if kind in GRPC else server.requests)
        assert tries == 30 + 10


CODES = sorted(statuses.STATUSES.keys() - {"internal"})


def _leaf(code: str) -> str:
    return {kind.code: kind.__name__ for kind in _kinds(errors.HeadraceError)}[code]


def _kinds(root: type[errors.HeadraceError]) -> Iterator[type[errors.HeadraceError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _kinds(kind)


@pytest.mark.parametrize("code", CODES)
def test_every_code_becomes_its_class_over_http(code: str) -> None:
    headers = {"headrace-error": code, "retry-after": "3"}
    step = answer(statuses.STATUSES[code][0], b'{"error": "why"}', headers)
    never = RetryPolicy(attempts=1)
    with (
        asked("http", step, retry=never) as (client, _),
        pytest.raises(errors.HeadraceError) as caught,
    ):
        client.infer("m", X)
    assert type(caught.value).__name__ == _leaf(code)
    assert (caught.value.message, caught.value.retry_after_s) == ("why", 3)


@pytest.mark.parametrize("code", CODES)
def test_every_code_becomes_its_class_over_grpc(code: str) -> None:
    status = next(one for one in grpc.StatusCode if one.value[0] == int(statuses.STATUSES[code][1]))
    trailers = (("headrace-error", code), ("grpc-retry-pushback-ms", "3000"))
    never = RetryPolicy(attempts=1)
    with (
        asked("grpc", Aborted(status, "why", trailers), retry=never) as (client, _),
        pytest.raises(errors.HeadraceError) as caught,
    ):
        client.infer("m", X)
    assert type(caught.value).__name__ == _leaf(code)
    assert (caught.value.message, caught.value.retry_after_s) == ("why", 3)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, errors.MalformedAnswer),
        (400, errors.ClientError),
        (401, errors.ClientError),
        (403, errors.NotAllowed),
        (404, errors.ModelNotFound),
        (405, errors.MethodNotAllowed),
        (413, errors.BodyTooLarge),
        (422, errors.ClientError),
        (429, errors.OverloadError),
        (500, errors.InternalError),
        (501, errors.RouteNotFound),
        (502, errors.UnavailableError),
        (503, errors.UnavailableError),
        (504, errors.Expired),
        (599, errors.InternalError),
    ],
)
def test_other_servers_are_read_by_their_status(status: int, kind: type[Exception]) -> None:
    step = answer(status, b'{"detail": "why"}', {"allow": "GET, POST"})
    with (
        asked("http", step, retry=RetryPolicy(attempts=1)) as (client, _),
        pytest.raises(kind, match="why") as caught,
    ):
        client.infer("m", X)
    assert type(caught.value) is kind
    if isinstance(caught.value, errors.MethodNotAllowed):
        assert caught.value.allowed == ("GET", "POST")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000", "must look like"),
        ("ftp://a", "must look like"),
        ("http://", "must look like"),
        ("http://a:99999", "no URL"),
        ("http://[::1", "no URL"),
        ("http://ä", "must look like"),
        ("grpc://a/b", "end after host and port"),
        ("http://a/?b", "end after host and port"),
    ],
)
def test_an_address_that_cannot_be_read_says_what_one_looks_like(url: str, words: str) -> None:
    for kind in (headrace.Client, headrace.AsyncClient):
        with pytest.raises(errors.SettingsError, match=words):
            kind(url)


@over_http
def test_a_model_is_asked_once_what_it_takes_and_again_after_a_refusal(kind: str) -> None:
    tensor = b'{"name": "x", "datatype": "FP32", "shape": [-1]}'
    takes = answer(body=b'{"name": "m", "inputs": [%s], "outputs": []}' % tensor)
    refused = answer(400, b'{"error": "changed"}', {"headrace-error": "invalid_input"})
    with asked(kind, takes, answer(), answer(), refused, takes) as (client, server):
        client.infer("m", [1])
        client.infer("m", [2])
        with pytest.raises(errors.InvalidInput, match="changed"):
            client.infer("m", [3])
        client.infer("m", [4])
        verbs = [request.split(b" ")[0] for request in server.requests]
        assert verbs == [b"GET", b"POST", b"POST", b"POST", b"GET", b"POST"]
