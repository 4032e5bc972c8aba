from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InferenceFailed
from headrace.results.steps import argmax, sigmoid, softmax, top_k

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
ROWS = st.lists(FLOATS, min_size=1, max_size=20)
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


@given(ROWS)
def test_softmax_is_a_distribution_in_the_order_of_its_input(row: list[float]) -> None:
    tensor = np.array([row], np.float32)
    got = softmax(tensor)
    assert got.shape == tensor.shape
    assert got.dtype == np.float32
    assert np.isclose(got.sum(), 1, atol=1e-5)
    assert (got >= 0).all()
    assert (np.diff(got[0, np.argsort(tensor[0], kind="stable")]) >= 0).all()


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20))
def test_softmax_and_sigmoid_are_those_of_the_books(row: list[float]) -> None:
    tensor = np.array(row, np.float32)
    exact = tensor.astype(np.float64)
    powers = np.exp(exact)
    np.testing.assert_allclose(softmax(tensor), powers / powers.sum(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(sigmoid(tensor), 1 / (1 + np.exp(-exact)), rtol=1e-4, atol=1e-7)


@given(FLOATS)
def test_sigmoid_neither_overflows_nor_leaves_its_bounds(value: float) -> None:
    got = sigmoid(np.array([value, -value], np.float32))
    assert ((got >= 0) & (got <= 1)).all()
    assert np.isclose(got.sum(), 1, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_kept_and_computed_wider(dtype: type[np.generic]) -> None:
    tensor = np.array([[10.0, 10.0, -1000.0]], dtype)
    for step, expected in ((softmax, [0.5, 0.5, 0.0]), (sigmoid, [1.0, 1.0, 0.0])):
        got = step(tensor)
        assert got.dtype == tensor.dtype
        np.testing.assert_allclose(got[0].astype(np.float64), expected, atol=1e-2)
    # 300 ones summed in half precision would stop growing at 256 in bfloat16.
    many = softmax(np.zeros((1, 300), dtype))
    np.testing.assert_allclose(many.astype(np.float64), 1 / 300, rtol=1e-2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_the_numbers_farthest_apart_is_right_and_silent(
    dtype: type[np.generic],
) -> None:
    largest = ml_dtypes.finfo(dtype).max  # type: ignore[no-untyped-call]
    got = softmax(np.array([[largest, -largest], [-largest, -largest]], dtype))
    assert got.astype(np.float64).tolist() == [[1, 0], [0.5, 0.5]]


def test_infinities_give_nan_without_a_warning() -> None:
    assert np.isnan(softmax(np.full((1, 2), -np.inf, np.float32))).all()
    assert softmax(np.array([[0, -np.inf]], np.float32)).tolist() == [[1, 0]]
    assert sigmoid(np.array([np.inf, -np.inf], np.float32)).tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    tensor = np.empty(shape, np.float32)
    assert softmax(tensor).shape == shape
    assert sigmoid(tensor).shape == shape
    assert top_k(tensor, 2).shape == (shape[0], min(2, shape[1]))


@pytest.mark.parametrize("dtype", [*DTYPES, np.int8, np.uint64])
def test_argmax_is_int64_of_the_last_axis(dtype: type[np.generic]) -> None:
    got = argmax(np.array([[[1, 3, 2], [5, 4, 5]]], dtype))
    assert got.dtype == np.int64
    assert got.tolist() == [[1, 0]]


@given(ROWS, st.integers(1, 25))
def test_top_k_is_the_head_of_the_sorted_row(row: list[float], k: int) -> None:
    tensor = np.array(row, np.float32)
    order = sorted(range(len(row)), key=lambda index: -tensor[index])[:k]
    assert top_k(tensor, k).tolist() == [f"{tensor[i]:f}:{i}".encode() for i in order]


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 500))
def test_top_k_of_a_wide_row_is_that_of_sorting_it(seed: int, k: int, distinct: int) -> None:
    row = np.random.default_rng(seed).integers(0, distinct, 3000).astype(np.float32)
    order = np.argsort(-row, kind="stable")[:k]
    assert top_k(row, k).tolist() == [b"%f:%d" % (float(row[i]), i) for i in order]


@pytest.mark.parametrize("size", [4, 3000])
def test_nan_comes_last(size: int) -> None:
    row = np.full(size, np.nan, np.float32)
    row[2] = 1
    assert top_k(row, 2).tolist() == [b"1.000000:2", b"nan:0"]
    assert argmax(row) == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_argmax_is_never_nan_where_there_is_a_number(dtype: type[np.generic]) -> None:
    nan, low = np.nan, -np.inf
    rows = [[nan, 1, 3, 2], [1, 0, nan, 1], [nan, nan, low, nan], [nan] * 4, [1, 2, 3, 4]]
    got = argmax(np.array([rows], dtype))
    assert got.dtype == np.int64
    assert got.tolist() == [[2, 0, 2, 0, 3]]


def test_integers_at_their_limits_keep_their_order() -> None:
    signed = np.array([-(2**63), 2**63 - 1, 0], np.int64)
    assert top_k(signed, 3).tolist() == [
        b"9223372036854775807:1",
        b"0:2",
        b"-9223372036854775808:0",
    ]
    unsigned = np.array([0, 2**64 - 1, 1], np.uint64)
    assert top_k(unsigned, 2).tolist() == [b"18446744073709551615:1", b"1:2"]


def test_labels_end_where_they_end() -> None:
    row = np.array([1, 2], np.float32)
    assert top_k(row, 2, [b"cat"]).tolist() == [b"2.000000:1", b"1.000000:0:cat"]


def test_argmax_of_rows_without_elements_is_no_answer() -> None:
    with pytest.raises(InferenceFailed, match=r"shape \[2, 0\]"):
        argmax(np.empty((2, 0), np.float32))
    assert argmax(np.empty((0, 0), np.float32)).shape == (0,)
    assert argmax(np.empty((0, 3), np.float32)).shape == (0,)
