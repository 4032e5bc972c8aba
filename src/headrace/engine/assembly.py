"""Batches assembled in place: the tensors of requests, copied straight into their rows of a slot.

This is the one copy that a request's inputs have on their way to the engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from headrace.engine.messages import Placed
from headrace.engine.slots import Slots, align, pack_bytes, tensor
from headrace.errors import BodyTooLarge
from headrace.values import Array, DType, Signature

# Views of slots are made once for each place and shape; bounded against a hostile variety of
# shapes.
_VIEWS_KEPT = 4096


class Padding(NamedTuple):
    """The shapes one row of each input is padded to, and with what (0 when not named)."""

    item_shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[str, float]


class Assembly:
    """Places batches in the slots of one engine; ``sizes`` are what it pads rows to, if it does."""

    def __init__(self, slots: Slots, signature: Signature, sizes: Sequence[int] = ()) -> None:
        self._slots = slots
        self._inputs = signature.inputs
        self._batched = signature.batched
        self._sizes = sizes
        self._views: dict[tuple[int, int, int, int, tuple[int, ...]], Array] = {}

    def place(
        self,
        slot: int,
        rows: int,
        parts: Sequence[Mapping[str, Array]],
        padding: Padding | None = None,
    ) -> list[Placed]:
        """Put parts of a batch one after the other along axis 0; say where each input lies.

        Without ``padding`` every row has the shape of the first. Rows that fit a slot only without
        those that nobody sent run as they are: their places are that much shorter.

        Raises:
            BodyTooLarge: the batch does not fit a slot.
        """
        run_rows = next((size for size in self._sizes if size >= rows), rows)
        try:
            return self._place(slot, rows, run_rows, parts, padding)
        except BodyTooLarge:
            if run_rows == rows:
                raise
            return self._place(slot, rows, rows, parts, padding)

    def _place(
        self,
        slot: int,
        rows: int,
        run_rows: int,
        parts: Sequence[Mapping[str, Array]],
        padding: Padding | None,
    ) -> list[Placed]:
        first, placed, offset = parts[0], [], 0
        for index, spec in enumerate(self._inputs):
            name = spec.name
            arrays = [part[name] for part in parts]
            if spec.dtype is DType.BYTES:
                size, shape = self._place_bytes(slot, offset, rows, arrays)
            else:
                own = first[name].shape
                item = padding.item_shapes[name] if padding else own[1:] if self._batched else own
                shape = (rows, *item) if self._batched else item
                view = self._view(slot, offset, index, item, run_rows)
                size = view.nbytes
                if padding is not None:
                    _fill_padded(view, arrays, padding.values.get(name, 0))
                elif self._batched:
                    np.concatenate(arrays, out=view[:rows], casting="no")
                else:
                    np.copyto(view, arrays[0], casting="no")
            placed.append(Placed(offset, size, shape))
            offset = align(offset + size)
        return placed

    def _place_bytes(
        self, slot: int, offset: int, rows: int, arrays: Sequence[Array]
    ) -> tuple[int, tuple[int, ...]]:
        data = b"".join([pack_bytes(array) for array in arrays])
        area = self._slots.inputs(slot)
        self._check(offset + len(data), len(area))
        area[offset : offset + len(data)] = data
        own = arrays[0].shape
        return len(data), (rows, *own[1:]) if self._batched else own

    def _view(
        self, slot: int, offset: int, index: int, item: tuple[int, ...], run_rows: int
    ) -> Array:
        """The place of an input in a slot, with room for the rows it is padded to."""
        # The same place may be another input's, of another dtype, after longer ones before it.
        key = (slot, offset, index, run_rows, item)
        view = self._views.get(key)
        if view is None:
            dtype = self._inputs[index].dtype
            shape = (run_rows, *item) if self._batched else item
            area = self._slots.inputs(slot)
            self._check(offset + math.prod(shape) * dtype.numpy.itemsize, len(area))
            view = tensor(area, offset, dtype, shape)
            if len(self._views) < _VIEWS_KEPT:
                self._views[key] = view
        return view

    def _check(self, end: int, size_bytes: int) -> None:
        if end > size_bytes:
            raise BodyTooLarge(
                f"a batch of {end} bytes does not fit a slot of {size_bytes}: raise slot_mib"
            )


def _fill_padded(view: Array, parts: Sequence[Array], pad_value: float) -> None:
    view[...] = pad_value
    row = 0
    for part in parts:
        end = row + len(part)
        place = view[(slice(row, end), *map(slice, part.shape[1:]))]
        np.copyto(place, part, casting="no")
        row = end
