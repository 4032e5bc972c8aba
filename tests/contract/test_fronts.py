"""The same request through every front: the same answer, and the same refusal."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.receiver.codecs.protobuf import message
from headrace.statuses import STATUSES
from headrace.values import Array, DType
from tests.contract import codecs
from tests.contract.calls import Answer, Call, frame, plain, post, send, unary
from tests.contract.codecs import CODECS, MODEL_INFER, TF_PREDICT, Arrays, Codec
from tests.contract.conftest import WEIGHTS
from tests.e2e.clients import FRONTS, metrics
from tests.e2e.server import Server, until

X = np.array([[1, 2, 3, 4], [0.5, -1, 0, 2]], np.float32)
ROW = np.array([[1, 2, 3, 4]], np.float32)
LEFT = np.array([[1, 2]], np.float32)
RIGHT = np.array([2**40], np.int64)
SPOKEN = {codec.name: codec for codec in CODECS}


@pytest.fixture(params=[pytest.param(codec, id=codec.name) for codec in CODECS])
def codec(request: pytest.FixtureRequest) -> Codec:
    found: Codec = request.param
    return found


# -- the same answer -------------------------------------------------------------------------------


def tfserving_grpc(address: str, model: str, x: Array) -> Array:
    """TensorFlow Serving over gRPC, through grpcio."""
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(
            TF_PREDICT,
            request_serializer=codecs.PredictRequest.SerializeToString,
            response_deserializer=codecs.PredictResponse.FromString,
        )
        response = ask(codecs.predict_request(model, {"x": x}), timeout=30)
    found = response.outputs["y"]
    shape = [dim.size for dim in found.tensor_shape.dim]
    return np.array(found.float_val, np.float32).reshape(shape)


CLIENTS: dict[str, Callable[[str, str, Array], Array]] = {
    **FRONTS,
    "tfserving-grpc": tfserving_grpc,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_gets_the_same_answer(served: Server, client: str) -> None:
    answer = CLIENTS[client](served.address, "linear", X)
    np.testing.assert_allclose(answer, X @ WEIGHTS * 10, rtol=1e-5)


def test_every_codec_gets_the_same_answer_to_the_bit(served: Server) -> None:
    answers = {}
    for codec in CODECS:
        answer = send(served.address, codec.encode("linear", {"x": X}))
        assert answer.error is None
        answers[codec.name] = codec.decode(answer, {"y": DType.FP32})["y"]
    first = answers["oip-grpc-raw"]
    np.testing.assert_allclose(first, X @ WEIGHTS * 10, rtol=1e-5)
    for name, found in answers.items():
        assert found.tolist() == first.tolist(), name


def test_every_front_runs_the_version_asked_for(served: Server, codec: Codec) -> None:
    for version, scale in ((1, 1), (3, 10)):
        call = codec.encode(f"linear/versions/{version}", {"x": X})
        found = codec.decode(send(served.address, call), {"y": DType.FP32})["y"]
        np.testing.assert_allclose(found, X @ WEIGHTS * scale, rtol=1e-5)


def test_every_front_names_several_inputs_and_outputs(served: Server, codec: Codec) -> None:
    answer = send(served.address, codec.encode("pair", {"right": RIGHT, "left": LEFT}))
    found = codec.decode(answer, {"l": DType.FP32, "r": DType.INT64})
    assert (found["l"].tolist(), found["r"].tolist()) == ([[1, 2]], [2**40])


# -- the same refusal ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mistake:
    """A request no front may answer, and what it is called; ``not_in`` cannot make it."""

    code: str
    model: str
    arrays: Arrays
    not_in: tuple[str, ...] = ()


def one(array: Array) -> Mapping[str, Array]:
    return {"x": array}


MISTAKES = {
    "unknown model": Mistake("model_not_found", "nope", one(ROW)),
    "unknown version": Mistake("version_not_found", "linear/versions/2", one(ROW)),
    "model that failed": Mistake("model_failed", "broken", one(ROW)),
    "unknown input": Mistake("invalid_input", "pair", {"left": LEFT, "rigth": RIGHT}),
    "extra input": Mistake(
        "invalid_input",
        "linear",
        {"x": ROW, "z": ROW},
        ("tfserving-rest-columns",),  # which does not look at it, as in TensorFlow Serving
    ),
    "missing input": Mistake("invalid_input", "pair", {"left": LEFT}),
    "wrong dtype": Mistake(
        "invalid_input", "pair", {"left": LEFT, "right": np.array([1.5], np.float32)}
    ),
    "wrong rank": Mistake("invalid_input", "linear", one(np.ones(4, np.float32))),
    "wrong size": Mistake("invalid_input", "linear", one(np.ones((2, 5), np.float32))),
    "no rows": Mistake("invalid_input", "linear", one(np.ones((0, 4), np.float32))),
    "rows that differ": Mistake(
        "invalid_input", "pair", {"left": LEFT, "right": RIGHT.repeat(2)}, ("tfserving-rest-rows",)
    ),
}
EACH_MISTAKE = [
    pytest.param(codec, mistake, id=f"{codec.name}-{name}")
    for name, mistake in MISTAKES.items()
    for codec in CODECS
    if codec.name not in mistake.not_in
]


def refused(answer: Answer, call: Call, code: str) -> None:
    """It was refused with this code, and the status the code has in its protocol."""
    assert answer.error == code, answer.message
    assert answer.status == STATUSES[code][call.kind == "grpc"]
    assert answer.message


@pytest.mark.parametrize(("codec", "mistake"), EACH_MISTAKE)
def test_every_front_calls_a_mistake_the_same(
    served: Server, codec: Codec, mistake: Mistake
) -> None:
    call = codec.encode(mistake.model, mistake.arrays)
    refused(send(served.address, call), call, mistake.code)


def with_header(call: Call, http: tuple[str, str], in_grpc: tuple[str, str]) -> Call:
    """The call with a header: one name of it in HTTP, another in gRPC."""
    return replace(call, headers=(*call.headers, in_grpc if call.kind == "grpc" else http))


def test_every_front_refuses_a_timeout_it_cannot_read(served: Server, codec: Codec) -> None:
    good = codec.encode("linear", {"x": ROW})
    call = with_header(good, ("headrace-timeout-ms", "soon"), ("grpc-timeout", "soon"))
    refused(send(served.address, call), call, "invalid_timeout")


def compressed(call: Call, data: bytes, encoding: str) -> Call:
    body = frame(data, flag=1) if call.kind == "grpc" else data
    call = replace(call, body=body)
    return with_header(call, ("content-encoding", encoding), ("grpc-encoding", encoding))


def body_of(call: Call) -> bytes:
    return call.body[5:] if call.kind == "grpc" else call.body


def test_every_front_inflates_what_it_can_and_refuses_the_rest(
    served: Server, codec: Codec
) -> None:
    good = codec.encode("linear", {"x": ROW})
    packed = gzip.compress(body_of(good))
    answer = send(served.address, compressed(good, packed, "gzip"))
    found = codec.decode(answer, {"y": DType.FP32})["y"]
    np.testing.assert_allclose(found, ROW @ WEIGHTS * 10, rtol=1e-5)
    for data, encoding, code in (
        (packed[:-4], "gzip", "malformed_request"),
        (body_of(good), "gzip", "malformed_request"),
        (packed, "br", "unsupported_encoding"),
    ):
        call = compressed(good, data, encoding)
        refused(send(served.address, call), call, code)


# -- deadlines -------------------------------------------------------------------------------------

# The model takes 150 ms.
SHORT_MS, LONG_MS = 40, 20_000


def ask_when_idle(server: Server, call: Call) -> Answer:
    """Ask once nothing runs any more: not even what an earlier client did not wait for."""
    running = 'headrace_running_batches{model="slow",version="1"}'
    until(lambda: metrics(server.url)[running] == 0)
    return send(server.address, call)


def within(call: Call, timeout_ms: int) -> Call:
    """The call, with a header that says how long its client waits."""
    in_http = ("headrace-timeout-ms", str(timeout_ms))
    return with_header(call, in_http, ("grpc-timeout", f"{timeout_ms}m"))


def test_a_header_makes_every_front_answer_in_time_or_not_at_all(
    served: Server, codec: Codec
) -> None:
    call = codec.encode("slow", {"x": ROW})
    late = within(call, SHORT_MS)
    refused(ask_when_idle(served, late), late, "expired")
    assert ask_when_idle(served, within(call, LONG_MS)).error is None


def with_parameter(kind: str, timeout_ms: float) -> Call:
    """An OIP request with the ``timeout`` parameter, in microseconds."""
    timeout_us = int(timeout_ms * 1000)
    if kind == "oip-grpc":
        request = codecs.infer_request("slow", {"x": ROW})
        request.parameters["timeout"].int64_param = timeout_us
        return unary(MODEL_INFER, request.SerializeToString())
    parameters = {"timeout": timeout_us}
    if kind == "oip-rest":
        return post(
            "/v2/models/slow/infer", {**codecs.oip_body({"x": ROW}), "parameters": parameters}
        )
    size = {"binary_data_size": ROW.nbytes}
    row = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": size}
    return codecs.binary_call("slow", {"inputs": [row], "parameters": parameters}, ROW.tobytes())


@pytest.mark.parametrize("kind", ["oip-grpc", "oip-rest", "oip-rest-binary"])
def test_the_timeout_parameter_is_a_deadline_too(served: Server, kind: str) -> None:
    call = with_parameter(kind, SHORT_MS)
    refused(ask_when_idle(served, call), call, "expired")
    for timeout_ms in (0, LONG_MS):  # 0 says nothing
        assert ask_when_idle(served, with_parameter(kind, timeout_ms)).error is None


@pytest.mark.parametrize("kind", ["oip-grpc", "oip-rest", "oip-rest-binary"])
def test_the_shorter_of_two_timeouts_counts(served: Server, kind: str) -> None:
    for call in (
        within(with_parameter(kind, SHORT_MS), LONG_MS),
        within(with_parameter(kind, LONG_MS), SHORT_MS),
    ):
        answer = ask_when_idle(served, call)
        refused(answer, call, "expired")
        assert "0.04 s" in answer.message


@pytest.mark.parametrize("kind", ["oip-grpc", "oip-rest-binary"])
def test_a_timeout_parameter_is_not_forgotten_by_the_next_equal_request(
    served: Server, kind: str
) -> None:
    call = with_parameter(kind, SHORT_MS + 1)
    first = within(call, SHORT_MS)
    refused(ask_when_idle(served, first), first, "expired")
    refused(ask_when_idle(served, call), call, "expired")


def test_a_deadline_that_has_passed_on_arrival_is_expired(served: Server) -> None:
    for name in ("oip-grpc-raw", "tfserving-grpc-values"):
        call = SPOKEN[name].encode("linear", {"x": ROW})
        call = replace(call, headers=(*call.headers, ("grpc-timeout", "0m")))
        refused(ask_when_idle(served, call), call, "expired")


# -- what a request may ask for --------------------------------------------------------------------


def asking(kind: str, *outputs: str) -> Call:
    arrays: Arrays = {"left": LEFT, "right": RIGHT}
    if kind == "oip-grpc":
        request = codecs.infer_request("pair", arrays)
        for name in outputs:
            request.outputs.add(name=name)
        return unary(MODEL_INFER, request.SerializeToString())
    if kind == "tfserving-grpc":
        request = codecs.predict_request("pair", arrays)
        request.output_filter.extend(outputs)
        return unary(TF_PREDICT, request.SerializeToString())
    body = {**codecs.oip_body(arrays), "outputs": [{"name": name} for name in outputs]}
    return post("/v2/models/pair/infer", body)


OUTPUTS: dict[str, Callable[[bytes], list[str]]] = {
    "oip-grpc": lambda body: [o.name for o in codecs.InferResponse.FromString(body).outputs],
    "oip-rest": lambda body: [o["name"] for o in json.loads(body)["outputs"]],
    # A map: sorted, as it has no order.
    "tfserving-grpc": lambda body: sorted(codecs.PredictResponse.FromString(body).outputs),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_outputs_asked_for_are_answered_and_no_others(served: Server, kind: str) -> None:
    for outputs in (["l"], ["r"], ["l", "r"], []):
        answer = ask_when_idle(served, asking(kind, *outputs))
        assert OUTPUTS[kind](answer.body) == (outputs or ["l", "r"])
    if kind != "tfserving-grpc":
        assert OUTPUTS[kind](ask_when_idle(served, asking(kind, "r", "l")).body) == ["r", "l"]
    call = asking(kind, "l", "nothing")
    refused(ask_when_idle(served, call), call, "invalid_input")


def test_classes_are_the_same_in_grpc_json_and_binary(served: Server) -> None:
    request = codecs.infer_request("linear", {"x": X})
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    answer = ask_when_idle(served, unary(MODEL_INFER, request.SerializeToString()))
    response = codecs.InferResponse.FromString(answer.body)
    (output,) = response.outputs
    assert (output.datatype, list(output.shape)) == ("BYTES", [2, 2])
    in_grpc = codecs.of_raw(response.raw_output_contents[0], DType.BYTES, (2, 2))

    parameters: dict[str, Any] = {"classification": 2}
    body = {**codecs.oip_body({"x": X}), "outputs": [{"name": "y", "parameters": parameters}]}
    (output,) = json.loads(ask_when_idle(served, post("/v2/models/linear/infer", body)).body)[
        "outputs"
    ]
    in_json = codecs.of_lists(output["data"], DType.BYTES, output["shape"])

    parameters["binary_data"] = True
    answer = ask_when_idle(served, post("/v2/models/linear/infer", body))
    size = int(answer.headers[codecs.LENGTH])
    in_binary = codecs.of_raw(answer.body[size:], DType.BYTES, (2, 2))

    scores = X @ WEIGHTS * 10
    best = np.argsort(-scores, axis=1)[:, :2]
    assert [[int(c.split(b":")[1]) for c in row] for row in in_grpc] == best.tolist()
    assert in_grpc.tolist() == in_json.tolist() == in_binary.tolist()


# -- what models and the server say of themselves --------------------------------------------------


def oip_message(address: str, method: str, answer: str, **fields: str) -> Any:
    """A call of the metadata kind."""
    request = message(f"inference.{method}Request")(**fields)
    path = f"/inference.GRPCInferenceService/{method}"
    found = send(address, unary(path, request.SerializeToString()))
    assert found.status == 0
    return message(f"inference.{answer}Response").FromString(found.body)


def get(address: str, path: str) -> Any:
    return json.loads(send(address, plain("GET", path)).body)


def test_metadata_is_the_same_in_grpc_and_rest(served: Server) -> None:
    for model in ("linear", "pair"):
        in_grpc = oip_message(served.address, "ModelMetadata", "ModelMetadata", name=model)
        in_rest = get(served.address, f"/v2/models/{model}")
        assert list(in_grpc.versions) == in_rest["versions"]
        assert in_grpc.platform == in_rest["platform"]
        for kind in ("inputs", "outputs"):
            rows = [
                {"name": row.name, "datatype": row.datatype, "shape": list(row.shape)}
                for row in getattr(in_grpc, kind)
            ]
            assert rows == in_rest[kind]
    server = oip_message(served.address, "ServerMetadata", "ServerMetadata")
    assert get(served.address, "/v2") == {
        "name": server.name,
        "version": server.version,
        "extensions": list(server.extensions),
    }


def test_readiness_is_the_same_in_grpc_and_rest(served: Server) -> None:
    assert oip_message(served.address, "ServerLive", "ServerLive").live
    assert get(served.address, "/v2/health/live") == {"live": True}
    # A model that failed does not keep the others' server from being ready.
    assert oip_message(served.address, "ServerReady", "ServerReady").ready
    assert ask_when_idle(served, plain("GET", "/v2/health/ready")).status == 200
    for model, version, ready in (
        ("linear", "", True),
        ("linear", "3", True),
        ("linear", "2", False),
        ("broken", "", False),
    ):
        found = oip_message(served.address, "ModelReady", "ModelReady", name=model, version=version)
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
        answer = ask_when_idle(served, plain("GET", f"{path}/ready"))
        assert (found.ready, answer.status) == (ready, 200 if ready else 503)
        assert json.loads(answer.body)["ready"] == ready


def test_model_status_is_the_same_in_grpc_and_rest(served: Server) -> None:
    for model in ("linear", "broken"):
        request = message("tensorflow.serving.GetModelStatusRequest")()
        request.model_spec.name = model
        path = "/tensorflow.serving.ModelService/GetModelStatus"
        answer = ask_when_idle(served, unary(path, request.SerializeToString()))
        found = message("tensorflow.serving.GetModelStatusResponse").FromString(answer.body)
        rows = get(served.address, f"/v1/models/{model}")["model_version_status"]
        states = {"AVAILABLE": 30, "END": 50}
        assert [(int(row["version"]), states[row["state"]]) for row in rows] == [
            (row.version, row.state) for row in found.model_version_status
        ]
        assert [row["status"]["error_message"] for row in rows] == [
            row.status.error_message for row in found.model_version_status
        ]
