"""What one item of a model's inputs looks like: its shape, as the card says or found by a try.

Also inputs made of it, for runs that nobody asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import product

import numpy as np

from headrace.engine.backends.contract import Instance
from headrace.engine.backends.failures import RUN_ERRORS
from headrace.engine.slots import ALIGNMENT_BYTES
from headrace.errors import ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import Array, Dim, DType, Signature, TensorSpec, converted

Shapes = Mapping[str, tuple[int, ...]]
"""Item shapes by input: without the batch axis where there is one."""

Make = Callable[[Shapes, int], Mapping[str, Array]]
"""Makes inputs of an item shape and a number of rows."""

# What whole numbers are made of: ones are good as ids and as masks, but not for a table of one row.
_FILLS = (1, 0)
# What a free axis nobody described is tried at: common lengths and sides, then what rarely fails.
_GUESSES = (16, 32, 224, 8, 1, 64, 128, 256, 512)


def item_shapes(signature: Signature, instance: Instance, settings: ModelSettings) -> list[Shapes]:
    """The item shapes to warm up at: the card's, its buckets, or the first guess that runs.

    None where nothing that is made up runs, and the card says that rows share runs: a model may
    look at what is in them, decode images or look numbers up. Then the card is believed.

    Raises:
        ModelLoadError: a slot has no room for one, or buckets name what cannot be padded,
            or not with that.
    """
    _check_buckets(signature, settings)
    start = 1 if signature.batched else 0
    free = {
        (spec.name, axis)
        for spec in signature.inputs
        for axis, dim in enumerate(spec.shape)
        if axis >= start and not isinstance(dim, int)
    }
    room = settings.slot_mib * 2**20
    if settings.warm_shapes:
        steps = max(len(shapes) for shapes in settings.warm_shapes.values())
        named: list[Shapes] = [
            {spec.name: _named(spec, signature, settings, step) for spec in signature.inputs}
            for step in range(steps)
        ]
        return _fitting(signature, named, settings)
    bucketed = {
        (name, axis): tuple(sorted(sizes))
        for name, axes in settings.buckets.items()
        for axis, sizes in axes.items()
    }
    steps = max((len(sizes) for sizes in bucketed.values()), default=1)
    if free <= bucketed.keys():
        sized: list[Shapes] = [_sized(signature, start, bucketed, step, 1) for step in range(steps)]
        fitting = _fitting(signature, sized, settings)
        believed = settings.batched and not any(
            _runs(signature, instance, sized[0], fill) for fill in _fills(signature)
        )
        return [] if believed else fitting
    for fill, guess in product(_fills(signature), _GUESSES):
        shapes = [_sized(signature, start, bucketed, step, guess) for step in range(steps)]
        if any(item_bytes(signature, item) > room for item in shapes):
            continue  # of an input of five free axes the largest guess is terabytes
        if _runs(signature, instance, shapes[0], fill):
            return shapes
    return []


def fill_of(signature: Signature, instance: Instance, item: Shapes) -> int:
    """What whole numbers are, for it to run: ones, or zeros where only those do."""
    ones, *others = _fills(signature)
    if not others or _runs(signature, instance, item, ones):
        return ones
    return next((fill for fill in others if _runs(signature, instance, item, fill)), ones)


def _fills(signature: Signature) -> tuple[int, ...]:
    return _FILLS if any(_is_whole(spec.dtype) for spec in signature.inputs) else _FILLS[:1]


def _runs(signature: Signature, instance: Instance, item: Shapes, fill: int) -> bool:
    try:
        instance.run(make(signature, item, 1, fill=fill))
    except RUN_ERRORS:
        return False
    return True


def _check_buckets(signature: Signature, settings: ModelSettings) -> None:
    specs = {spec.name: spec for spec in signature.inputs}
    for name, axes in settings.buckets.items():
        spec = specs.get(name)
        if spec is None:  # the defaults of a server may be for another model
            continue
        if spec.dtype is DType.BYTES:
            raise ModelLoadError(
                f"buckets name input {name!r}, which is of strings: nothing pads those; take it "
                "out of buckets"
            )
        for axis in axes:
            if not 1 <= axis < len(spec.shape) or isinstance(spec.shape[axis], int):
                free = [str(n) for n, d in enumerate(spec.shape) if n and not isinstance(d, int)]
                raise ModelLoadError(
                    f"buckets name axis {axis} of input {name!r}: those that may be padded are "
                    f"{', '.join(free) or 'none'} (0 is the batch axis)"
                )
        _check_pad_value(spec, settings.pad_values.get(name, 0))


def _check_pad_value(spec: TensorSpec, value: float) -> None:
    if converted(np.array(value), spec.dtype) is None:
        raise ModelLoadError(
            f"pad_values has {value:g} for input {spec.name!r}, which is of {spec.dtype.value} "
            "and cannot hold that"
        )


def check_warm_shapes(signature: Signature, settings: ModelSettings) -> None:
    """See that the shapes the card names are those of rows, or of requests where none share runs.

    Raises:
        ModelLoadError: one has other axes, or another size where the model has only one.
    """
    start = 1 if signature.batched else 0
    for spec in signature.inputs:
        item = spec.shape[start:]
        for shape in settings.warm_shapes.get(spec.name, ()):
            if not _fits(_item_of(shape, spec, signature, settings), item):
                wanted = ", ".join(str(dim) if isinstance(dim, int) else "any" for dim in item)
                raise ModelLoadError(
                    f"warm_shapes has {list(shape)} for input {spec.name!r}, of which "
                    f"{'a row' if signature.batched else 'a request'} is [{wanted}]"
                    + _of_axes(len(shape) - len(item), signature, settings)
                )


def _fits(shape: tuple[int, ...], item: tuple[Dim, ...]) -> bool:
    return len(shape) == len(item) and all(
        size == dim or not isinstance(dim, int) for size, dim in zip(shape, item, strict=True)
    )


def _item_of(
    shape: tuple[int, ...], spec: TensorSpec, signature: Signature, settings: ModelSettings
) -> tuple[int, ...]:
    """What is run at a shape of the card: itself, or a request of one such row.

    Before warm-up nobody knows whether requests share runs, so a card that does not say it, as
    Triton's with ``model_warmup``, has the shapes of rows.
    """
    unknown = not signature.batched and settings.batched is None
    return (1, *shape) if unknown and len(shape) == len(spec.shape) - 1 else shape


def _of_axes(more: int, signature: Signature, settings: ModelSettings) -> str:
    """What to do about a shape that seems to be of requests where it should be of rows."""
    if signature.batched and more == 1:
        return ": leave the batch axis out, or say batched: false where requests share no runs"
    if not signature.batched and settings.batched is None and more == -1:
        return ", for requests share no runs: name all axes, and say batched: false"
    return ""


def _fitting(signature: Signature, shapes: list[Shapes], settings: ModelSettings) -> list[Shapes]:
    """The shapes, all of which a slot has room for."""
    largest = max(item_bytes(signature, item) for item in shapes)
    if largest > settings.slot_mib * 2**20:
        raise ModelLoadError(
            f"one row of its inputs takes {largest / 2**20:.0f} MiB, and a slot is of "
            f"{settings.slot_mib}: raise slot_mib, or name smaller warm_shapes"
        )
    return shapes


def item_bytes(signature: Signature, item: Shapes) -> int:
    """What one item takes in a slot; of a string, at least its place."""
    return sum(math.prod(item[spec.name]) * spec.dtype.numpy.itemsize for spec in signature.inputs)


def slot_bytes(signature: Signature, items: Iterable[Shapes], rows: int) -> int:
    """What the largest batch of so many rows takes in a slot, at any of these shapes."""
    between = ALIGNMENT_BYTES * len(signature.inputs)
    return max((item_bytes(signature, item) * rows + between for item in items), default=0)


def _named(
    spec: TensorSpec, signature: Signature, settings: ModelSettings, step: int
) -> tuple[int, ...]:
    shapes = settings.warm_shapes.get(spec.name)
    if shapes:
        return _item_of(shapes[min(step, len(shapes) - 1)], spec, signature, settings)
    start = 1 if signature.batched else 0
    return tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape[start:])


def _sized(
    signature: Signature,
    start: int,
    bucketed: Mapping[tuple[str, int], tuple[int, ...]],
    step: int,
    guess: int,
) -> Shapes:
    def size(spec: TensorSpec, axis: int) -> int:
        dim = spec.shape[axis]
        if isinstance(dim, int):
            return dim
        sizes = bucketed.get((spec.name, axis), (guess,))
        return sizes[min(step, len(sizes) - 1)]

    return {
        spec.name: tuple(size(spec, axis) for axis in range(start, len(spec.shape)))
        for spec in signature.inputs
    }


def elements_of(item: Shapes) -> int:
    """How many elements one item has, over all inputs."""
    return sum(math.prod(shape) for shape in item.values())


def make(
    signature: Signature, item: Shapes, rows: int, seed: int = 0, fill: int = _FILLS[0]
) -> dict[str, Array]:
    """Make inputs: floats uniform in 0..1, whole numbers as ``fill_of`` says."""
    random = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for spec in signature.inputs:
        shape = ((rows,) if signature.batched else ()) + tuple(item[spec.name])
        if spec.dtype is DType.BYTES:
            array = np.empty(shape, object)
            array.fill(b"warm")
        elif _is_whole(spec.dtype):
            array = np.full(shape, fill, spec.dtype.numpy)
        else:
            array = random.random(shape, np.float32).astype(spec.dtype.numpy)
        inputs[spec.name] = np.asarray(array)  # of no axes, too, which others would give one
    return inputs


def _is_whole(dtype: DType) -> bool:
    return dtype.numpy.kind in "iub"
