"""Streams, health and reflection with the clients that people have, over a real server."""

from __future__ import annotations

import queue
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import h2.connection
import h2.events
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tritonclient.grpc import service_pb2

from headrace.receiver.codecs.protobuf import message
from tests.contract.calls import frame
from tests.e2e import http2
from tests.e2e.clients import grpc_request, metrics, outcomes
from tests.e2e.models import write_fake, write_sleeper
from tests.e2e.server import Server, frozen, until

SERVICE = "inference.GRPCInferenceService"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
X = np.arange(8, dtype=np.float32).reshape(2, 4)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("streams")
    write_fake(root / "echo.fake")
    write_sleeper(root)
    with Server(root, environment={"HEADRACE_SERVER__MAX_BODY_MIB": "1"}) as running:
        yield running


def _tensor(x: Any = X) -> Any:
    tensor = tritonclient.grpc.InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    return tensor


def _stream(channel: grpc.Channel) -> Any:
    return channel.stream_stream(
        STREAM,
        service_pb2.ModelInferRequest.SerializeToString,
        service_pb2.ModelStreamInferResponse.FromString,
    )


def _identified(name: str, model: str = "echo", x: Any = X, **parameters: int) -> Any:
    request = grpc_request(model, x, **parameters)
    request.id = name
    return request


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_streams(quick: Server, compression: str | None) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    wide = np.ones((200, 4), np.float32)  # large enough to be compressed
    with tritonclient.grpc.InferenceServerClient(quick.address) as client:
        client.start_stream(
            lambda result, error: answers.put((result, error)), compression_algorithm=compression
        )
        for number in range(20):
            client.async_stream_infer("echo", [_tensor(wide * number)], request_id=str(number))
        found = [answers.get(timeout=20) for _ in range(20)]
        client.stop_stream()
    assert not [error for _, error in found if error is not None]
    assert [int(result.get_response().id) for result, _ in found] == list(range(20))
    for result, _ in found:
        expected = wide * int(result.get_response().id)
        np.testing.assert_array_equal(result.as_numpy("y"), expected)


async def test_tritonclient_aio_streams(quick: Server) -> None:
    async def requests() -> Any:
        for number in range(5):
            yield {"model_name": "echo", "inputs": [_tensor()], "request_id": str(number)}

    async with tritonclient.grpc.aio.InferenceServerClient(quick.address) as client:
        found = [pair async for pair in client.stream_infer(requests())]
    assert [error for _, error in found] == [None] * 5
    assert [result.get_response().id for result, _ in found] == list("01234")


def test_what_is_wrong_with_one_request_is_told_and_the_stream_goes_on(quick: Server) -> None:
    before = outcomes(quick.url, "echo").get("invalid_input", 0)
    bad = _identified("bad")
    bad.inputs[0].name = "nobody"
    with grpc.insecure_channel(quick.address) as channel:
        found = list(_stream(channel)(iter([_identified("one"), bad, _identified("two")])))
    by_id = {one.infer_response.id: one for one in found}
    assert by_id.keys() == {"one", "bad", "two"}
    assert "nobody" in by_id["bad"].error_message
    code = by_id["bad"].infer_response.parameters["headrace-error"].string_param
    assert code == "invalid_input"
    assert not by_id["one"].error_message
    assert by_id["two"].infer_response.outputs[0].shape == [2, 4]
    assert outcomes(quick.url, "echo")["invalid_input"] == before + 1


def test_answers_come_in_the_order_of_requests(quick: Server) -> None:
    slow = np.ones((20, 4), np.float32)
    with grpc.insecure_channel(quick.address) as channel:
        asked = [_identified("slow", "sleeper", slow), _identified("quick")]
        assert [one.infer_response.id for one in _stream(channel)(iter(asked))] == ["slow", "quick"]


