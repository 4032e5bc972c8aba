"""The sizes that an exported program runs at: which axes are free, within what, and alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.export import Dim

from headrace.errors import InferenceFailed, ModelLoadError


class Free(NamedTuple):
    """Axes that have the same size, from ``least`` to ``most``: (input, axis) each."""

    least: int
    most: int
    places: tuple[tuple[int, int], ...]


class Sizes(NamedTuple):
    """What sizes the inputs may have; None stands where an axis is free."""

    fixed: tuple[tuple[int | None, ...], ...]
    free: tuple[Free, ...]

    def check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Refuse what the program was not exported for.

        Raises:
            InferenceFailed: a size is another.
        """
        for number, (shape, fixed) in enumerate(zip(shapes, self.fixed, strict=True)):
            pairs = zip(shape, fixed, strict=False)
            if len(shape) != len(fixed) or any(b not in {None, a} for a, b in pairs):
                raise InferenceFailed(f"input {number} is of shape {shape}, it takes {fixed}")
        for one in self.free:
            found = {shapes[number][axis] for number, axis in one.places}
            if len(found) > 1:
                raise InferenceFailed(f"axes that must have one size have {sorted(found)}")
            if not one.least <= next(iter(found)) <= one.most:
                size = next(iter(found))
                raise InferenceFailed(
                    f"an axis of {size} is not within {one.least} to {one.most}, which the program "
                    "was exported for"
                )

    def text(self) -> str:
        """Write it down."""
        return json.dumps([self.fixed, self.free])


def parse(text: str) -> Sizes:
    """Read what was written down."""
    fixed, free = json.loads(text)
    return Sizes(
        tuple(tuple(shape) for shape in fixed),
        tuple(
            Free(least, most, tuple((number, axis) for number, axis in places))
            for least, most, places in free
        ),
    )


_MOST = 2**31 - 1  # an axis without a bound
_NOTED = 2


def of(program: torch.export.ExportedProgram) -> Sizes:
    """Read the sizes of a program.

    Raises:
        ModelLoadError: they are of a kind that cannot be checked, or its inputs lie otherwise.
    """
    values = _inputs(program)
    if not all(value.is_contiguous() for value in values):
        raise ModelLoadError("it was exported with inputs that are not contiguous: export it anew")
    places: dict[Any, list[tuple[int, int]]] = {}
    for number, value in enumerate(values):
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int):
                places.setdefault(size.node.expr, []).append((number, axis))
    known = program.range_constraints
    if any(not one.is_Symbol or one not in known for one in places):
        raise ModelLoadError(
            "sizes of its inputs depend on each other: give each free axis a Dim of its own"
        )
    bounds = {one: (int(known[one].lower), known[one].upper) for one in places}
    return Sizes(
        tuple(
            tuple(size if isinstance(size, int) else None for size in value.shape)
            for value in values
        ),
        tuple(
            # An export notes 2 where it asked for no more than 1: torch.export runs those at 1 too.
            Free(
                1 if least == _NOTED else least,
                int(most) if most < _MOST else _MOST,
                tuple(places[one]),
            )
            for one, (least, most) in bounds.items()
        ),
    )


def example(
    program: torch.export.ExportedProgram,
) -> tuple[tuple[torch.Tensor, ...], tuple[dict[int, Any], ...]]:
    """Inputs to export it with again, and which axes of them are free: of none there is only 1."""
    tensors = list(program.example_inputs[0])
    free: list[dict[int, Any]] = [{} for _ in tensors]
    for one in of(program).free:
        for number, axis in one.places:
            free[number][axis] = Dim.AUTO
            if tensors[number].shape[axis] < 2 <= one.most:  # noqa: PLR2004 - 1 would be taken for fixed
                twice = torch.zeros(2, dtype=torch.int64)
                tensors[number] = tensors[number].index_select(axis, twice).contiguous()
    return tuple(tensors), tuple(free)


def _inputs(program: torch.export.ExportedProgram) -> list[torch.Tensor]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return [values[str(name)] for name in program.graph_signature.user_inputs]
