"""Whatever bytes come to a decoder: it answers them or refuses them as the client's error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.errors import ClientError
from headrace.receiver.codecs.protobuf import message
from headrace.values import DType
from tests.contract import codecs
from tests.contract.calls import Call, frame, post, unary
from tests.contract.codecs import CODECS, CONTENTS, LENGTH, MODEL_INFER, TF_PREDICT, TF_TYPES
from tests.contract.echo import Echo, model_name
from tests.contract.tensors import STEADY, extremes

ECHO = Echo()
FUZZ = settings(STEADY, max_examples=250)


def answered_or_refused(call: Call) -> None:
    """Anything but an answer or a ``ClientError`` fails the test."""
    try:
        assert ECHO.ask(call).status in {0, 200}
    except ClientError as error:
        assert error.message  # noqa: PT017 - an answer is as good as a refusal


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


# -- well-formed nonsense in JSON ------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 2, 3, 2**31, 2**53, 2**63, 2**64, -1, 10**400]),
    st.floats(),
)
texts = st.one_of(st.text(max_size=5), st.sampled_from(["x", "FP32", "INT64", "BYTES", "\ud800"]))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, st.just({"b64": "YQ=="})),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
data = st.one_of(st.lists(numbers, max_size=5), anything)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object that may lack any field or have something else in its place."""
    loose = {name: st.one_of(field, anything) for name, field in fields.items()}
    return st.fixed_dictionaries({}, optional=loose)


parameters = objects(
    timeout=numbers, priority=numbers, classification=numbers, binary_data=st.booleans()
)
oip_inputs = st.lists(
    objects(
        name=st.sampled_from(["x", "y"]),
        shape=st.lists(st.one_of(st.integers(-1, 3), numbers), max_size=3),
        datatype=st.sampled_from([dtype.value for dtype in DType]),
        parameters=parameters,
        data=data,
    ),
    max_size=2,
)
oip_bodies = objects(
    id=texts,
    parameters=parameters,
    inputs=oip_inputs,
    outputs=st.lists(objects(name=st.sampled_from(["y", "z"]), parameters=parameters), max_size=2),
)
columns = st.dictionaries(st.sampled_from(["left", "right", "text", "x"]), data)
tf_bodies = objects(
    signature_name=texts,
    instances=st.one_of(st.lists(st.one_of(columns, data), max_size=3), data),
    inputs=st.one_of(columns, data),
    input=data,
)
models = st.one_of(
    st.just("pair"),
    st.sampled_from([model_name(dtype, axes) for dtype in DType for axes in (0, 1, 2)]),
)


def nonsense(path: Callable[[str], str], bodies: st.SearchStrategy[Any]) -> None:
    @FUZZ
    @given(models, bodies)
    def check(model: str, body: Any) -> None:
        answered_or_refused(post(path(model), body))

    check()


def test_nonsense_for_oip_rest_is_the_clients_error() -> None:
    nonsense("/v2/models/{}/infer".format, oip_bodies)


def test_nonsense_for_tfserving_rest_is_the_clients_error() -> None:
    nonsense("/v1/models/{}:predict".format, tf_bodies)


tf_examples = objects(
    signature_name=texts,
    context=st.one_of(columns, anything),
    examples=st.one_of(st.lists(st.one_of(columns, anything), max_size=3), data),
)


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_nonsense_for_examples_in_json_is_the_clients_error(method: str) -> None:
    nonsense(lambda model: f"/v1/models/{model}:{method}", tf_examples)


def test_nonsense_for_predict_is_the_clients_error() -> None:
    nonsense("/predict/{}".format, tf_bodies)


# -- well-formed nonsense in protobuf --------------------------------------------------------------

dims = st.lists(
    st.one_of(st.integers(-1, 3), st.sampled_from([2**31, 2**62, -(2**63)])), max_size=4
)


@st.composite
def infer_requests(draw: st.DrawFn) -> Call:
    request = codecs.InferRequest(
        model_name=draw(models), model_version=draw(st.sampled_from(["", "1", "x", "²"]))
    )
    for _ in range(draw(st.integers(0, 2))):
        row = request.inputs.add(
            name=draw(st.sampled_from(["x", "left", ""])),
            datatype=draw(st.sampled_from([*(dtype.value for dtype in DType), "", "FP33"])),
            shape=draw(dims),
        )
        if draw(st.booleans()):
            field = draw(st.sampled_from(sorted(set(CONTENTS.values()))))
            values = [b"a", b""] if field == "bytes_contents" else [1, 0]
            getattr(row.contents, field).extend(values[: draw(st.integers(0, 2))])
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=16), max_size=2)))
    for name in draw(st.lists(st.sampled_from(["timeout", "priority"]), max_size=2)):
        request.parameters[name].int64_param = draw(st.sampled_from([-1, 0, 1, 2**62]))
    if draw(st.booleans()):
        output = request.outputs.add(name=draw(st.sampled_from(["y", "z"])))
        output.parameters["classification"].int64_param = draw(st.sampled_from([-1, 1, 2**40]))
    return unary(MODEL_INFER, request.SerializeToString())