def test_tritonclient_may_pair_answers_by_their_order(quick: Server) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    sizes = (7, 1, 2, 3)  # each takes as long as it is large
    with tritonclient.grpc.InferenceServerClient(quick.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for size in sizes:
            client.async_stream_infer("sleeper", [_tensor(np.ones((size, 4), np.float32))])
        client.async_stream_infer("nobody", [_tensor()])
        client.async_stream_infer("echo", [_tensor()])
        found = [answers.get(timeout=20) for _ in range(6)]
        client.stop_stream()
    assert [len(result.as_numpy("y")) for result, _ in found[:4]] == list(sizes)
    assert [error is None for _, error in found] == [True] * 4 + [False, True]


def _is_last(answer: Any) -> bool:
    said: bool = answer.infer_response.parameters["triton_final_response"].bool_param
    return said


@pytest.mark.parametrize("asks", [False, True])
def test_the_one_answer_says_that_it_is_the_last(quick: Server, *, asks: bool) -> None:
    requests = [_identified("one"), _identified("two", "nobody"), _identified("", x=X[:, :3])]
    for request in requests if asks else ():
        request.parameters["triton_enable_empty_final_response"].bool_param = True
    with grpc.insecure_channel(quick.address) as channel:
        found = list(_stream(channel)(iter(requests)))
    assert [_is_last(one) for one in found] == [True] * 3
    assert [one.infer_response.id for one in found] == ["one", "two", ""]
    assert [len(one.infer_response.outputs) for one in found] == [1, 0, 0]
    assert [bool(one.error_message) for one in found] == [False, True, True]


def test_more_requests_than_may_be_in_flight_are_all_answered(quick: Server) -> None:
    with grpc.insecure_channel(quick.address) as channel:
        found = list(_stream(channel)(_identified(str(i)) for i in range(500)))
    assert [one.infer_response.id for one in found] == list(map(str, range(500)))
    assert not [one.error_message for one in found if one.error_message]


def test_a_message_over_the_limit_ends_the_stream(quick: Server) -> None:
    huge = np.ones((100_000, 4), np.float32)
    with grpc.insecure_channel(quick.address) as channel:
        found = _stream(channel)(iter([_identified("huge", x=huge)]))
        with pytest.raises(grpc.RpcError) as refused:
            list(found)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "server.max_body_mib" in refused.value.details()


def _hold_open(first: Any) -> tuple[Iterator[Any], queue.Queue[Any]]:
    """Requests that do not end until None is put."""
    more: queue.Queue[Any] = queue.Queue()
    more.put(first)
    return iter(more.get, None), more


def test_the_deadline_ends_a_stream(quick: Server) -> None:
    requests, more = _hold_open(_identified("one"))
    with grpc.insecure_channel(quick.address) as channel:
        call = _stream(channel)(requests, timeout=1)
        assert next(call).infer_response.id == "one"
        with pytest.raises(grpc.RpcError) as refused:
            next(call)
        more.put(None)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_what_waits_is_dropped_when_the_client_leaves(tmp_path: Path) -> None:
    small = ("--instances", "1", "--max-batch", "2")
    with Server(write_fake(tmp_path / "echo.fake"), *small) as server:  # noqa: SIM117
        with frozen(server.engine("echo")), grpc.insecure_channel(server.address) as channel:
            requests, more = _hold_open(_identified("0"))
            for number in range(1, 20):
                more.put(_identified(str(number)))
            call = _stream(channel)(requests)
            label = 'headrace_queue_length{model="echo",version="1"}'
            until(lambda: _metric(server, label) > 0)
            call.cancel()
            # Not all of them may have come by then; whoever has is dropped.
            until(lambda: outcomes(server.url, "echo").get("cancelled", 0) > 4)
            until(lambda: _metric(server, label) == 0)
            more.put(None)


def _metric(server: Server, name: str) -> float:
    return metrics(server.url)[name]


def test_idle_streams_do_not_hold_up_sigterm(tmp_path: Path) -> None:
    with Server(write_fake(tmp_path / "echo.fake")) as server:
        requests, more = _hold_open(_identified("one"))
        with grpc.insecure_channel(server.address) as channel:
            call = _stream(channel)(requests)
            assert next(call).infer_response.id == "one"
            watch = _watch(channel, "")
            assert next(watch).status == 1
            started_s = time.monotonic()
            server.signal(signal.SIGTERM)
            for one in (call, watch):
                with pytest.raises(grpc.RpcError) as ended:
                    list(one)
                assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "shutting down" in ended.value.details()
            assert server.wait(10) == 0
            assert time.monotonic() - started_s < 8
            more.put(None)


def test_what_a_stream_has_in_flight_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    with (
        Server(write_sleeper(tmp_path)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        requests, more = _hold_open(_identified("slow", "sleeper", np.ones((60, 4), np.float32)))
        call = _stream(channel)(requests)
        label = 'headrace_running_batches{model="sleeper",version="1"}'
        until(lambda: _metric(server, label) == 1)
        server.signal(signal.SIGTERM)
        assert next(call).infer_response.id == "slow"
        with pytest.raises(grpc.RpcError) as ended:
            next(call)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.wait(10) == 0
        more.put(None)


# -- health ----------------------------------------------------------------------------------------

Asked = message("grpc.health.v1.HealthCheckRequest")
Health = message("grpc.health.v1.HealthCheckResponse")


def _check(channel: grpc.Channel, service: str) -> Any:
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check", Asked.SerializeToString, Health.FromString
    )
    return call(Asked(service=service)).status


def _watch(channel: grpc.Channel, service: str) -> Any:
    call = channel.unary_stream(
        "/grpc.health.v1.Health/Watch", Asked.SerializeToString, Health.FromString
    )
    return call(Asked(service=service))


@pytest.mark.parametrize(
    "service",
    [
        "",
        "echo",
        "inference.GRPCInferenceService",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "grpc.health.v1.Health",
    ],
)
def test_health_of_the_server_and_its_models(quick: Server, service: str) -> None:
    with grpc.insecure_channel(quick.address) as channel:
        assert _check(channel, service) == Health.SERVING


def test_health_of_what_is_not_there(quick: Server) -> None:
    with grpc.insecure_channel(quick.address) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            _check(channel, "nobody")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        watch = _watch(channel, "nobody")
        assert next(watch).status == Health.SERVICE_UNKNOWN
        watch.cancel()


def test_a_watch_is_told_when_a_model_comes_up(tmp_path: Path) -> None:
    write_fake(tmp_path / "late.fake", load_ms=1500)
    write_fake(tmp_path / "echo.fake")
    server = Server(tmp_path, "--port", "0", "--listen", "127.0.0.1:0")
    with server, grpc.insecure_channel(server.address) as channel:
        watch = _watch(channel, "late")
        assert next(watch).status == Health.SERVING
        server.engine("late").kill()
        assert next(watch).status == Health.NOT_SERVING
        assert next(watch).status == Health.SERVING
        watch.cancel()


def _half_closed_watch(address: str) -> socket.socket:
    """Ask, and end the body with an empty frame of its own once the answer has begun."""
    host, _, port = address.rpartition(":")
    connection = h2.connection.H2Connection()
    peer = socket.create_connection((host, int(port)), timeout=20)
    connection.initiate_connection()
    lines = [(":method", "POST"), (":scheme", "http"), (":authority", address)]
    path = [(":path", "/grpc.health.v1.Health/Watch"), ("content-type", "application/grpc")]
    connection.send_headers(1, [*lines, *path, ("te", "trailers")])
    connection.send_data(1, frame(Asked(service="").SerializeToString()))
    peer.sendall(connection.data_to_send())
    while not any(
        isinstance(event, h2.events.DataReceived)
        for event in connection.receive_data(peer.recv(65536))
    ):
        peer.sendall(connection.data_to_send())
    connection.end_stream(1)
    peer.sendall(connection.data_to_send())
    return peer


def test_who_watches_takes_no_place_and_is_forgotten_when_it_leaves(tmp_path: Path) -> None:
    few = {"HEADRACE_SERVER__MAX_INFLIGHT": "2"}
    with Server(write_fake(tmp_path / "echo.fake"), environment=few) as server:
        watching = [_half_closed_watch(server.address) for _ in range(3)]
        with grpc.insecure_channel(server.address) as channel:
            request = _identified("one")
            (answer,) = _stream(channel)(iter([request]))
            assert answer.infer_response.id == "one"
        for one in watching:
            one.close()
        gone = 'headrace_refused_total{outcome="cancelled"}'
        until(lambda: metrics(server.url).get(gone) == 3)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (STREAM, 0),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 0),
        ("/grpc.health.v1.Health/Watch", 3),
    ],
)
def test_a_stream_that_ends_with_its_headers_has_no_messages(
    quick: Server, path: str, status: int
) -> None:
    headers = (("content-type", "application/grpc"), ("te", "trailers"))
    assert http2.ask(quick.address, path, headers=headers).grpc_status == status


