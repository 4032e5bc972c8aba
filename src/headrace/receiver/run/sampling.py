"""One row of a request as the model was given it, with its answer: copies, for slots are reused.

Pure. What is taken is padded as it ran and not cut back, so that it is the model's own. Of a
request of many rows one says as much as all: rows do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.engine.samples import Sample
from headrace.values import Array


def sample(
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    row: int | None,
    shapes: Mapping[str, Sequence[int]],
    pad_values: Mapping[str, float],
) -> Sample:
    """Take the first row of a request, which is ``row`` of the batch's outputs.

    ``row`` None: the model does not batch, and all of it is taken. ``shapes`` are those of a row
    as it ran, where it was padded.
    """
    if row is None:
        return Sample(_copies(inputs), _copies(outputs))
    first = {name: array[:1] for name, array in inputs.items()}
    padded = {
        name: _padded(array, shapes.get(name), pad_values.get(name, 0))
        for name, array in first.items()
    }
    return Sample(padded, _copies({n: array[row : row + 1] for n, array in outputs.items()}))


def _copies(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def _padded(array: Array, item: Sequence[int] | None, pad_value: float) -> Array:
    if item is None or array.dtype.hasobject or array.shape[1:] == tuple(item):
        return array.copy()
    whole = np.full((1, *item), pad_value, array.dtype)
    whole[(slice(None), *map(slice, array.shape[1:]))] = array
    return whole
