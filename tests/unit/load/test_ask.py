"""Servers of others are asked what their models take, tried and loaded: nothing is assumed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import grpc
import pytest
from tritonclient.grpc import service_pb2

from headrace.errors import MalformedAnswer, SettingsError, StartError
from headrace.load import ask
from headrace.load.address import Address
from headrace.load.arrivals import constant
from headrace.load.generator import generate
from headrace.load.payload import APIS, make_target
from headrace.load.plan import Message, OpenLoop, Protocol, Target
from headrace.load.result import OK, Kind
from headrace.load.synthetic import complete, make_requests
from headrace.receiver.codecs.protobuf import message
from headrace.values import DType, TensorSpec
from tests.unit.load.servers import METHOD, HttpServer, grpc_server

IDS = TensorSpec("ids", DType.INT64, (None, 4))
MASK = TensorSpec("mask", DType.FP32, (None,))

Method = Callable[[bytes, Any], bytes]


@contextlib.contextmanager
def _grpc_server(service: str, methods: dict[str, Method]) -> Iterator[Address]:
    """Grpcio, with methods of bytes."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()
    }
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield Address(f"127.0.0.1:{port}")
        finally:
            server.stop(None).wait()


def _triton() -> dict[str, Method]:
    """Written with Triton's own messages."""

    def metadata(body: bytes, context: Any) -> bytes:
        asked = service_pb2.ModelMetadataRequest.FromString(body)
        if asked.name != "bert":
            context.abort(grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'x' & 100%")
        told = service_pb2.ModelMetadataResponse(name="bert", platform="pytorch_libtorch")
        told.inputs.add(name="ids", datatype="INT64", shape=[-1, 4])
        told.inputs.add(name="mask", datatype="FP32", shape=[-1])
        told.outputs.add(name="y", datatype="FP32", shape=[-1, 2])
        return bytes(told.SerializeToString())

    def infer(body: bytes, context: Any) -> bytes:
        asked = service_pb2.ModelInferRequest.FromString(body)
        if [tuple(one.shape) for one in asked.inputs] != [(1, 4), (1,)]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'ids'")
        return bytes(service_pb2.ModelInferResponse(model_name="bert").SerializeToString())

    return {"ModelMetadata": metadata, "ModelInfer": infer}


def _tensorflow_serving() -> dict[str, Method]:
    def metadata(body: bytes, context: Any) -> bytes:
        asked = message("tensorflow.serving.GetModelMetadataRequest").FromString(body)
        assert list(asked.metadata_field) == ["signature_def"]
        signatures = message("tensorflow.serving.SignatureDefMap")()
        for name, number, dims in (("ids", 9, [-1, 4]), ("mask", 1, [-1])):
            info = signatures.signature_def["serving_default"].inputs[name]
            info.name, info.dtype = f"{name}:0", number
            for size in dims:
                info.tensor_shape.dim.add(size=size)
        told = message("tensorflow.serving.GetModelMetadataResponse")()
        told.metadata["signature_def"].value = signatures.SerializeToString()
        return bytes(told.SerializeToString())

    def predict(body: bytes, context: Any) -> bytes:
        asked = message("tensorflow.serving.PredictRequest").FromString(body)
        assert asked.model_spec.name == "bert"
        assert asked.inputs.keys() == {"ids", "mask"}
        return bytes(message("tensorflow.serving.PredictResponse")().SerializeToString())

    return {"GetModelMetadata": metadata, "Predict": predict}


class _Rest(BaseHTTPRequestHandler):
    """Answers as KServe and TensorFlow Serving do, below a path of its own."""

    protocol_version = "HTTP/1.1"
    said: ClassVar[dict[str, Any]] = {
        "/gw/v2/models/bert": {
            "name": "bert",
            "inputs": [
                {"name": "ids", "datatype": "INT64", "shape": [-1, 4]},
                {"name": "mask", "datatype": "FP32", "shape": [-1]},
            ],
        },
        "/gw/v1/models/bert/metadata": {
            "metadata": {
                "signature_def": {
                    "signature_def": {
                        "serving_default": {
                            "inputs": {
                                "ids": {
                                    "dtype": "DT_INT64",
                                    "tensor_shape": {"dim": [{"size": "-1"}, {"size": "4"}]},
                                },
                                "mask": {
                                    "dtype": "DT_FLOAT",
                                    "tensor_shape": {"dim": [{"size": "-1"}]},
                                },
                            }
                        }
                    }
                }
            }
        },
        "/gw/v2/models/odd": {"name": "odd", "inputs": [{"name": "x", "datatype": "WHAT"}]},
    }

    def do_GET(self) -> None:
        found = self.said.get(self.path)
        self._answer(200 if found else 404, found or {"error": {"message": "not found"}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        known = self.path in {"/gw/v2/models/bert/infer", "/gw/v1/models/bert:predict"}
        self._answer(200 if known else 404, {"outputs": []} if known else {"error": "Not Found"})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _rest_server() -> Iterator[Address]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Rest)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Address(f"127.0.0.1:{server.server_address[1]}", "/gw")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SERVERS: dict[str, Callable[[], contextlib.AbstractContextManager[Address]]] = {
    "oip-grpc": lambda: _grpc_server("inference.GRPCInferenceService", _triton()),
    "tfs-grpc": lambda: _grpc_server("tensorflow.serving.PredictionService", _tensorflow_serving()),
    "oip-rest": _rest_server,
    "tfs-rest": _rest_server,
}


@pytest.mark.slow
@pytest.mark.parametrize("api", SERVERS)
def test_a_server_of_others_is_asked_tried_and_loaded(api: str) -> None:
    with SERVERS[api]() as address:
        specs = ask.find_specs(APIS[api], address, "bert")
        assert specs == (IDS, MASK)
        requests = make_requests(complete(specs, {}, rows=1), seed=1)
        target = make_target(
            api, address.authority, "bert", requests, prefix=address.prefix, connections=2
        )
        assert ask.check(target, APIS[api]).outcome is OK
        result = generate(OpenLoop(constant(200, 0.2)), target)
    assert result.is_kind(Kind.OK).all()
    assert len(result) == 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("api", "words"),
    [
        ("oip-grpc", r"NOT_FOUND: Request for unknown model: 'x' & 100%"),
        ("oip-rest", "404 Not Found: "),
        ("tfs-rest", "404 Not Found: "),
    ],
)
def test_a_model_they_do_not_have_is_told_in_their_words(api: str, words: str) -> None:
    with SERVERS[api]() as address, pytest.raises(SettingsError, match=words):
        ask.find_specs(APIS[api], address, "x")


def test_a_request_they_do_not_take_is_told_in_their_words() -> None:
    with SERVERS["oip-grpc"]() as address:
        requests = make_requests(complete((IDS, MASK), {}, rows=2), seed=1)
        target = make_target("oip-grpc", address.authority, "bert", requests)
        with pytest.raises(SettingsError, match="INVALID_ARGUMENT: unexpected shape for input"):
            ask.check(target, APIS["oip-grpc"])


def test_metadata_that_cannot_be_read_is_told_with_a_way_round_it() -> None:
    with _rest_server() as address, pytest.raises(MalformedAnswer, match="--shape NAME=TYPE"):
        ask.find_specs(APIS["oip-rest"], address, "odd")


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b'{"ok": true}', b"", b"[]"])
@pytest.mark.parametrize("api", ["oip-rest", "tfs-rest", "plain"])
def test_an_answer_of_something_else_is_told_before_the_load(api: str, body: bytes) -> None:
    with HttpServer() as server:
        target = Target(Protocol.HTTP, server.address, "/", (Message(body),))
        with pytest.raises(SettingsError, match="answers, but not as the protocol does"):
            ask.check(target, APIS[api])