# -- reflection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_a_client_that_knows_nothing_calls_what_reflection_describes(
    quick: Server, version: str
) -> None:
    ask = _Questions(quick, version)
    names = [one.name for one in ask(list_services="").list_services_response.service]
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(names)
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()
    for name in names:
        files = ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto
        for file in reversed(list(map(descriptor_pb2.FileDescriptorProto.FromString, files))):
            if file.name not in known:
                known.add(file.name)
                pool.Add(file)
    method = pool.FindServiceByName(names[names.index("grpc.health.v1.Health")]).methods[0]
    question, answer = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    with grpc.insecure_channel(quick.address) as channel:
        path = f"/{method.containing_service.full_name}/{method.name}"
        call = channel.unary_unary(path, question.SerializeToString, answer.FromString)
        assert call(question(service="echo")).status == 1


class _Questions:
    def __init__(self, server: Server, version: str) -> None:
        self._server = server
        self._package = f"grpc.reflection.{version}"

    def __call__(self, **asked: Any) -> Any:
        request = message(f"{self._package}.ServerReflectionRequest")(**asked)
        with grpc.insecure_channel(self._server.address) as channel:
            call = channel.stream_stream(
                f"/{self._package}.ServerReflection/ServerReflectionInfo",
                type(request).SerializeToString,
                message(f"{self._package}.ServerReflectionResponse").FromString,
            )
            (answer,) = call(iter([request]))
        assert answer.original_request == request
        return answer


