"""JSON to tensors and back: what is taken, what is refused, and what a value looks like."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from headrace.errors import InvalidInput, MalformedRequest
from headrace.receiver.codecs.json_tensor import dumps, parse, to_json, to_tensor
from headrace.values import Array, DType


def strings(*elements: bytes) -> Array:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


# -- parsing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b'{"a": [1, 2.5, "\xc3\xa9"]}', {"a": [1, 2.5, "é"]}),
        (b'{"a": [Infinity, -Infinity]}', {"a": [np.inf, -np.inf]}),
        (b'{"NaN": 1, "a": "\\u00e9 NaN"}', {"NaN": 1, "a": "é NaN"}),
        (b'{"a": Infinity, "b": "\\ud83d\\ude00"}', {"a": np.inf, "b": "\N{GRINNING FACE}"}),
    ],
)
def test_an_object_is_parsed_infinities_too(body: bytes, value: object) -> None:
    assert parse(body) == value
    assert parse(memoryview(body)) == value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: .* at offset: 0"),
        (b"{", "JSON Parse error"),
        (b'{"a": 1} x', "JSON Parse error: .* at offset: 9"),
        (b'{"a": 1e400}', "number is infinity"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b'{"a": NaN', "JSON Parse error"),
        (b'{"a": NaN, "b": "\\ud800"}', "JSON Parse error"),
        (b'{"a": NaN, "b": %b}' % (b"9" * 5000), "JSON Parse error"),
        (b"[" * 5000, "JSON Parse error"),
        (b"[" * 5000 + b"NaN", "JSON Parse error"),
        (b"[]", "must be a JSON object, not a list"),
        (b'"a"', "not a string"),
        (b"true", "not a boolean"),
        (b"null", "not null"),
        (b"NaN", "not a number"),
    ],
)
def test_anything_else_is_malformed(body: bytes, message: str) -> None:
    with pytest.raises(MalformedRequest, match=message):
        parse(body)


@pytest.mark.parametrize("number", ["1e400", "-1e999"])
@pytest.mark.parametrize("first_only", [False, True])
def test_no_number_that_is_too_large_becomes_infinity(number: str, first_only: bool) -> None:
    for beside in ("1", "NaN", "Infinity"):
        body = f'{{"a": [{beside}, {number}]}}'.encode()
        with pytest.raises(MalformedRequest, match=r"is infinity|is too large"):
            parse(body, first_only=first_only)


# -- tensors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([[1, 2], [3, 4]], DType.FP32, np.array([[1, 2], [3, 4]], np.float32)),
        (7, DType.INT8, np.array(7, np.int8)),
        ([True, False], DType.BOOL, np.array([True, False])),
        ([1, 2.5], DType.FP64, np.array([1, 2.5])),
        ([0, 2**64 - 1], DType.UINT64, np.array([0, 2**64 - 1], np.uint64)),
        ([[1], [2**63 + 1]], DType.UINT64, np.array([[1], [2**63 + 1]], np.uint64)),
        ([-(2**63), 2**63 - 1], DType.INT64, np.array([-(2**63), 2**63 - 1], np.int64)),
        ([], DType.INT32, np.array([], np.int32)),
        ([[], []], DType.BOOL, np.empty((2, 0), np.bool_)),
        ([], DType.BYTES, np.empty(0, object)),
        ("a", DType.BYTES, np.array(b"a", object)),
        ([{"b64": "aGVs\nbG8\r\n"}], DType.BYTES, strings(b"hello")),
        ([{"b64": "/w"}, {"b64": " "}], DType.BYTES, strings(b"\xff", b"")),
        ([["é", {"b64": "/w=="}]], DType.BYTES, strings("é".encode(), b"\xff").reshape(1, 2)),
    ],
)
def test_values_become_tensors(value: object, dtype: DType, expected: Array) -> None:
    array = to_tensor("x", value, dtype)
    assert array.dtype == dtype.numpy
    assert array.shape == expected.shape
    assert array.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([[1], [1, 2]], DType.FP32, "ragged"),
        ([1, [2]], DType.FP32, "ragged"),
        ([1, None], DType.FP32, "null, objects or elements of several kinds"),
        ({"a": 1}, DType.FP32, "null, objects or elements of several kinds"),
        (["1"], DType.INT32, "is INT32, the JSON has strings"),
        ("1", DType.FP32, "is FP32, the JSON has strings"),
        ([1, 2.5, "1"], DType.FP32, "the JSON has strings"),
        ([[1, 2], [True, "1"]], DType.FP32, "the JSON has strings"),
        ([10**400, 0.5, "1"], DType.FP32, "the JSON has strings"),
        ([1, ["1"]], DType.FP32, "the JSON has strings"),
        ([np.zeros(2), np.zeros(3)], DType.FP32, "ragged"),
        ([0, np.zeros(2), np.zeros(3)], DType.FP32, "ragged"),
        ([np.zeros(2), ["1"]], DType.FP32, "the JSON has strings"),
        ([True], DType.FP32, "is FP32, the JSON has booleans"),
        ([1.5, True], DType.FP32, "is FP32, the JSON has booleans"),
        ([[[2, 3]], [[4, False]]], DType.FP64, "is FP64, the JSON has booleans"),
        ([[True, 2]], DType.INT64, "is INT64, the JSON has booleans"),
        ([True, 2**63], DType.UINT64, "is UINT64, the JSON has booleans"),
        ([0], DType.BOOL, "is BOOL, the JSON has integers"),
        ([1.0], DType.INT32, "is INT32, the JSON has fractions"),
        ([128], DType.INT8, "does not fit INT8"),
        ([-1], DType.UINT8, "does not fit UINT8"),
        ([-1, 2**63], DType.UINT64, "does not fit UINT64"),
        ([2**63], DType.INT64, "does not fit INT64"),
        ([2**70], DType.INT64, "elements of several kinds"),
        ([1e39], DType.FP32, "does not fit FP32"),
        ([65536], DType.FP16, "does not fit FP16"),
        ([1e39], DType.BF16, "does not fit BF16"),
        ([1], DType.BYTES, "is BYTES: give strings or .*, not a number"),
        ([None], DType.BYTES, "not null"),
        ([{"b64": 1}], DType.BYTES, "broken base64"),
        ([{"b64": "a"}], DType.BYTES, "broken base64"),
        ([{"b64": "é"}], DType.BYTES, "broken base64"),
        ([{"b64": "/w="}], DType.BYTES, "broken base64"),
        ([{"b64": "YQ==\N{NO-BREAK SPACE}"}], DType.BYTES, "broken base64"),
        ([{"b64": "_w=="}], DType.BYTES, "broken base64"),
        ([{"b64": "YQ==", "more": 1}], DType.BYTES, "not an object"),
        (["a", ["b"]], DType.BYTES, "ragged"),
    ],
)
def test_values_of_another_kind_are_refused(value: object, dtype: DType, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"input 'x'.*{message}"):
        to_tensor("x", value, dtype)


def test_one_long_string_among_many_takes_no_memory_to_be_refused() -> None:
    """As an array of numpy's each would be as long as the longest: 1.2 GB."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="the JSON has strings"):
            to_tensor("x", ["a" * 30_000] + [""] * 10_000, DType.INT64)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BYTES])
