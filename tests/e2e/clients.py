"""Small clients for the tests: one question through each front, and Prometheus' page as a dict."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2

from headrace import cli
from headrace.receiver.handover.client import ALONE_BYTES

Array = np.ndarray[Any, Any]
_SAMPLE = re.compile(r"^(\w+)(\{.*\})? (\S+)$", re.MULTILINE)


def http(
    url: str, body: object = None, headers: dict[str, str] | None = None, timeout_s: float = 30
) -> tuple[int, Any, dict[str, str]]:
    """GET (no body) or POST JSON; return status, JSON or text, and lower-case headers."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {})  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            status, text, head = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        status, text, head = error.code, error.read(), error.headers
        error.close()
    lower = {name.lower(): value for name, value in head.items()}
    try:
        return status, json.loads(text), lower
    except ValueError:
        return status, text.decode(), lower


def call_scribe(url: str, model: str) -> None:
    """Have the scribe read a body, so that it is there and awake.

    The body has no input: the model, whatever it takes, refuses it and never runs. But it is longer
    than what a receiver would read itself while the scribe starts.
    """
    status, answer, _ = http(f"{url}/predict/{model}", b"{" + b" " * ALONE_BYTES + b"}")
    assert status == 400, answer


def metrics(url: str) -> dict[str, float]:
    """Read the Prometheus page: sample with labels → value."""
    _, page, _ = http(f"{url}/metrics")
    return {name + (labels or ""): float(value) for name, labels, value in _SAMPLE.findall(page)}


def outcomes(url: str, model: str) -> dict[str, float]:
    """Requests of one model by outcome, of which there were some."""
    pattern = re.compile(rf'headrace_requests_total\{{model="{model}",outcome="(\w+)"')
    found: dict[str, float] = {}
    for name, value in metrics(url).items():
        if value and (match := pattern.match(name)):
            found[match.group(1)] = found.get(match.group(1), 0) + value
    return found


def triton_grpc(address: str, model: str, x: Array, **options: Any) -> Array:
    """OIP over gRPC, raw contents."""
    with tritonclient.grpc.InferenceServerClient(address) as client:
        tensor = tritonclient.grpc.InferInput("x", x.shape, "FP32")
        tensor.set_data_from_numpy(x)
        answer = client.infer(model, [tensor], **options).as_numpy("y")
    return np.asarray(answer)


def _triton_http(address: str, model: str, x: Array, *, binary: bool) -> Array:
    with tritonclient.http.InferenceServerClient(address) as client:
        tensor = tritonclient.http.InferInput("x", x.shape, "FP32")
        tensor.set_data_from_numpy(x, binary_data=binary)
        output = tritonclient.http.InferRequestedOutput("y", binary_data=binary)
        return np.asarray(client.infer(model, [tensor], outputs=[output]).as_numpy("y"))


def triton_http_binary(address: str, model: str, x: Array) -> Array:
    """OIP over REST, binary tensors."""
    return _triton_http(address, model, x, binary=True)


def triton_http_json(address: str, model: str, x: Array) -> Array:
    """OIP over REST, JSON."""
    return _triton_http(address, model, x, binary=False)


def _answer(address: str, path: str, body: object, key: str) -> Array:
    status, answer, _ = http(f"http://{address}{path}", body)
    if status != 200:
        raise AssertionError(f"{path}: {status} {answer}")
    return np.asarray(answer[key], np.float32)


def tfserving_rows(address: str, model: str, x: Array) -> Array:
    """TensorFlow Serving REST, row format."""
    path = f"/v1/models/{model}:predict"
    return _answer(address, path, {"instances": x.tolist()}, "predictions")


def tfserving_columns(address: str, model: str, x: Array) -> Array:
    """TensorFlow Serving REST, columnar format."""
    path = f"/v1/models/{model}:predict"
    return _answer(address, path, {"inputs": {"x": x.tolist()}}, "outputs")


def plain(address: str, model: str, x: Array) -> Array:
    """Plain JSON."""
    return _answer(address, f"/predict/{model}", {"input": x.tolist()}, "output")


FRONTS: dict[str, Callable[[str, str, Array], Array]] = {
    "oip-grpc": triton_grpc,
    "oip-rest-binary": triton_http_binary,
    "oip-rest-json": triton_http_json,
    "tfserving-rest-rows": tfserving_rows,
    "tfserving-rest-columns": tfserving_columns,
    "predict": plain,
}


def grpc_request(model: str, x: Array, **parameters: int) -> Any:
    """A ModelInferRequest with raw contents; parameters are whole numbers."""
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    return request


def grpc_live(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    """ServerLive on a channel."""
    return channel.unary_unary(
        "/inference.GRPCInferenceService/ServerLive",
        service_pb2.ServerLiveRequest.SerializeToString,
        service_pb2.ServerLiveResponse.FromString,
    )


def grpc_infer(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    """ModelInfer on a channel: its ``future`` can be cancelled, unlike ``tritonclient``'s."""
    return channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        service_pb2.ModelInferRequest.SerializeToString,
        service_pb2.ModelInferResponse.FromString,
    )


def command(*arguments: str | Path) -> int:
    """Run a command of ours in this process, and return its status."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:  # how argparse ends one that cannot be understood
        return int(ended.code or 0)