def test_reflection_answers_what_it_does_not_know_with_an_error(quick: Server) -> None:
    ask = _Questions(quick, "v1")
    for asked in (
        {"file_by_filename": "nobody.proto"},
        {"file_containing_symbol": "nobody.Here"},
        {"all_extension_numbers_of_type": "nobody.Here"},
        {"file_containing_extension": {"containing_type": "nobody.Here"}},
    ):
        assert ask(**asked).error_response.error_code == 5, asked
    assert ask().error_response.error_code == 3
    for symbol in (f"{SERVICE}.Nothing", f"{SERVICE}.ModelInfer.More", "ModelInfer", ""):
        assert ask(file_containing_symbol=symbol).error_response.error_code == 5, symbol
    for symbol in (SERVICE, f"{SERVICE}.ModelInfer", f"{SERVICE}.ModelStreamInfer"):
        answer = ask(file_containing_symbol=symbol)
        files = answer.file_descriptor_response.file_descriptor_proto
        names = {descriptor_pb2.FileDescriptorProto.FromString(one).package for one in files}
        assert "inference" in names, symbol
    found = ask(file_by_filename="tfserving.proto").file_descriptor_response
    assert len(found.file_descriptor_proto) == 3  # and what it imports
    kind = "inference.ModelInferRequest"
    numbers = ask(all_extension_numbers_of_type=kind).all_extension_numbers_response
    assert (numbers.base_type_name, list(numbers.extension_number)) == (kind, [])
