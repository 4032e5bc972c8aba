"""What an engine reads in a slot is what was put there, wherever in it that lies."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine import messages
from headrace.engine.assembly import Assembly, Padding
from headrace.engine.connection import Connection
from headrace.engine.messages import Layout
from headrace.engine.slots import Slots
from headrace.values import Array, DType, Signature, TensorSpec

SLOT_BYTES = 2**14
NUMBERS = tuple(dtype for dtype in DType if dtype is not DType.BYTES)
# Few lengths, so that places and shapes are met again.
LENGTHS = st.sampled_from([1, 2, 8, 40])
PAD = 3.0


class Slot:
    """One slot, as a receiver fills it and as an engine reads it."""

    def __init__(self, dtypes: Sequence[DType], *, batched: bool = True) -> None:
        inputs = tuple(TensorSpec(f"x{i}", one, (None, None)) for i, one in enumerate(dtypes))
        self.signature = Signature(inputs, (), batched=batched)
        slots, descriptor = Slots.create(1, SLOT_BYTES, 64)
        os.close(descriptor)
        self._assembly = Assembly(slots, self.signature)
        with socket.socket(socket.AF_UNIX) as channel:  # nothing is sent
            self._connection = Connection(channel, slots, self.signature, None)

    def through(
        self, *parts: Mapping[str, Array], padding: Padding | None = None
    ) -> Mapping[str, Array]:
        """Put a batch into the slot, and read it there."""
        rows = sum(len(part["x0"]) for part in parts) if self.signature.batched else 1
        placed = self._assembly.place(0, rows, parts, padding)
        return self._connection.job(messages.pack_layout(Layout(0, rows, placed))).inputs


def tensor(dtype: DType, shape: tuple[int, int], seed: int) -> Array:
    """Elements that no two dtypes have the same bytes for."""
    numbers = np.arange(seed, seed + shape[0] * shape[1]) % 100
    if dtype is DType.BYTES:
        return np.array([b"%d" % number for number in numbers], object).reshape(shape)
    return numbers.astype(dtype.numpy).reshape(shape)


def is_same(found: Array, sent: Array) -> bool:
    return bool(found.dtype == sent.dtype and np.array_equal(found, sent))


@given(
    st.lists(st.sampled_from(list(DType)), min_size=1, max_size=4).flatmap(
        lambda dtypes: st.tuples(
            st.just(dtypes),
            st.lists(st.tuples(*[LENGTHS for _ in dtypes]), min_size=2, max_size=8),
        )
    ),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_input_is_read_as_it_was_put_wherever_those_before_it_end(
    case: tuple[list[DType], list[tuple[int, ...]]], count: int, batched: bool
) -> None:
    dtypes, batches = case
    slot = Slot(dtypes, batched=batched)
    for seed, lengths in enumerate(batches):
        parts = [
            {
                spec.name: tensor(spec.dtype, (part + 1, length), 7 * seed + part)
                for spec, length in zip(slot.signature.inputs, lengths, strict=True)
            }
            for part in range(count if batched else 1)
        ]
        found = slot.through(*parts)
        for name, array in found.items():
            assert is_same(array, np.concatenate([part[name] for part in parts]))


@pytest.mark.parametrize("other", [one for one in NUMBERS if one is not DType.FP32])
def test_a_place_that_was_another_inputs_has_the_dtype_of_whose_it_is_now(other: DType) -> None:
    slot = Slot([DType.BYTES, DType.FP32, other])
    for size in (100, 10, 100):
        part = {
            "x0": np.array([[b"x" * size]], object),
            "x1": tensor(DType.FP32, (1, 4), 1),
            "x2": tensor(other, (1, 4), 1),
        }
        found = slot.through(part)
        assert all(is_same(found[name], part[name]) for name in part)


@pytest.mark.parametrize("padded", [False, True])
def test_padded_inputs_move_too(padded: bool) -> None:
    slot = Slot([DType.INT8, DType.FP32, DType.INT32])
    for length in (100, 10):
        part = {
            "x0": tensor(DType.INT8, (1, length), 0),
            "x1": tensor(DType.FP32, (1, 3), 1),
            "x2": tensor(DType.INT32, (1, 3), 2),
        }
        items = {"x0": (length,), "x1": (4,), "x2": (4,)}
        padding = Padding(items, {"x1": PAD, "x2": PAD}) if padded else None
        found = slot.through(part, padding=padding)
        assert is_same(found["x1"][:, :3], part["x1"])
        assert is_same(found["x2"][:, :3], part["x2"])
        assert (found["x2"][:, 3:] == PAD).all()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_an_array_of_another_dtype_is_an_error_and_no_cast(padded: bool, batched: bool) -> None:
    slot = Slot([DType.INT32], batched=batched)
    wrong = {"x0": np.array([[1.5, 2.5]], np.float32)}
    padding = Padding({"x0": (2,) if batched else (1, 2)}, {}) if padded else None
    with pytest.raises(TypeError, match="Cannot cast"):
        slot.through(wrong, padding=padding)
