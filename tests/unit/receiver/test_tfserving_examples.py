"""Examples become inputs, or are refused in TensorFlow's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace.errors import HeadraceError, InvalidInput, MalformedRequest
from headrace.receiver.codecs.protobuf import message
from headrace.receiver.tfserving import examples as tfserving_examples
from headrace.values import DType, Signature, TensorSpec

Example = message("tensorflow.Example")
Input = message("tensorflow.serving.Input")

SIGNATURE = Signature(
    (
        TensorSpec("x", DType.FP32, (None, 2)),
        TensorSpec("n", DType.INT8, (None,)),
        TensorSpec("words", DType.BYTES, (None, None)),
    ),
    (),
    batched=True,
)
FIELDS = {float: "float_list", int: "int64_list", bytes: "bytes_list"}


def example(**features: list[Any]) -> Any:
    found = Example()
    for name, values in features.items():
        field = FIELDS[type(values[0])] if values else "float_list"
        getattr(found.features.feature[name], field).value.extend(values)
        found.features.feature[name].SetInParent()
        getattr(found.features.feature[name], field).SetInParent()
    return found


def of_protos(*examples: Any, context: Any = None, signature: Signature = SIGNATURE) -> Any:
    source = Input()
    if context is None:
        source.example_list.examples.extend(examples)
    else:
        source.example_list_with_context.examples.extend(examples)
        source.example_list_with_context.context.CopyFrom(context)
    return tfserving_examples.read(signature, source)


def of_json(*examples: Any, signature: Signature = SIGNATURE, **more: Any) -> Any:
    return tfserving_examples.read_json(signature, {"examples": list(examples), **more})


def lists(tensors: Any) -> Any:
    return {name: (array.dtype, array.tolist()) for name, array in tensors.items()}


EXPECTED = {
    "x": (np.float32, [[1, 2], [3, 4.5]]),
    "n": (np.int8, [7, 8]),
    "words": (object, [[b"a", b"b"], [b"c", b"\xff"]]),
}


def test_a_feature_of_its_name_fills_each_input() -> None:
    first = example(x=[1.0, 2.0], n=[7], words=[b"a", b"b"], other=[b"not looked at"])
    second = example(x=[3.0, 4.5], n=[8], words=[b"c", b"\xff"])
    assert lists(of_protos(first, second)) == EXPECTED
    found = of_json(
        {"x": [1, 2], "n": 7, "words": ["a", "b"], "other": None},
        {"x": [3.0, 4.5], "n": [8], "words": ["c", {"b64": "/w=="}]},
    )
    assert lists(found) == EXPECTED


def test_the_context_is_part_of_every_example_which_wins() -> None:
    context = example(n=[7], words=[b"a"])
    found = of_protos(example(x=[1.0, 2.0]), example(x=[3.0, 4.0], n=[8]), context=context)
    assert found["n"].tolist() == [7, 8]
    assert found["words"].tolist() == [[b"a"], [b"a"]]
    in_json = of_json({"x": [1, 2]}, {"x": [3, 4], "n": 8}, context={"n": 7, "words": "a"})
    assert lists(in_json) == lists(found)


def one(dtype: DType, *item: int | None) -> Signature:
    return Signature((TensorSpec("x", dtype, (None, *item)),), (), batched=True)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (DType.FP16, [0.5], 0.5),
        (DType.FP64, [0.5], 0.5),
        (DType.BOOL, [1], True),
        (DType.UINT64, [2**62], 2**62),
        (DType.BYTES, [b""], b""),
    ],
)
def test_every_kind_of_input_has_its_list(dtype: DType, values: list[Any], expected: Any) -> None:
    found = of_protos(example(x=values), signature=one(dtype))["x"]
    assert (found.dtype, found.tolist()) == (dtype.numpy, [expected])


@pytest.mark.parametrize("dtype", [DType.INT64, DType.UINT8])
def test_booleans_are_whole_numbers_where_the_input_has_those(dtype: DType) -> None:
    found = of_json({"x": True}, {"x": 3}, {"x": [False]}, signature=one(dtype))["x"]
    assert (found.dtype, found.tolist()) == (dtype.numpy, [1, 3, 0])
    with pytest.raises(InvalidInput, match="booleans"):
        of_json({"x": True}, signature=one(DType.FP32))


def test_values_fill_the_axes_in_order_and_one_may_be_free() -> None:
    found = of_protos(example(x=[1.0, 2.0, 3.0, 4.0]), signature=one(DType.FP32, None, 2))
    assert found["x"].tolist() == [[[1, 2], [3, 4]]]
    assert of_protos(example(x=[]), signature=one(DType.FP32, None))["x"].shape == (1, 0)
    assert of_json({"x": []}, signature=one(DType.BYTES, None))["x"].shape == (1, 0)


GOOD: dict[str, list[Any]] = {"x": [1.0, 2.0], "n": [7], "words": [b"a"]}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"n": None}, r"Feature: n \(data type: int64\) is required but could not be found"),
        ({"x": [1.0]}, r"Key: x, Index: 0\. .*float values != expected\. .*size: 1 .*: \[2\]"),
        ({"x": [1, 2]}, "Feature: x.  Data types don't match. Expected type: float, got int64"),
        ({"n": [1.0]}, "Expected type: int64, got float: the input is DT_INT8"),
        ({"words": [1]}, "Expected type: string, got int64"),
        ({"n": [300]}, "a number does not fit INT8"),
    ],
)
def test_what_does_not_fit_is_told_in_tensorflows_words(
    changed: dict[str, Any], words: str
) -> None:
    features = {name: values for name, values in (GOOD | changed).items() if values is not None}
    with pytest.raises(InvalidInput, match=words):
        of_protos(example(**features))


def test_examples_that_differ_in_a_free_axis_cannot_be_stacked() -> None:
    with pytest.raises(InvalidInput, match=r"Key: words, Index: 1\. .*string values != expected"):
        of_protos(example(**GOOD), example(**GOOD | {"words": [b"a", b"b"]}))


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        (one(DType.FP32, None, None), "2 free axes.*use Predict"),
        (Signature((TensorSpec("x", DType.FP32, ()),), (), batched=False), "no axis for examples"),
        (one(DType.FP32, 0, None), r"size: 1 but output shape: \[0,0\]"),
    ],
)
def test_inputs_that_no_feature_can_fill(signature: Signature, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        of_protos(example(x=[1.0]), signature=signature)


def test_no_examples_are_refused() -> None:
    for source in (Input(), Input(example_list={}), Input(example_list_with_context={})):
        with pytest.raises(InvalidInput, match="Input is empty"):
            tfserving_examples.read(SIGNATURE, source)


GOOD_JSON = {"x": [1.5, 2.5], "n": 7, "words": ["a"]}


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({}, MalformedRequest, "key 'examples' is expected and was not found"),
        ({"examples": {}}, MalformedRequest, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, MalformedRequest, "'examples' value is an empty array"),
        ({"examples": [1]}, MalformedRequest, "must be JSON object but got JSON a number"),
        ({"examples": [{}], "context": []}, MalformedRequest, "must be JSON object .* a list"),
        ({"examples": [{"x": None}]}, InvalidInput, "Feature: x has element .* type: null"),
        ({"examples": [{"x": [[1, 2]]}]}, InvalidInput, "Feature: x has element .* a list"),
        ({"examples": [{"x": [{"a": 1}, 2]}]}, InvalidInput, "'x' is FP32, the JSON has"),
        ({"examples": [GOOD_JSON | {"words": {"b64": 1}}]}, InvalidInput, "broken base64"),
        (
            {"examples": [GOOD_JSON | {"n": 1.5}]},
            InvalidInput,
            "'n' is INT8, the JSON has fractions",
        ),
    ],
)
def test_other_bodies_are_refused(body: Any, error: type[HeadraceError], words: str) -> None:
    with pytest.raises(error, match=words):
        tfserving_examples.read_json(SIGNATURE, body)


def test_a_context_may_not_make_gigabytes_of_kilobytes() -> None:
    """Only what is sent once and used often counts."""
    wide = Signature((TensorSpec("x", DType.FP32, (None, None)),), (), batched=True)
    few = of_json({}, {"x": [2] * 4096}, signature=wide, context={"x": [1] * 4096})["x"]
    assert few.sum(1).tolist() == [4096, 8192]
    words = r"'x': 4096 of the context, 10000 times: values that are sent once may become"
    with pytest.raises(InvalidInput, match=words):
        of_json(*[{}] * 10_000, signature=wide, context={"x": [1] * 4096})
    with pytest.raises(InvalidInput, match=words):
        of_protos(*[Example()] * 10_000, signature=wide, context=example(x=[1.0] * 4096))
    strings = of_json({"x": "a"}, signature=one(DType.BYTES))
    assert strings["x"].tolist() == [b"a"]
    with pytest.raises(InvalidInput, match="'x': 1 of the context, 10000 times"):
        of_json(*[{}] * 10_000, signature=one(DType.BYTES), context={"x": "a" * 2**14})
