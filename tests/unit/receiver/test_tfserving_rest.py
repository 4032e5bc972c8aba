"""Rows and columns, to tensors and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from headrace.errors import InvalidInput, MalformedRequest
from headrace.receiver.tfserving.rest import decode, encode
from headrace.values import Array, DType, Signature, TensorSpec
from tests.contract.echo import PAIR, serve

ONE = Signature((TensorSpec("x", DType.FP32, (None, None)),), (), batched=True)
TWO = Signature(
    (TensorSpec("a", DType.INT32, (None,)), TensorSpec("b", DType.BYTES, (None,))), (), batched=True
)


def lists(tensors: dict[str, Array]) -> dict[str, Any]:
    return {name: array.tolist() for name, array in tensors.items()}


@pytest.mark.parametrize(
    ("body", "signature", "tensors", "rows"),
    [
        ({"instances": [[1], [2]]}, ONE, {"x": [[1], [2]]}, True),
        ({"instances": [{"x": [1]}, {"x": [2]}]}, ONE, {"x": [[1], [2]]}, True),
        ({"inputs": [[1], [2]]}, ONE, {"x": [[1], [2]]}, False),
        ({"inputs": {"x": [[1], [2]]}}, ONE, {"x": [[1], [2]]}, False),
        (
            {"instances": [{"b": "c", "a": 1}, {"a": 2, "b": {"b64": "ZA=="}}]},
            TWO,
            {"b": [b"c", b"d"], "a": [1, 2]},
            True,
        ),
        ({"inputs": {"a": [1], "b": ["c"]}, "more": 7}, TWO, {"a": [1], "b": [b"c"]}, False),
    ],
)
def test_rows_and_columns_are_the_same_tensors(
    body: dict[str, Any], signature: Signature, tensors: dict[str, Any], *, rows: bool
) -> None:
    found, by_row = decode(body, signature)
    assert lists(found) == tensors
    assert by_row == rows


def test_a_row_that_is_base64_alone_is_a_string_not_an_object() -> None:
    words = Signature((TensorSpec("w", DType.BYTES, (None,)),), (), batched=True)
    for key in ("instances", "inputs"):
        found, _ = decode({key: [{"b64": "ZA=="}]}, words)
        assert lists(found) == {"w": [b"d"]}


@pytest.mark.parametrize(
    ("body", "signature", "error", "message"),
    [
        ({}, ONE, MalformedRequest, "Missing 'inputs' or 'instances' key"),
        ({"inputs": [], "instances": []}, ONE, MalformedRequest, "expecting only one of"),
        ({"instances": []}, ONE, InvalidInput, "No values in 'instances' array"),
        ({"instances": "x"}, ONE, InvalidInput, "Expecting 'instances' to be an list"),
        ({"instances": [[1], {"x": [1]}]}, ONE, InvalidInput, "input 'x'"),
        ({"instances": [{"x": [1]}, [1]]}, ONE, InvalidInput, "got list at item 1 of input list"),
        ({"instances": [{"a": 1}, {"b": "c"}]}, TWO, InvalidInput, "'a' must be equal to: a,b"),
        ({"instances": [1]}, TWO, InvalidInput, "expecting list of objects.*: a,b"),
        ({"inputs": [1]}, TWO, InvalidInput, "expecting an object .*: a,b"),
        ({"inputs": {"c": [1]}}, TWO, InvalidInput, "Missing named input: a in 'inputs' object"),
        ({"inputs": {"x": [1], "c": [1]}}, ONE, InvalidInput, "unknown input 'c'; the model has x"),
        ({"instances": [{"c": 1}]}, TWO, InvalidInput, "keys 'c' must be equal to: a,b"),
        ({"instances": [[1], [2, 3]]}, ONE, InvalidInput, "ragged"),
    ],
)
def test_other_bodies_are_refused(
    body: dict[str, Any], signature: Signature, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        decode(body, signature)


def answer(*, rows: bool, **outputs: Array) -> Any:
    return json.loads(encode(PAIR.name, outputs, rows=rows).body)


def test_one_output_is_bare_and_several_are_named() -> None:
    a, b = np.array([1, 2], np.int32), np.array([[0.5], [np.inf]], np.float32)
    assert answer(rows=True, a=a) == {"predictions": [1, 2]}
    assert answer(rows=False, a=a) == {"outputs": [1, 2]}
    assert answer(rows=False, a=a, b=b) == {"outputs": {"a": [1, 2], "b": [[0.5], [np.inf]]}}
    assert answer(rows=True, a=a, b=b) == {
        "predictions": [{"a": 1, "b": [0.5]}, {"a": 2, "b": [np.inf]}]
    }


def test_bytes_are_base64_under_a_name_that_says_so() -> None:
    data = np.array([b"\xff"], object)
    assert answer(rows=True, image_bytes=data) == {"predictions": [{"b64": "/w=="}]}
    assert answer(rows=True, text=np.array([b"a"], object)) == {"predictions": ["a"]}


def test_outputs_without_rows_in_common_have_columns_only() -> None:
    a, b = np.zeros(2), np.zeros(3)
    assert answer(rows=False, a=a, b=b)["outputs"].keys() == {"a", "b"}
    for outputs in ({"a": a, "b": b}, {"a": np.zeros(())}):
        with pytest.raises(InvalidInput, match='have no rows in common: ask with "inputs"'):
            answer(rows=True, **outputs)


def test_a_served_model_is_named_where_its_outputs_have_no_rows() -> None:
    lone = serve("lone", [], [])
    with pytest.raises(InvalidInput, match="the outputs of 'lone'"):
        encode(lone.name, {"a": np.zeros(())}, rows=True)
