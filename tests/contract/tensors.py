"""Tensors that are awkward, equal, or anything at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from headrace.values import Array, DType
from tests.contract.codecs import tensor

# The same examples every time. A decoder that hangs runs into the deadline; one that a busy machine
# keeps waiting does not.
STEADY = settings(derandomize=True, deadline=timedelta(seconds=5))


def same(left: Array, right: Array) -> bool:
    """Whether two tensors are equal; every NaN is as good as another."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype == object or left.dtype.kind in "biu":
        return bool(left.tolist() == right.tolist())
    with np.errstate(invalid="ignore"):  # a NaN that signals does so when it is converted
        wide = left.astype(np.float64), right.astype(np.float64)
    signs = [np.signbit(one)[~np.isnan(one)] for one in wide]
    return np.array_equal(wide[0], wide[1], equal_nan=True) and np.array_equal(signs[0], signs[1])


def extremes(dtype: DType) -> Array:
    """A dtype's most awkward finite values, two rows of them."""
    if dtype is DType.BYTES:
        return tensor(dtype, (2, 2), [b"", "日本\0".encode(), b"x" * 300, b'"\\'])
    if dtype is DType.BOOL:
        return np.array([[True, False], [False, False]])
    if dtype.numpy.kind in "iu":
        limits = np.iinfo(dtype.numpy)
        return np.array([[limits.min, limits.max], [1, limits.max - 1]], dtype.numpy)
    return np.array([[1.5, -0.0], [0.1, 65504.0]], np.float64).astype(dtype.numpy)


def not_finite(dtype: DType) -> Array:
    """NaN and the infinities."""
    return np.array([[np.nan, 0.1], [np.inf, -np.inf]], np.float64).astype(dtype.numpy)


@st.composite
def tensors(draw: st.DrawFn, dtypes: Sequence[DType], shapes: st.SearchStrategy[Any]) -> Array:
    """A tensor of one of the dtypes and shapes; strings are text, numbers any bits there are."""
    dtype, shape = draw(st.sampled_from(dtypes)), draw(shapes)
    count = math.prod(shape)
    if dtype is DType.BYTES:
        texts = st.lists(st.text(max_size=8), min_size=count, max_size=count)
        return tensor(dtype, shape, (text.encode() for text in draw(texts)))
    if dtype is DType.BOOL:
        return tensor(dtype, shape, draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    size = count * dtype.numpy.itemsize
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype.numpy).reshape(shape)
