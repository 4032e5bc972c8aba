"""Requests made up from a signature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given as fuzz
from hypothesis import strategies as st

from headrace.errors import SettingsError
from headrace.load.synthetic import DIFFERENT, Shape, complete, given, make_requests
from headrace.values import DType, TensorSpec

IDS = TensorSpec("ids", DType.INT64, (None, None))
IMAGE = TensorSpec("image", DType.FP32, (None, 3, 8, 8))


@fuzz(st.sampled_from(DType), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 2**32))
def test_a_request_has_the_names_types_and_shapes_that_were_said(
    dtype: DType, sizes: list[int], seed: int
) -> None:
    specs = (TensorSpec("x", dtype, tuple(sizes)),)
    for request in make_requests(specs, seed):
        assert request.keys() == {"x"}
        assert DType.of(request["x"].dtype) is dtype
        assert request["x"].shape == tuple(sizes)


@pytest.mark.parametrize("shape", [(10**9, 1), (10**9, 10**9, 10**9)])
def test_requests_too_large_to_be_made_are_told_with_their_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=r"MiB is more than .*: give a smaller --batch"):
        make_requests((TensorSpec("x", DType.FP32, shape),), seed=0)


def test_requests_differ_and_are_the_same_for_the_same_seed() -> None:
    specs = complete((IMAGE,), {}, rows=2)
    first, again, other = (make_requests(specs, seed) for seed in (1, 1, 2))
    assert len({request["image"].tobytes() for request in first}) == DIFFERENT
    np.testing.assert_array_equal(first[3]["image"], again[3]["image"])
    assert not np.array_equal(first[0]["image"], other[0]["image"])


@pytest.mark.parametrize("dtype", [one for one in DType if one.numpy.kind in "iu"])
def test_whole_numbers_are_valid_in_every_table(dtype: DType) -> None:
    (request, *_) = make_requests((TensorSpec("x", dtype, (1, 100)),), seed=0)
    assert set(request["x"].ravel().tolist()) == {0, 1}


def test_the_first_free_dimension_is_the_rows_and_shapes_fill_the_rest() -> None:
    (spec,) = complete((IMAGE,), {}, rows=5)
    assert spec.shape == (5, 3, 8, 8)
    (spec,) = complete((IDS,), {"ids": Shape((2, 128))}, rows=5)
    assert (spec.shape, spec.dtype) == ((2, 128), DType.INT64)
    (spec,) = complete((IDS,), {"ids": Shape((2, 128), DType.INT32)}, rows=5)
    assert spec.dtype is DType.INT32


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, r"--shape ids=1,\?, with numbers in place of the question marks"),
        ({"idz": Shape((1,))}, "--shape idz: the model's inputs are ids"),
    ],
)
def test_what_cannot_be_made_up_is_asked_for(shapes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        complete((IDS,), shapes, rows=1)


def test_nobody_is_asked_only_where_every_type_is_given() -> None:
    assert given({}) is None
    assert given({"a": Shape((1,))}) is None
    assert given({"a": Shape((1,), DType.FP32), "b": Shape((2,))}) is None
    (spec,) = given({"a": Shape((1, 2), DType.FP32)}) or ()
    assert spec == TensorSpec("a", DType.FP32, (1, 2))
