"""Slots share memory without overlapping, and strings survive being packed."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.slots import ALIGNMENT_BYTES, Slots, align, pack_bytes, tensor, unpack_bytes
from headrace.errors import MalformedRequest
from headrace.values import Array, DType


def strings(elements: list[bytes]) -> Array:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


@given(st.integers(0, 2**40))
def test_align_rounds_up_to_the_next_cache_line(size: int) -> None:
    aligned = align(size)
    assert aligned % ALIGNMENT_BYTES == 0
    assert 0 <= aligned - size < ALIGNMENT_BYTES


def test_every_area_of_every_slot_is_its_own() -> None:
    slots, descriptor = Slots.create(3, 100, 10)
    os.close(descriptor)
    areas = [area for slot in range(3) for area in (slots.inputs(slot), slots.outputs(slot))]
    assert [len(area) for area in areas] == [128, 64] * 3
    for mark, area in enumerate(areas, 1):
        area[:] = bytes([mark]) * len(area)
    for mark, area in enumerate(areas, 1):
        assert bytes(area) == bytes([mark]) * len(area)


def test_another_mapping_of_the_file_sees_the_same_tensors() -> None:
    ours, descriptor = Slots.create(2, 4096, 4096)
    theirs = Slots(descriptor, 2, 4096, 4096)
    os.close(descriptor)
    written = tensor(ours.inputs(1), 64, DType.FP32, (2, 3))
    written[:] = np.arange(6).reshape(2, 3)
    read = tensor(theirs.inputs(1), 64, DType.FP32, (2, 3))
    assert read.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not np.shares_memory(read, tensor(theirs.inputs(0), 64, DType.FP32, (2, 3)))
    assert not any(theirs.outputs(1))


def test_a_tensor_that_does_not_fit_its_area_is_no_tensor() -> None:
    slots, descriptor = Slots.create(1, 64, 64)
    os.close(descriptor)
    with pytest.raises(ValueError, match="buffer"):
        tensor(slots.inputs(0), 0, DType.FP32, (17,))
    assert tensor(slots.inputs(0), 0, DType.FP32, (3, 0)).shape == (3, 0)


@given(st.lists(st.binary(max_size=20)), st.booleans())
def test_packed_strings_come_back(elements: list[bytes], view: bool) -> None:
    data = pack_bytes(strings(elements))
    assert len(data) == sum(4 + len(element) for element in elements)
    unpacked = unpack_bytes(memoryview(data) if view else data, (len(elements),))
    assert unpacked.tolist() == elements


def test_packed_strings_keep_their_shape_row_by_row() -> None:
    square = strings([b"a", b"b", b"c", b"d"]).reshape(2, 2)
    assert unpack_bytes(pack_bytes(square.T), (2, 2)).tolist() == [[b"a", b"c"], [b"b", b"d"]]
    assert unpack_bytes(b"", (0, 3)).shape == (0, 3)
    assert pack_bytes(np.array(["é"])) == b"\x02\0\0\0\xc3\xa9"


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (b"", 1, "ends after 0 of 1 elements"),
        (b"\x01\0\0", 1, "ends after 0 of 1 elements"),
        (b"\x01\0\0\0a", 2, "ends after 1 of 2 elements"),
        (b"\x02\0\0\0a", 1, "element 0 of 2 bytes is cut off"),
        (struct.pack("<I", 2**32 - 1) + b"a", 1, "element 0 of 4294967295 bytes is cut off"),
        (b"\x01\0\0\0ab", 1, "1 bytes after its 1 elements"),
        (b"a", 0, "1 bytes after its 0 elements"),
    ],
)
def test_strings_whose_lengths_do_not_add_up_are_refused(
    data: bytes, count: int, message: str
) -> None:
    with pytest.raises(MalformedRequest, match=message):
        unpack_bytes(data, (count,))
