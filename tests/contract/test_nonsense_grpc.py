"""Protobuf that is well-formed and makes no sense in some place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from headrace.receiver.codecs.protobuf import message
from headrace.values import Array, DType
from tests.contract import codecs
from tests.contract.calls import Call, unary
from tests.contract.codecs import CONTENTS, MODEL_INFER, TF_PREDICT, TF_TYPES
from tests.contract.echo import Echo
from tests.contract.fuzz import ECHO, arrays_of, classifiers, models, nonsense, regressors, seldom

SERVICE = "/tensorflow.serving.PredictionService"

sizes = st.one_of(st.integers(-1, 3), st.sampled_from([2**31, 2**62, -(2**63)]))


def spoil_request(draw: st.DrawFn, request: Any) -> None:
    """Spoil what a ModelInferRequest has beside its inputs."""
    if seldom(draw):
        request.model_version = draw(st.sampled_from(["1", "x", "²"]))
    if seldom(draw):
        request.raw_input_contents.append(draw(st.binary(max_size=16)))
    if seldom(draw, 3):
        name = draw(st.sampled_from(["timeout", "priority"]))
        request.parameters[name].int64_param = draw(st.sampled_from([-1, 0, 1, 2**62]))
    if seldom(draw, 3):
        output = request.outputs.add(name=draw(st.sampled_from(["y", "y_bytes", "z"])))
        if draw(st.booleans()):
            count = draw(st.sampled_from([-1, 1, 2**40]))
            output.parameters["classification"].int64_param = count


@st.composite
def infer_requests(draw: st.DrawFn) -> Call:
    model = draw(models)
    arrays = arrays_of(draw, ECHO.signatures[model])
    typed = draw(st.booleans()) and all(DType.of(a.dtype) in CONTENTS for a in arrays.values())
    request = codecs.infer_request(model, arrays, typed=typed)
    for row in request.inputs:
        if seldom(draw):
            row.name = draw(st.sampled_from(["x", "left", ""]))
        if seldom(draw):
            row.datatype = draw(st.sampled_from([*(dtype.value for dtype in DType), "", "FP33"]))
        if seldom(draw):
            row.shape[:] = draw(st.lists(sizes, max_size=4))
        if seldom(draw):
            field = draw(st.sampled_from(sorted(set(CONTENTS.values()))))
            values = [b"a", b""] if field == "bytes_contents" else [1, 0]
            getattr(row.contents, field).extend(values[: draw(st.integers(0, 2))])
    spoil_request(draw, request)
    return unary(MODEL_INFER, request.SerializeToString())


def test_nonsense_for_oip_grpc_is_the_clients_error() -> None:
    nonsense(infer_requests())


@st.composite
def predict_requests(draw: st.DrawFn) -> Call:
    model = draw(models)
    arrays = arrays_of(draw, ECHO.signatures[model])
    request = codecs.predict_request(model, arrays, content=draw(st.booleans()))
    for name in arrays:
        proto = request.inputs[name]
        if seldom(draw):
            numbered = [0, 8, 99, *(number for number, _ in TF_TYPES.values())]
            proto.dtype = draw(st.sampled_from(numbered))
        if seldom(draw, 4) and proto.tensor_shape.dim:
            proto.tensor_shape.dim[0].size = draw(sizes)
        if seldom(draw):
            proto.tensor_shape.dim.add(size=draw(sizes))
        if seldom(draw, 10):
            proto.tensor_shape.unknown_rank = True
        if seldom(draw):
            proto.tensor_content = draw(st.binary(max_size=16))
        if seldom(draw):
            field = draw(st.sampled_from(sorted({field for _, field in TF_TYPES.values()})))
            values = [b"a", b""] if field == "string_val" else [1, 0]
            getattr(proto, field).extend(values[: draw(st.integers(0, 2))])
    if seldom(draw):
        request.inputs[draw(st.sampled_from(["x", "left", "z"]))].dtype = 1
    if seldom(draw, 3):
        request.output_filter.append(draw(st.sampled_from(["y", "y_bytes", "z"])))
    return unary(TF_PREDICT, request.SerializeToString())


def test_nonsense_for_tfserving_grpc_is_the_clients_error() -> None:
    nonsense(predict_requests())


EXAMPLE_METHODS = {
    "Classify": "Classification",
    "Regress": "Regression",
    "MultiInference": "MultiInference",
}


ODD: dict[str, list[Any]] = {
    "bytes_list": [b"\xff"],
    "float_list": [np.inf],
    "int64_list": [2**62],
}


def fill_feature(draw: st.DrawFn, feature: Any, array: Array) -> None:
    """Put values into the list of their kind, or seldom of another."""
    casts = {"V": np.float32, "b": np.int64}
    kinds = {"f": "float_list", "V": "float_list", "O": "bytes_list"}
    field = kinds.get(array.dtype.kind, "int64_list")
    values = codecs.elements(array.astype(casts.get(array.dtype.kind, array.dtype)))
    if seldom(draw, 10):
        field = draw(st.sampled_from(["bytes_list", "float_list", "int64_list"]))
        values = ODD[field]
    if seldom(draw, 10):
        values = values[1:]
    getattr(feature, field).SetInParent()
    getattr(feature, field).value.extend(values)


@st.composite
def example_requests(draw: st.DrawFn, method: str) -> Call:
    model = draw(regressors if method == "Regress" else classifiers)
    request = message(f"tensorflow.serving.{EXAMPLE_METHODS[method]}Request")()
    spec = request.tasks.add().model_spec if method == "MultiInference" else request.model_spec
    spec.name = model
    if method == "MultiInference":
        reading = "regress" if model == "FP32-1" else draw(st.sampled_from(["classify", "a"]))
        request.tasks[0].method_name = f"tensorflow/serving/{reading}"
    if seldom(draw):
        spec.signature_name = draw(st.sampled_from(["serving_default", "z"]))
    arrays = arrays_of(draw, ECHO.signatures[model])
    context, source = None, request.input.example_list
    if draw(st.booleans()):
        source = request.input.example_list_with_context
        context = source.context
    for row in range(draw(st.sampled_from([1, 1, 2, 2, 0]))):
        example = source.examples.add()
        for name, array in arrays.items():
            at = row % len(array) if array.ndim else 0
            cell = (array[at : at + 1] if array.ndim else array).ravel()
            into = context if context is not None and draw(st.booleans()) else example
            if not seldom(draw, 10):
                fill_feature(draw, into.features.feature[name], cell)
    return unary(f"{SERVICE}/{method}", request.SerializeToString())


@pytest.mark.parametrize("method", EXAMPLE_METHODS)
def test_nonsense_in_examples_is_the_clients_error(method: str) -> None:
    nonsense(example_requests(method))


def test_good_requests_are_answered_after_all_of_that() -> None:
    """What fronts remember of requests must not have been spoilt by bad ones."""
    for codec in codecs.CODECS:
        call = codec.encode("FP32-2", {"x": np.ones((2, 2), np.float32)})
        assert ECHO.ask(call).body == Echo().ask(call).body, codec.name
