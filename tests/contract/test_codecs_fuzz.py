"""Whatever bytes come to a decoder: it answers them or refuses them as the client's error."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.receiver.codecs.protobuf import message
from headrace.values import DType
from tests.contract import codecs
from tests.contract.calls import Call, frame, post, unary
from tests.contract.codecs import CODECS, LENGTH
from tests.contract.echo import Echo
from tests.contract.fuzz import ECHO, FUZZ, answered_or_refused
from tests.contract.tensors import extremes

# -- mangled messages ------------------------------------------------------------------------------


def good_requests() -> dict[str, Call]:
    """A request of every codec, some richer than a client's usual one."""
    floats = extremes(DType.FP32)
    found = {codec.name: codec.encode("FP32-2", {"x": floats}) for codec in CODECS}
    for codec in CODECS:
        if DType.BYTES in codec.dtypes:
            arrays = {"x": extremes(DType.BYTES)}
            found[f"{codec.name}-strings"] = codec.encode("BYTES-2", arrays)
    # Past the size from which messages are scanned instead of parsed.
    found["oip-grpc-large"] = CODECS[0].encode("FP32-2", {"x": np.zeros((300, 64), np.float32)})
    outputs = [{"name": "y", "parameters": {"binary_data": True, "classification": 2}}]
    body = {**codecs.oip_body({"x": floats}), "outputs": outputs, "id": "a"}
    found["oip-rest-rich"] = post("/v2/models/FP32-2/infer", body)
    examples = {"context": {"other": 1}, "examples": [{"x": [1, 2.5]}, {"x": [3, 4]}]}
    found["tf-rest-classify"] = post("/v1/models/FP32-2:classify", examples)
    found["tf-rest-regress"] = post("/v1/models/FP32-1:regress", {"examples": [{"x": 1.5}]})
    found |= {f"tf-grpc-{name}": call for name, call in EXAMPLES.items()}
    return found


SERVICE = "/tensorflow.serving.PredictionService"


def by_examples(method: str, model: str, *, context: bool = False) -> Call:
    """Classify, Regress or MultiInference of two examples of ``x``."""
    kind = {"Classify": "Classification", "Regress": "Regression"}.get(method, method)
    request = message(f"tensorflow.serving.{kind}Request")()
    if method == "MultiInference":
        task = request.tasks.add(method_name="tensorflow/serving/classify")
        task.model_spec.name = model
    else:
        request.model_spec.name = model
    source = request.input.example_list
    if context:
        source = request.input.example_list_with_context
        source.context.features.feature["x"].float_list.value.append(0.5)
    for value in (1.5, 2.5):
        source.examples.add().features.feature["x"].float_list.value.append(value)
    return unary(f"{SERVICE}/{method}", request.SerializeToString())


def metadata_call() -> Call:
    request = message("tensorflow.serving.GetModelMetadataRequest")(
        metadata_field=["signature_def"]
    )
    request.model_spec.name = "pair"
    return unary(f"{SERVICE}/GetModelMetadata", request.SerializeToString())


EXAMPLES = {
    "classify": by_examples("Classify", "FP32-2"),
    "regress": by_examples("Regress", "FP32-1", context=True),
    "multi": by_examples("MultiInference", "FP32-2"),
    "metadata": metadata_call(),
}
GOOD = good_requests()
ODD = [b"NaN", b"-1", b"1e999", b"9" * 40, b"null", b"[[", b"{}", b"\\ud800", b"\xff\xff"]


@st.composite
def mangled(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid body, cut, flipped, repeated, or with something in it that is not its own."""
    body = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(start + draw(st.integers(0, 12)), len(body))
        match draw(st.sampled_from(["cut", "drop", "flip", "insert", "repeat", "odd"])):
            case "cut":
                del body[start:]
            case "drop":
                del body[start:end]
            case "flip" if start < len(body):
                body[start] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                body[start:start] = draw(st.binary(min_size=1, max_size=6))
            case "repeat":
                body[start:start] = body[start:end] * 3
            case "odd":
                body[start:end] = draw(st.sampled_from(ODD))
    return bytes(body)


def with_body(call: Call, body: bytes) -> Call:
    """The same request with another body, framed where it was."""
    if call.kind == "grpc":
        return replace(call, body=frame(body))
    lengths = [(n, str(min(int(v), max(len(body), 1)))) for n, v in call.headers if n == LENGTH]
    return replace(call, body=body, headers=tuple(lengths))


def body_of(call: Call) -> bytes:
    return call.body[5:] if call.kind == "grpc" else call.body


@pytest.mark.parametrize("name", GOOD)
def test_a_good_request_is_answered(name: str) -> None:
    assert ECHO.ask(GOOD[name]).body


@pytest.mark.parametrize("name", GOOD)
def test_a_mangled_request_is_answered_or_the_clients_error(name: str) -> None:
    call = GOOD[name]

    @FUZZ
    @given(mangled(body_of(call)))
    def check(body: bytes) -> None:
        answered_or_refused(with_body(call, body))

    check()


@pytest.mark.parametrize("name", [codec.name for codec in CODECS])
def test_random_bytes_are_the_clients_error(name: str) -> None:
    call = GOOD[name]

    @settings(FUZZ, max_examples=100)
    @given(st.binary(max_size=200))
    @example(b"")
    @example(b"\x00" * 70000)
    @example(b"\x3a" * 70000)
    @example(b"[" * 70000)
    @example(b'{"":' * 70000)
    @example(b'{"inputs":' + b"[" * 900 + b"NaN" + b"]" * 900 + b"}")
    @example(b'{"instances":' + b"[" * 900 + b"1" + b"]" * 900 + b"}")
    def check(body: bytes) -> None:
        answered_or_refused(with_body(call, body))

    check()


@FUZZ
@given(st.sampled_from(sorted(ECHO.signatures)), st.binary(max_size=40))
def test_a_raw_body_is_answered_or_the_clients_error(model: str, body: bytes) -> None:
    answered_or_refused(post(f"/v2/models/{model}/infer", body, **{LENGTH: "0"}))


def test_the_same_request_is_answered_after_all_of_that() -> None:
    """What fronts remember of requests must not have been spoilt by bad ones."""
    for name, call in GOOD.items():
        assert ECHO.ask(call).body == Echo().ask(call).body, name
    assert json.loads(ECHO.ask(post("/predict/FP32-1", {"input": [1]})).body) == {"output": [1.0]}
