"""The steps of the result processor: plain callables from one tensor to one tensor.

They work on the last axis, never write to their input (it may be a view of shared memory), and
compute in float32 (float64 where the input is).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headrace.errors import InferenceFailed
from headrace.values import Array

Step = Callable[[Array], Array]
"""One step."""

# Up to here sorting a whole row costs no more than finding its k best first (9 µs, measured).
_SORT_LIMIT = 256
_HALF_BYTES = 2


def softmax(tensor: Array) -> Array:
    """Exponentials that sum to 1 along the last axis; same shape and dtype."""
    if tensor.size == 0:
        return tensor
    wide = _wide(tensor)
    with np.errstate(invalid="ignore"):  # a row of infinities has no softmax: NaN says so
        powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
        result = powers / powers.sum(axis=-1, keepdims=True)
    return np.asarray(result.astype(tensor.dtype, copy=False))


def sigmoid(tensor: Array) -> Array:
    """``1 / (1 + exp(-x))`` for every element, without overflow; same shape and dtype."""
    wide = _wide(tensor)
    power = np.exp(-np.abs(wide))
    result = np.where(wide >= 0, 1 / (1 + power), power / (1 + power))
    return np.asarray(result.astype(tensor.dtype, copy=False))


def argmax(tensor: Array) -> Array:
    """The place of the largest element along the last axis, which goes; INT64.

    Raises:
        InferenceFailed: there are rows, and no element in them.
    """
    if not tensor.shape[-1]:
        empty = np.empty(tensor.shape[:-1], np.int64)
        if empty.size:
            raise InferenceFailed(
                f"argmax: the model's output is of shape {list(tensor.shape)}: there is nothing to "
                "choose from"
            )
        return empty
    return np.asarray(_comparable(tensor).argmax(axis=-1), dtype=np.int64)


def top_k(tensor: Array, k: int, labels: Sequence[bytes] = ()) -> Array:
    """The k largest along the last axis, best first, as BYTES ``<value>:<index>[:<label>]``.

    The last axis becomes ``min(k, its size)``. Equal values keep their order, NaN comes last, and
    an index past the labels has none.
    """
    size = min(k, tensor.shape[-1])
    rows = tensor.reshape(-1, tensor.shape[-1]) if tensor.size else tensor.reshape(0, 1)
    result = np.empty((*tensor.shape[:-1], size), dtype=object)
    flat = result.reshape(-1, size) if result.size else result.reshape(0, 1)
    for number, row in enumerate(rows):
        for place, index in enumerate(_best(_comparable(row), size)):
            flat[number, place] = _entry(row[index], int(index), labels)
    return result


def _wide(tensor: Array) -> Array:
    return tensor if tensor.dtype == np.float64 else tensor.astype(np.float32, copy=False)


def _comparable(tensor: Array) -> Array:
    """The same order in a dtype that numpy sorts natively (not FP16, BF16)."""
    half = tensor.dtype.kind in "fV" and tensor.dtype.itemsize == _HALF_BYTES
    return tensor.astype(np.float32) if half else tensor  # ml_dtypes' bfloat16 is of kind V


def _best(row: Array, k: int) -> Array:
    """The indices of the k largest, best first, ties in order."""
    falling = -row if row.dtype.kind == "f" else ~row  # ~ cannot overflow where - does
    if row.size > _SORT_LIMIT:
        bound = np.partition(falling, k - 1)[k - 1]
        near = np.flatnonzero(falling <= bound)
        if near.size >= k:  # fewer when NaN is among the k
            return near[np.argsort(falling[near], kind="stable")[:k]]
    return np.argsort(falling, kind="stable")[:k]


def _entry(value: Any, index: int, labels: Sequence[bytes]) -> bytes:
    number = b"%d" % value if isinstance(value, np.integer) else b"%f" % float(value)
    if index < len(labels):
        return b"%b:%d:%b" % (number, index, labels[index])
    return b"%b:%d" % (number, index)
