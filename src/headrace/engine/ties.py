"""Which axes of outputs are as long as which of inputs: padded ones are cut back there.

Found by runs in which one padded axis is shorter than before. Where the model refuses that, two or
more are, as few as it takes: of words and of their mask it wants as many. Or of a mask no fewer:
then it is shorter where all are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from headrace.engine.backends.contract import Instance
from headrace.engine.backends.failures import RUN_ERRORS
from headrace.engine.item_shapes import Shapes, make
from headrace.settings import ModelSettings
from headrace.values import Signature, TensorSpec

Axis = tuple[str, int]
"""A tensor by its name, and one of its axes; the batch axis is 0."""

Seen = Mapping[str, tuple[int, ...]]
"""Shapes of outputs of one row."""

# Of many axes not every choice is tried; those that are left are shorter all together.
_MOST_TRIES = 64


def tie(
    signature: Signature,
    instance: Instance,
    item: Shapes,
    settings: ModelSettings,
    fill: int = 1,
) -> Signature:
    """Name free axes of outputs after the padded axes of inputs whose sizes they follow.

    ``item`` is a shape that it runs at. What no run has shown is as the file names it.
    """
    padded = [
        (spec.name, axis)
        for spec in signature.inputs
        for axis in sorted(settings.buckets.get(spec.name, ()))
        if signature.batched and not isinstance(spec.shape[axis], int)
    ]
    if not padded:
        return signature

    def run(axes: Sequence[Axis]) -> Seen | None:
        try:
            outputs = instance.run(make(signature, _shorter(item, axes, settings), 1, fill=fill))
        except RUN_ERRORS:
            return None
        return {name: array.shape for name, array in outputs.items()}

    whole = run(())
    tied: dict[Axis, Axis] = {}
    left = set(padded)
    for axes, seen in _together(padded, run) if whole is not None else ():
        less = _shorter(item, axes, settings)
        left -= set(axes)
        for place in _free(signature.outputs):
            before, after = _size(whole or {}, place), _size(seen, place)
            for name, axis in axes:
                if (before, after) == (item[name][axis - 1], less[name][axis - 1]):
                    tied.setdefault(place, (name, axis))
    return _named(signature, tied, left)


def _together(
    padded: Sequence[Axis], run: Callable[[Sequence[Axis]], Seen | None]
) -> Iterator[tuple[tuple[Axis, ...], Seen]]:
    """The fewest axes that may be shorter together, each in one such choice, and what came out."""
    left, count, tries = list(padded), 1, 0
    while left and count <= len(left):
        for axes in combinations(left, count):
            tries += 1
            seen = run(axes)
            if seen is not None:
                yield axes, seen
                left = [axis for axis in left if axis not in axes]
                break
        else:
            count = count + 1 if tries < _MOST_TRIES else max(count + 1, len(left))
    if left and len(left) < len(padded):
        seen = run(padded)
        if seen is not None:
            yield tuple(left), seen


def _shorter(item: Shapes, axes: Sequence[Axis], settings: ModelSettings) -> Shapes:
    """The same with these axes shorter: as the smallest bucket, or by one.

    Never one long, which goes with any: then a size that is one more shows as much.
    """
    shapes = {name: list(shape) for name, shape in item.items()}
    for name, axis in axes:
        size = item[name][axis - 1]
        less = [bucket for bucket in settings.buckets[name][axis] if 1 < bucket < size]
        other = size - 1 if size - 1 > 1 else size + 1
        shapes[name][axis - 1] = min(less, default=other)
    return {name: tuple(shape) for name, shape in shapes.items()}


def _free(outputs: Sequence[TensorSpec]) -> Iterator[Axis]:
    for spec in outputs:
        for axis, dim in enumerate(spec.shape):
            if axis and not isinstance(dim, int):
                yield spec.name, axis


def _size(seen: Seen, place: Axis) -> int | None:
    name, axis = place
    shape = seen.get(name, ())
    return shape[axis] if axis < len(shape) else None


def _named(signature: Signature, tied: Mapping[Axis, Axis], left: set[Axis]) -> Signature:
    """The signature with names that only axes of the same size have; ``left`` nobody has seen."""
    unseen = {
        dim
        for spec in signature.inputs
        for axis, dim in enumerate(spec.shape)
        if (spec.name, axis) in left
    }

    def of_input(spec: TensorSpec) -> TensorSpec:
        dims = (
            f"{spec.name}.{axis}" if (spec.name, axis) in tied.values() else dim
            for axis, dim in enumerate(spec.shape)
        )
        return replace(spec, shape=tuple(dims))

    def of_output(spec: TensorSpec) -> TensorSpec:
        def name(axis: int, dim: int | str | None) -> int | str | None:
            if not axis or isinstance(dim, int) or dim in unseen:
                return dim
            follows = tied.get((spec.name, axis))
            return None if follows is None else "{}.{}".format(*follows)

        return replace(spec, shape=tuple(name(axis, dim) for axis, dim in enumerate(spec.shape)))

    inputs, outputs = map(of_input, signature.inputs), map(of_output, signature.outputs)
    return replace(signature, inputs=tuple(inputs), outputs=tuple(outputs))