@pytest.mark.parametrize("api", ["oip-grpc", "tfs-grpc"])
def test_an_answer_that_is_no_message_of_grpc_is_told(api: str) -> None:
    with grpc_server() as (address, _):
        target = Target(Protocol.GRPC, address, METHOD, (Message(b"<html>sign in</html>"),))
        with pytest.raises(SettingsError, match="answers, but not as the protocol does"):
            ask.check(target, APIS[api])


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("plain", b'{"output": [[1], [2, 3]]}'),
        ("plain", b'{"output": {"a": [NaN], "b": "text"}}'),
        ("tfs-rest", b'{"predictions": [[[1, 2]], [[1], [2]]]}'),
        ("tfs-rest", b'{"outputs": [Infinity]}'),
        ("oip-rest", b'{"outputs": [{"name":"x","datatype":"FP32","shape":[1],"data":[NaN]}]}'),
        ("oip-rest", b'{"outputs": []}'),
        # What we do not read, and others write.
        ("oip-rest", b'{"outputs": [{"name":"x","datatype":"UINT8","shape":[1],"data":[300]}]}'),
        ("oip-rest", b'{"outputs": [{"name":"x","datatype":"FP8","shape":[1],"data":[1]}]}'),
        ("tfs-rest", b'{"predictions": [{"a": 1}, {"b": NaN}]}'),
    ],
)
def test_an_answer_may_have_what_json_allows_and_more(api: str, body: bytes) -> None:
    with HttpServer() as server:
        target = Target(Protocol.HTTP, server.address, "/", (Message(body),))
        assert ask.check(target, APIS[api]).outcome is OK


def test_a_busy_server_is_no_mistake() -> None:
    with HttpServer() as server:
        target = Target(Protocol.HTTP, server.address, "/", (Message(b"full"),))
        said = ask.check(target, APIS["plain"])
    assert str(said.outcome) == "429 Too Many Requests (queue_full)"


@pytest.mark.parametrize("protocol", Protocol)
def test_a_server_that_speaks_something_else_is_told(protocol: Protocol) -> None:
    """HTTP/2 asked of HTTP/1.1, and HTTP/1.1 of what answers nonsense."""
    with HttpServer() as server:
        target = Target(protocol, server.address, "/", (Message(b"nonsense"),))
        with pytest.raises(StartError, match=r"does not speak .* there: --protocol"):
            ask.ask(target)


@pytest.mark.parametrize("protocol", Protocol)
def test_the_protocol_is_not_blamed_where_there_is_no_server(protocol: Protocol) -> None:
    target = Target(protocol, "nowhere.invalid:80", "/", (Message(b"x"),))
    with pytest.raises(StartError, match=r"^cannot find nowhere\.invalid: [^\[;]*$"):
        ask.ask(target)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        away = Target(protocol, f"127.0.0.1:{unused.getsockname()[1]}", "/", (Message(b"x"),))
        with pytest.raises(StartError, match=r"and is this its address\?$"):
            ask.ask(away)
