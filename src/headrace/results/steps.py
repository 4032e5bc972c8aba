"""The steps of the result processor: plain callables from one tensor to one tensor.

They work on the last axis, never write to their input (it may be a view of shared memory), and
compute in float32 (float64 where the input is).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    # A row of infinities has no softmax: NaN says so. What is too far below the largest number for
    # the dtype is infinitely far below, and its exponential is 0, as it should be.
    with np.errstate(invalid="ignore", over="ignore"):
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

    It is the first that ``top_k`` gives: of equal values the first, and none that is NaN.

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
    values = _comparable(tensor)
    if values.dtype.kind == "f" and np.isnan(values.max(axis=-1)).any():  # numpy's is the NaN
        rows = values.reshape(-1, values.shape[-1])
        return _best(rows, 1).reshape(values.shape[:-1])
    return np.asarray(values.argmax(axis=-1), dtype=np.int64)


def top_k(tensor: Array, k: int, labels: Sequence[bytes] = ()) -> Array:
    """The k largest along the last axis, best first, as BYTES ``<value>:<index>[:<label>]``.

    The last axis becomes ``min(k, its size)``. Equal values keep their order, NaN comes last, and
    an index past the labels has none.
    """
    size = min(k, tensor.shape[-1])
    shape = (*tensor.shape[:-1], size)
    if not tensor.size:
        return np.empty(shape, dtype=object)
    rows = _comparable(tensor).reshape(-1, tensor.shape[-1])
    best = _best(rows, size)
    values = rows[np.arange(len(rows))[:, np.newaxis], best]
    result = np.empty(best.size, dtype=object)
    result[:] = _entries(values.ravel().tolist(), best.ravel().tolist(), labels)
    return result.reshape(shape)


def _wide(tensor: Array) -> Array:
    return tensor if tensor.dtype == np.float64 else tensor.astype(np.float32, copy=False)


def _comparable(tensor: Array) -> Array:
    """The same order in a dtype that numpy sorts natively (not FP16, BF16)."""
    half = tensor.dtype.kind in "fV" and tensor.dtype.itemsize == _HALF_BYTES
    return tensor.astype(np.float32) if half else tensor  # ml_dtypes' bfloat16 is of kind V


def _best(rows: Array, k: int) -> Array:
    """The indices of the k largest of each row, best first, ties in order."""
    if rows.shape[-1] <= _SORT_LIMIT:
        return np.argsort(_falling(rows), axis=-1, kind="stable")[:, :k]
    best = np.empty((len(rows), k), dtype=np.int64)
    for place, row in zip(best, rows, strict=True):
        place[:] = _first(_falling(row), k)
    return best


def _falling(values: Array) -> Array:
    return -values if values.dtype.kind == "f" else ~values  # ~ cannot overflow where - does


def _first(falling: Array, k: int) -> Array:
    bound = np.partition(falling, k - 1)[k - 1]
    near = np.flatnonzero(falling <= bound)
    if near.size >= k:  # fewer when NaN is among the k
        return near[np.argsort(falling[near], kind="stable")[:k]]
    return np.argsort(falling, kind="stable")[:k]


def _entries(values: list[float], indices: list[int], labels: Sequence[bytes]) -> list[bytes]:
    kind = b"%d:%d" if isinstance(values[0], int) else b"%f:%d"
    entries = [kind % pair for pair in zip(values, indices, strict=True)]
    if not labels:
        return entries
    known = len(labels)
    return [
        b"%b:%b" % (entry, labels[index]) if index < known else entry
        for entry, index in zip(entries, indices, strict=True)
    ]
