"""The slots: shared memory in which batches are assembled, run and answered in place.

One memory file for one connection, ``count`` slots of an input and an output area each. It is
sparse: a page costs memory only once it has been written to.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Sequence

import numpy as np

from headrace.errors import MalformedRequest
from headrace.values import Array, DType

ALIGNMENT_BYTES = 64
"""Tensors start on a cache line, which is also what AVX-512 likes."""

_LENGTH = struct.Struct("<I")


def align(size_bytes: int) -> int:
    """Round up to the alignment."""
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


class Slots:
    """A mapped memory file of slots."""

    def __init__(self, descriptor: int, count: int, input_bytes: int, output_bytes: int) -> None:
        self.count = count
        self.input_bytes = align(input_bytes)
        self.output_bytes = align(output_bytes)
        self.size_bytes = count * (self.input_bytes + self.output_bytes)
        self._memory = mmap.mmap(descriptor, self.size_bytes)

    @classmethod
    def create(cls, count: int, input_bytes: int, output_bytes: int) -> tuple[Slots, int]:
        """Make the memory file; the caller passes the descriptor on and closes it."""
        descriptor = os.memfd_create("headrace-slots")
        size = count * (align(input_bytes) + align(output_bytes))
        os.ftruncate(descriptor, size)
        return cls(descriptor, count, input_bytes, output_bytes), descriptor

    def inputs(self, slot: int) -> memoryview:
        """The input area of a slot."""
        start = slot * (self.input_bytes + self.output_bytes)
        return memoryview(self._memory)[start : start + self.input_bytes]

    def beginnings(self, size_bytes: int) -> list[memoryview]:
        """The first so many bytes of every input area, in whole pages."""
        whole = -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        return [self.inputs(slot)[:whole] for slot in range(self.count)]

    def outputs(self, slot: int) -> memoryview:
        """The output area of a slot."""
        start = slot * (self.input_bytes + self.output_bytes) + self.input_bytes
        return memoryview(self._memory)[start : start + self.output_bytes]


def tensor(area: memoryview, offset: int, dtype: DType, shape: Sequence[int]) -> Array:
    """View a fixed-size tensor in an area."""
    return np.frombuffer(area, dtype.numpy, math.prod(shape), offset).reshape(shape)


def pack_bytes(array: Array) -> bytes:
    """Serialise BYTES elements, row-major: a little-endian length before each (OIP)."""
    parts: list[bytes] = []
    for element in array.ravel():
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def unpack_bytes(data: bytes | memoryview, shape: Sequence[int]) -> Array:
    """Read what ``pack_bytes`` wrote.

    Raises:
        MalformedRequest: the lengths do not add up to the data.
    """
    count = math.prod(shape)
    elements = np.empty(count, object)
    at, end = 0, len(data)
    for place in range(count):
        if at + 4 > end:
            raise MalformedRequest(f"BYTES data ends after {place} of {count} elements")
        (size,) = _LENGTH.unpack_from(data, at)
        at += 4
        if at + size > end:
            raise MalformedRequest(f"BYTES element {place} of {size} bytes is cut off")
        elements[place] = bytes(data[at : at + size])
        at += size
    if at != end:
        raise MalformedRequest(f"BYTES data has {end - at} bytes after its {count} elements")
    return elements.reshape(shape)