def test_lists_in_lists_without_an_end_are_refused(dtype: DType) -> None:
    value: Any = "a" if dtype is DType.BYTES else 1
    for _ in range(100):
        value = [value]
    with pytest.raises(InvalidInput, match="input 'x'"):
        to_tensor("x", value, dtype)


def test_infinities_and_nan_are_numbers() -> None:
    array = to_tensor("x", [np.inf, -np.inf, np.nan, 0.5], DType.FP16)
    assert np.array_equal(
        array, np.array([np.inf, -np.inf, np.nan, 0.5], np.float16), equal_nan=True
    )


def test_a_shape_takes_flat_elements_or_nested_ones() -> None:
    for value in ([1, 2, 3, 4], [[1, 2], [3, 4]], [[[1], [2]], [[3], [4]]]):
        assert to_tensor("x", value, DType.FP32, (2, 2)).tolist() == [[1, 2], [3, 4]]
    assert to_tensor("x", [5], DType.FP32, ()).shape == ()
    assert to_tensor("x", [], DType.BYTES, (3, 0)).shape == (3, 0)
    with pytest.raises(InvalidInput, match=r"shape \[2, 2\] has 4 elements, the data 3"):
        to_tensor("x", [1, 2, 3], DType.FP32, (2, 2))


# -- answers ---------------------------------------------------------------------------------------


def written(array: Array, **options: bool) -> str:
    return dumps(to_json(array, **options), arrays=[array]).decode()


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([[1, 0.1]], np.float32), "[[1.0,0.1]]"),
        (np.array([[1, 2], [3, 4]], np.float32).T, "[[1.0,3.0],[2.0,4.0]]"),
        (np.array([0.5, 2], np.float16), "[0.5,2.0]"),
        (np.array([0.5, 2]).astype(DType.BF16.numpy), "[0.5,2.0]"),
        (np.array([2**64 - 1], np.uint64), "[18446744073709551615]"),
        (np.array([True, False]), "[true,false]"),
        (np.empty((2, 0), np.int8), "[[],[]]"),
        (np.array(7, np.int64), "7"),
        (np.array(0.5, np.float16), "0.5"),
        (np.ones((), np.bool_), "true"),
        (np.array(b"a", object), '"a"'),
        (strings("é".encode(), b"\xff"), '["é","\N{REPLACEMENT CHARACTER}"]'),
        (np.array(["a"]), '["a"]'),
    ],
)
def test_tensors_are_written_as_json(array: Array, text: str) -> None:
    assert written(array) == text


def test_strings_are_written_as_base64_where_asked() -> None:
    assert written(strings(b"\xff"), base64_bytes=True) == '[{"b64":"/w=="}]'


@pytest.mark.parametrize("dtype", [DType.FP16, DType.BF16, DType.FP32, DType.FP64])
def test_what_is_not_finite_is_written_as_tensorflow_serving_does(dtype: DType) -> None:
    array = np.array([np.nan, np.inf, -np.inf, 0.5]).astype(dtype.numpy)
    assert written(array) == "[NaN, Infinity, -Infinity, 0.5]"
    assert written(array[:1].reshape(())) == "NaN"
    rows = [{"y": value} for value in to_json(array[:2])]
    assert dumps({"predictions": rows}, arrays=[array]) == (
        b'{"predictions": [{"y": NaN}, {"y": Infinity}]}'
    )


def test_one_that_is_not_finite_leaves_the_others_what_they_are() -> None:
    arrays: list[Array] = [
        np.array([2**53 + 1], np.int64),
        np.array([np.nan], np.float32),
        strings(b"a"),
    ]
    text = dumps([to_json(array) for array in arrays], arrays=arrays)
    assert json.loads(text)[0] == [2**53 + 1]
    assert json.loads(text)[2] == ["a"]
