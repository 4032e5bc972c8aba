"""Which requests may share a batch: their shapes, padded up to the card's buckets, are equal.

Pure. Padded outputs are cropped where the signature ties an output's axis to an input's by name.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from headrace.settings import ModelSettings
from headrace.values import Array, Signature


class Fit(NamedTuple):
    """How one shape of request is run.

    ``item_shapes`` are the padded shapes of one row by input (None: no padding), ``elements`` how
    many input elements a row has after padding and ``asked`` before, ``crops`` what to cut outputs
    back to: (output, axis, size).
    """

    bucket: tuple[tuple[int, ...], ...]
    item_shapes: Mapping[str, tuple[int, ...]] | None
    elements: int
    crops: tuple[tuple[str, int, int], ...]
    asked: int


# Shapes seen, so that a stream of equal shapes costs one look-up; bounded against hostile variety.
_REMEMBERED = 4096


class Shaper:
    """Fits requests of one model into buckets."""

    def __init__(self, signature: Signature, settings: ModelSettings) -> None:
        self._names = tuple(spec.name for spec in signature.inputs)
        self._batched = signature.batched
        self._buckets = {
            name: {axis: tuple(sorted(sizes)) for axis, sizes in axes.items()}
            for name, axes in settings.buckets.items()
        }
        self._ties = _ties(signature) if self._buckets else {}
        self._seen: dict[tuple[tuple[int, ...], ...], Fit] = {}

    def fit(self, inputs: Mapping[str, Array]) -> Fit:
        """Return how a request with these inputs is run; its rows do not matter."""
        start = 1 if self._batched else 0
        key = tuple([inputs[name].shape[start:] for name in self._names])
        fit = self._seen.get(key)
        if fit is None:
            fit = self._make(key)
            if len(self._seen) < _REMEMBERED:
                self._seen[key] = fit
        return fit

    def _make(self, shapes: tuple[tuple[int, ...], ...]) -> Fit:
        padded = tuple(
            self._pad(name, shape) for name, shape in zip(self._names, shapes, strict=True)
        )
        elements = sum(math.prod(shape) for shape in padded)
        if padded == shapes:
            return Fit(padded, None, elements, (), elements)
        sizes = {
            (name, axis + 1): (before, after)
            for name, was, now in zip(self._names, shapes, padded, strict=True)
            for axis, (before, after) in enumerate(zip(was, now, strict=True))
        }
        crops = tuple(
            (output, axis, sizes[tied][0])
            for (output, axis), tied in self._ties.items()
            if sizes[tied][0] != sizes[tied][1]
        )
        asked = sum(math.prod(shape) for shape in shapes)
        return Fit(padded, dict(zip(self._names, padded, strict=True)), elements, crops, asked)

    def _pad(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        axes = self._buckets.get(name)
        if axes is None or not self._batched:
            return shape
        padded = list(shape)
        for axis, sizes in axes.items():
            place = bisect_left(sizes, padded[axis - 1])
            if place < len(sizes):
                padded[axis - 1] = sizes[place]
        return tuple(padded)


def _ties(signature: Signature) -> dict[tuple[str, int], tuple[str, int]]:
    """Map (output, axis) → (input, axis) where both carry the same free name, batch axis apart."""
    named = {
        dim: (spec.name, axis)
        for spec in signature.inputs
        for axis, dim in enumerate(spec.shape)
        if axis and isinstance(dim, str)
    }
    return {
        (spec.name, axis): named[dim]
        for spec in signature.outputs
        for axis, dim in enumerate(spec.shape)
        if axis and isinstance(dim, str) and dim in named
    }


def crop(outputs: Mapping[str, Array], crops: tuple[tuple[str, int, int], ...]) -> dict[str, Array]:
    """Cut padded output axes back to the request's own sizes."""
    cut = dict(outputs)
    for name, axis, size in crops:
        cut[name] = cut[name][(slice(None),) * axis + (slice(0, size),)]
    return cut
