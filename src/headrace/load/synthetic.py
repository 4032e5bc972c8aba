"""Requests made up from what a model says it takes: pure, and the same for the same seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headrace.errors import SettingsError
from headrace.load.apis.contract import Inputs, Specs
from headrace.values import Array, DType, TensorSpec

DIFFERENT = 8
"""Requests that differ, so that no cache of anybody's helps."""

# Of one request; servers take far less, and gRPC no more than twice that.
_MOST_BYTES = 2**30
_WORDS = (b"water", b"mill", b"wheel", b"stream")


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape that somebody gave for an input, with a type where the server is not asked."""

    sizes: tuple[int, ...]
    dtype: DType | None = None


def complete(specs: Specs, shapes: Mapping[str, Shape], rows: int) -> Specs:
    """Fill the free dimensions: the first with the rows of a request, others from ``shapes``.

    Raises:
        SettingsError: a free dimension nobody gave, or a shape of an input there is not.
    """
    strangers = shapes.keys() - {spec.name for spec in specs}
    if strangers:
        known = ", ".join(spec.name for spec in specs)
        raise SettingsError(f"--shape {min(strangers)}: the model's inputs are {known}")
    return tuple(_complete(spec, shapes.get(spec.name), rows) for spec in specs)


def given(shapes: Mapping[str, Shape]) -> Specs | None:
    """Return the inputs where types and shapes of all were given, so that nobody is asked."""
    specs = [
        TensorSpec(name, shape.dtype, shape.sizes)
        for name, shape in shapes.items()
        if shape.dtype is not None
    ]
    return tuple(specs) if specs and len(specs) == len(shapes) else None


def _complete(spec: TensorSpec, shape: Shape | None, rows: int) -> TensorSpec:
    if shape is not None:
        return TensorSpec(spec.name, shape.dtype or spec.dtype, shape.sizes)
    sizes = tuple(
        rows if size is None and axis == 0 else size for axis, size in enumerate(spec.shape)
    )
    if None in sizes:
        written = ",".join("?" if size is None else str(size) for size in sizes)
        raise SettingsError(
            f"the input {spec.name!r} may be of many shapes, ({written}): say which with "
            f"--shape {spec.name}={written}, with numbers in place of the question marks, or give "
            "requests with --data"
        )
    return TensorSpec(spec.name, spec.dtype, sizes)


def make_requests(specs: Specs, seed: int, count: int = DIFFERENT) -> list[Inputs]:
    """Make requests that differ, of inputs whose shapes are complete.

    Raises:
        SettingsError: they are too large.
    """
    size_bytes = sum(_size_bytes(spec) for spec in specs)
    if size_bytes > _MOST_BYTES:
        raise SettingsError(
            f"a request of {size_bytes / 2**20:,.0f} MiB is more than the {_MOST_BYTES >> 20:,} "
            "that are made: give a smaller --batch or --shape"
        )
    random = np.random.default_rng(seed)
    return [{spec.name: _fill(spec, random) for spec in specs} for _ in range(count)]


def _size_bytes(spec: TensorSpec) -> int:
    sizes = (size for size in spec.shape if isinstance(size, int))
    return math.prod(sizes) * spec.dtype.numpy.itemsize


def _fill(spec: TensorSpec, random: np.random.Generator) -> Array:
    shape = tuple(size for size in spec.shape if isinstance(size, int))
    return _elements(spec.dtype, math.prod(shape), random).reshape(shape)


def _elements(dtype: DType, count: int, random: np.random.Generator) -> Array:
    if dtype is DType.BYTES:
        words = np.empty(len(_WORDS), object)
        words[:] = _WORDS
        return words[random.integers(0, len(_WORDS), count)]
    if dtype.numpy.kind in "biu":
        # They may be places in a table of unknown length, or a mask: 0 and 1 are in every one.
        return random.integers(0, 2, count).astype(dtype.numpy)
    return random.random(count, np.float32).astype(dtype.numpy)