@FUZZ
@given(infer_requests())
def test_nonsense_for_oip_grpc_is_the_clients_error(call: Call) -> None:
    answered_or_refused(call)


@st.composite
def predict_requests(draw: st.DrawFn) -> Call:
    request = codecs.PredictRequest()
    request.model_spec.name = draw(models)
    for name in draw(st.lists(st.sampled_from(["x", "left", "text"]), unique=True, max_size=3)):
        proto = request.inputs[name]
        proto.dtype = draw(
            st.sampled_from([0, 8, 99, *(number for number, _ in TF_TYPES.values())])
        )
        for size in draw(dims):
            proto.tensor_shape.dim.add(size=size)
        proto.tensor_shape.unknown_rank = draw(st.booleans())
        proto.tensor_content = draw(st.binary(max_size=16))
        field = draw(st.sampled_from(sorted({field for _, field in TF_TYPES.values()})))
        values = [b"a", b""] if field == "string_val" else [1, 0]
        getattr(proto, field).extend(values[: draw(st.integers(0, 2))])
    request.output_filter.extend(draw(st.lists(st.sampled_from(["y", "z"]), max_size=2)))
    return unary(TF_PREDICT, request.SerializeToString())


@FUZZ
@given(predict_requests())
def test_nonsense_for_tfserving_grpc_is_the_clients_error(call: Call) -> None:
    answered_or_refused(call)


@st.composite
def example_requests(draw: st.DrawFn) -> Call:
    method, kind = draw(
        st.sampled_from([("Classify", "Classification"), ("Regress", "Regression")])
    )
    request = message(f"tensorflow.serving.{kind}Request")()
    request.model_spec.name = draw(models)
    request.model_spec.signature_name = draw(st.sampled_from(["", "serving_default", "z"]))
    source = request.input.example_list
    rows = [source.examples.add() for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        source = request.input.example_list_with_context
        rows = [source.context, source.examples.add()]
    for row in rows:
        for name in draw(st.lists(st.sampled_from(["x", "left", "right", "text"]), max_size=4)):
            feature = row.features.feature[name]
            field = draw(st.sampled_from(["bytes_list", "float_list", "int64_list", ""]))
            if field:
                values: dict[str, list[Any]] = {
                    "bytes_list": [b"a", b"\xff"],
                    "float_list": [1.5, np.inf],
                    "int64_list": [-1, 2**62],
                }
                found = values[field][: draw(st.integers(0, 2))]
                getattr(feature, field).SetInParent()
                getattr(feature, field).value.extend(found)
    return unary(f"{SERVICE}/{method}", request.SerializeToString())


@FUZZ
@given(example_requests())
def test_nonsense_in_examples_is_the_clients_error(call: Call) -> None:
    answered_or_refused(call)


generate_bodies = st.dictionaries(
    st.sampled_from(["id", "x", "left", "right", "text", "parameters", "timeout", "priority"]), data
)
switches = st.dictionaries(
    st.sampled_from(["log_info", "log_format", "trace_rate", "trace_count", "offset", "a"]),
    anything,
)


def test_nonsense_for_generate_is_the_clients_error() -> None:
    nonsense("/v2/models/{}/generate".format, generate_bodies)


@FUZZ
@given(st.sampled_from(["logging", "trace/setting"]), switches)
def test_nonsense_for_the_switches_is_the_clients_error(path: str, body: Any) -> None:
    try:
        answered_or_refused(post(f"/v2/{path}", body))
    finally:
        structlog.reset_defaults()  # log settings are this process's own


@FUZZ
@given(models, st.binary(max_size=40))
def test_a_raw_body_is_answered_or_the_clients_error(model: str, body: bytes) -> None:
    answered_or_refused(post(f"/v2/models/{model}/infer", body, **{LENGTH: "0"}))


def test_the_same_request_is_answered_after_all_of_that() -> None:
    """What fronts remember of requests must not have been spoilt by bad ones."""
    for name, call in GOOD.items():
        assert ECHO.ask(call).body == Echo().ask(call).body, name
    assert json.loads(ECHO.ask(post("/predict/FP32-1", {"input": [1]})).body) == {"output": [1.0]}
