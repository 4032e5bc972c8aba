"""TensorFlow Serving's numbers and line breaks, to the byte."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.receiver.tfserving import json as tfserving_json
from headrace.values import Array
from tests.contract.tensors import STEADY


def as_c_prints_it(value: float, dtype: type[np.floating[Any]]) -> str:
    """Six digits if they say it, else all, and a point: one number by C's printf."""
    if not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(float(value))]
    text = f"{value:.6g}"
    if dtype(float(text)) != value:
        text = f"{value:.9g}" if dtype is np.float32 else f"{value:.17g}"
    return text if "." in text or "e" in text else f"{text}.0"


def floats(dtype: type[np.floating[Any]]) -> st.SearchStrategy[Array]:
    width = np.dtype(dtype).itemsize * 8
    plain = st.floats(width=64 if width == 64 else 32)
    short = st.builds(
        lambda m, e: float(dtype(f"{m}e{e}")), st.integers(-(10**7), 10**7), st.integers(-30, 30)
    )
    whole = st.integers(-(2**40), 2**40).map(lambda n: float(dtype(n)))
    return hnp.arrays(dtype, st.integers(0, 40), elements=st.one_of(plain, short, whole))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_those_of_printf(dtype: type[np.floating[Any]]) -> None:
    @STEADY
    @given(floats(dtype))
    # A tie between six digits and their neighbour, on either side; the ends of the range.
    @example(np.array([27465601024.0, 97676795904.0] * 20, dtype))
    @example(np.array([0.0, -0.0, 1e-4, 1e-5, 999999, 1e6, 3.4028234663852886e38, 1e-45], dtype))
    def check(array: Array) -> None:
        many = np.concatenate([array, np.ones(tfserving_json._FEW, dtype)])
        expected = [as_c_prints_it(value, dtype) for value in many.tolist()]
        assert tfserving_json.numbers(many) == expected
        assert (
            tfserving_json.numbers(array[: tfserving_json._FEW])
            == expected[: min(len(array), tfserving_json._FEW)]
        )

    check()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_every_size_are_those_of_printf(dtype: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(7)
    size = np.dtype(dtype).itemsize
    bits = rng.integers(0, 2 ** (8 * size - 1), 5000, np.uint64).astype(f"u{size}").view(dtype)
    powers = np.array([f"{m}e{e}" for m in (1, -9.999995, 123456) for e in range(-37, 33)], dtype)
    likely = rng.dirichlet(np.full(1000, 0.1)).astype(dtype)
    for array in (bits, powers, likely):
        expected = [as_c_prints_it(value, dtype) for value in array.tolist()]
        assert tfserving_json.numbers(array) == expected


def test_numbers_of_the_documentation() -> None:
    found = tfserving_json.numbers(
        np.array([9000000, 999999, 0.5, 0.0003, 0.00003, 555557.5, 0.2, 1 / 3], np.float32)
    )
    assert found == [
        "9e+06", "999999.0", "0.5", "0.0003", "3e-05", "555557.5", "0.2", "0.333333343",
    ]  # fmt: skip


def rows(**outputs: Array) -> str:
    return tfserving_json.predictions(outputs).decode()


def columns(**outputs: Array) -> str:
    return tfserving_json.columns(outputs).decode()


MATRIX = np.array([[1, 2], [3, 4]], np.int32)
WORDS = np.array([b"a", b'"\xff'], object)


def test_rows_are_a_line_each() -> None:
    assert rows(y=MATRIX) == '{\n    "predictions": [[1, 2], [3, 4]\n    ]\n}'
    assert rows(y=np.array([True, False])) == '{\n    "predictions": [true, false\n    ]\n}'
    assert rows(y=MATRIX.reshape(1, 2, 2)) == ('{\n    "predictions": [[[1, 2], [3, 4]]\n    ]\n}')
    assert rows(y=np.array([0.5, np.nan], np.float32)) == (
        '{\n    "predictions": [0.5, NaN\n    ]\n}'
    )


def test_rows_of_several_outputs_are_objects() -> None:
    assert rows(y=MATRIX, z=np.array([1.5, -np.inf])) == (
        '{\n    "predictions": [\n'
        '        {\n            "y": [1, 2],\n            "z": 1.5\n        },\n'
        '        {\n            "y": [3, 4],\n            "z": -Infinity\n        }\n'
        "    ]\n}"
    )


def test_columns_are_an_element_a_line() -> None:
    assert columns(y=MATRIX[:1]) == (
        '{\n    "outputs": [\n        [\n            1,\n            2\n        ]\n    ]\n}'
    )
    assert columns(y=np.array(0.5)) == '{\n    "outputs": 0.5\n}'
    assert columns(y=np.array(7, np.uint64), z=np.array([1], np.int8)) == (
        '{\n    "outputs": {\n        "y": 7,\n        "z": [\n            1\n        ]\n    }\n}'
    )


def test_strings_are_text_or_base64() -> None:
    assert rows(w=WORDS) == '{\n    "predictions": ["a", "\\"\ufffd"\n    ]\n}'
    assert rows(w_bytes=WORDS) == (
        '{\n    "predictions": [{\n            "b64": "YQ=="\n        }, '
        '{\n            "b64": "Iv8="\n        }\n    ]\n}'
    )
    assert columns(w_bytes=WORDS[:1]) == (
        '{\n    "outputs": [\n        {\n            "b64": "YQ=="\n        }\n    ]\n}'
    )


def test_nothing_is_written_as_nothing() -> None:
    assert rows(y=MATRIX[:0]) == '{\n    "predictions": []\n}'
    assert rows(y=MATRIX[:, :0]) == '{\n    "predictions": [[], []\n    ]\n}'
    assert rows(y=MATRIX[:0], z=MATRIX[:0]) == '{\n    "predictions": []\n}'
    assert columns(y=MATRIX[:0]) == '{\n    "outputs": []\n}'


def test_results_are_a_line_each() -> None:
    found = tfserving_json.results([[("a", 0.25), ('"', 1.0)], [("b", 0.1)]]).decode()
    assert found == ('{\n    "results": [[["a", 0.25], ["\\"", 1.0]], [["b", 0.1]]\n    ]\n}')
    assert (
        tfserving_json.values(np.array([1.0, 0.1], np.float32)).decode()
        == '{\n    "results": [1.0, 0.1]\n}'
    )


def test_what_is_large_is_compact_and_says_the_same() -> None:
    rng = np.random.default_rng(0)
    large = rng.standard_normal((2, tfserving_json.PRETTY_ELEMENTS)).astype(np.float32)
    large[0, :3] = [np.nan, np.inf, 2]
    for text, key in ((rows(y=large), "predictions"), (columns(y=large), "outputs")):
        assert "\n" not in text
        np.testing.assert_array_equal(np.array(json.loads(text)[key], np.float32), large)
    small = large[:, :2]
    assert list(json.loads(rows(y=large, z=small))["predictions"][1]) == ["y", "z"]
    assert list(json.loads(columns(y=large, z=small))["outputs"]) == ["y", "z"]
    names = np.full(tfserving_json.PRETTY_ELEMENTS + 1, b"\xff", object)
    assert json.loads(rows(w_bytes=names))["predictions"][0] == {"b64": "/w=="}


def test_large_results_are_compact_and_say_the_same() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2, tfserving_json.PRETTY_ELEMENTS)).astype(np.float32)
    for first in (0.5, np.nan, -np.inf):
        scores[0, 0] = first
        named = [[(f"é{n}", value) for n, value in enumerate(row)] for row in scores.tolist()]
        text = tfserving_json.results(named)
        assert b"\n" not in text
        found = json.loads(text)["results"]
        assert [[label for label, _ in row] for row in found] == [[n for n, _ in r] for r in named]
        read = np.array([[score for _, score in row] for row in found], np.float32)
        np.testing.assert_array_equal(read, scores)
        text = tfserving_json.values(scores.ravel())
        assert b"\n" not in text
        np.testing.assert_array_equal(
            np.array(json.loads(text)["results"], np.float32), scores.ravel()
        )
    edge = [[("a", 1.0)] * tfserving_json.PRETTY_ELEMENTS]
    assert tfserving_json.results(edge).startswith(b"{\n")
    assert not tfserving_json.results([*edge, [("a", 1.0)]]).startswith(b"{\n")


def test_rows_of_nothing_are_written_and_count() -> None:
    hollow = np.empty((tfserving_json.PRETTY_ELEMENTS + 1, 0), np.float32)
    for text, key in ((rows(y=hollow), "predictions"), (columns(y=hollow), "outputs")):
        assert "\n" not in text
        assert json.loads(text)[key] == [[]] * len(hollow)
