"""One receiver, seen from an engine: its slots, where its answers go, and what is known of both.

Every lane runs batches of every receiver; what they remember of equal batches they share.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from headrace.engine import messages
from headrace.engine.messages import DONE, FAILED, REFUSED, Layout, Placed
from headrace.engine.slots import Slots, align, pack_bytes, tensor, unpack_bytes
from headrace.errors import HeadraceError, InferenceFailed, InvalidInput
from headrace.values import Array, DType, Signature

Key = TypeVar("Key")
Value = TypeVar("Value")

# Layouts seen, so that equal batches cost a look-up; bounded against a hostile variety of shapes.
_LAYOUTS_KEPT = 4096
_NOTE_LIMIT = 1000


class Job(NamedTuple):
    """What a layout asks for: the rows to run, and views of the inputs.

    ``spare`` are the rows that nobody sent, of each input, and the last that somebody did.
    """

    layout: Layout
    run_rows: int
    inputs: Mapping[str, Array]
    spare: tuple[tuple[Array, Array], ...]


class Room(NamedTuple):
    """Where outputs of some shapes go: the layout that says so, and a view for each."""

    layout: bytes
    views: tuple[Array, ...]


class Reply(NamedTuple):
    """What the receiver is told, and the memory file that goes with it, if there is one."""

    frame: bytes
    descriptor: int | None = None


class Connection:
    """One receiver, until it leaves; for the threads of all lanes.

    ``seat`` is its place at the board; ``sizes`` are what to pad rows to, None where they run as
    they are; ``release`` lets its slots go, when no lane uses them any more.
    """

    def __init__(
        self,
        channel: socket.socket,
        slots: Slots,
        signature: Signature,
        sizes: Sequence[int] | None,
        seat: int = 0,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.seat = seat
        self._release = release
        self._lock = threading.Lock()
        self._inside = 0
        self._closed = False
        self._channel = channel
        self._slots = slots
        self._signature = signature
        self._sizes = sizes
        self._strings_in = any(spec.dtype is DType.BYTES for spec in signature.inputs)
        self._strings_out = any(spec.dtype is DType.BYTES for spec in signature.outputs)
        self._jobs: dict[bytes, Job] = {}
        self._rooms: dict[tuple[object, ...], Room] = {}

    def enter(self) -> bool:
        """Begin to use its slots; False when it has gone."""
        with self._lock:
            self._inside += not self._closed
            return not self._closed

    def leave(self) -> None:
        """Use them no more."""
        with self._lock:
            self._inside -= 1
            if self._closed and not self._inside:
                self._release()

    def close(self) -> None:
        """The receiver has gone."""
        with self._lock:
            self._closed = True
            if not self._inside:
                self._release()

    def job(self, layout: bytes) -> Job:
        """What a packed layout asks for, ready to be run."""
        job = self._jobs.get(layout) or self._prepare(layout)
        for rows, last in job.spare:
            # Anything may lie there, of another shape or input even; what the model takes of this
            # batch it takes once more.
            np.copyto(rows, last)
        return job

    def write(self, batch_id: int, job: Job, infer_ns: int, outputs: Mapping[str, Array]) -> Reply:
        """Write the outputs of a batch where the receiver looks for them; return what to tell.

        Raises:
            InferenceFailed: an output does not have a row for each that was run.
        """
        layout = job.layout
        arrays = [outputs[spec.name] for spec in self._signature.outputs]
        if self._signature.batched:
            self._refuse_unlike(job, arrays)
        if job.run_rows != layout.rows:
            arrays = [array[: layout.rows] for array in arrays]
        shapes = [array.shape for array in arrays]
        if self._strings_out:
            arrays = [_flat(array) for array in arrays]
        head = messages.pack_head(DONE, batch_id, infer_ns)
        key = (layout.slot, layout.rows, *shapes)
        room = self._rooms.get(key)
        if room is None:
            placed, end = _place(arrays, shapes)
            area = self._slots.outputs(layout.slot)
            packed = messages.pack_layout(Layout(layout.slot, layout.rows, placed))
            if end > len(area):
                return Reply(head + packed, _apart(arrays, placed, end))
            room = Room(packed, _views(area, arrays, placed))
            if not self._strings_out:  # whose sizes do not follow from their shapes
                _keep(self._rooms, key, room)
        for view, array in zip(room.views, arrays, strict=True):
            np.copyto(view, array)
        return Reply(head + room.layout)

    def send(self, reply: Reply) -> None:
        """Tell the receiver, if it is still there."""
        with contextlib.suppress(OSError):
            if reply.descriptor is None:
                self._channel.send(reply.frame)
            else:
                socket.send_fds(self._channel, [reply.frame], [reply.descriptor])
        if reply.descriptor is not None:
            os.close(reply.descriptor)

    def _refuse_unlike(self, job: Job, arrays: Sequence[Array]) -> None:
        """Refuse outputs of which nobody knows whose rows they are: a model may drop some."""
        for spec, array in zip(self._signature.outputs, arrays, strict=True):
            if array.shape[:1] != (job.run_rows,):
                raise InferenceFailed(
                    f"output {spec.name!r} has the shape {list(array.shape)} where a batch of "
                    f"{job.run_rows} ran: rows cannot be told apart. Say `batched: false` in the "
                    "model's card"
                )

    def _prepare(self, data: bytes) -> Job:
        layout, _ = messages.unpack_layout(data)
        area = self._slots.inputs(layout.slot)
        rows = self._run_rows(layout)
        inputs = {
            spec.name: self._input(area, spec.dtype, placed, rows)
            for spec, placed in zip(self._signature.inputs, layout.tensors, strict=True)
        }
        sent = layout.rows
        spare = [(array[sent:], array[sent - 1]) for array in inputs.values() if rows > sent]
        job = Job(layout, rows, inputs, tuple(spare))
        if not self._strings_in:  # those are not views but copies of what is there now
            _keep(self._jobs, data, job)
        return job

    def _run_rows(self, layout: Layout) -> int:
        """How many rows to run: those that it is padded to, if it was given room for them."""
        rows = layout.rows
        if self._sizes is None:
            return rows
        padded = next((size for size in self._sizes if size >= rows), rows)
        has_room = all(
            padded * math.prod(placed.shape[1:]) * spec.dtype.numpy.itemsize <= placed.size_bytes
            for spec, placed in zip(self._signature.inputs, layout.tensors, strict=True)
            if spec.dtype is not DType.BYTES
        )
        return padded if has_room else rows

    def _input(self, area: memoryview, dtype: DType, placed: Placed, rows: int) -> Array:
        if dtype is DType.BYTES:
            data = area[placed.offset : placed.offset + placed.size_bytes]
            strings = unpack_bytes(data, placed.shape)
            if not self._signature.batched or len(strings) == rows:
                return strings
            return np.resize(strings, (rows, *placed.shape[1:]))
        shape = (rows, *placed.shape[1:]) if self._signature.batched else placed.shape
        return tensor(area, placed.offset, dtype, shape)


def failed(batch_id: int, layout: bytes, error: Exception) -> Reply:
    """What a receiver is told of a batch that failed, and whether its inputs are to blame."""
    kind = REFUSED if isinstance(error, InvalidInput) else FAILED
    expected = isinstance(error, HeadraceError)
    note = str(error) if expected else f"{type(error).__name__}: {error}"
    told = note[:_NOTE_LIMIT].encode(errors="backslashreplace")
    return Reply(messages.pack_head(kind, batch_id) + layout + told)


def _apart(arrays: Sequence[Array], placed: Sequence[Placed], size_bytes: int) -> int:
    """Write outputs that outgrow the slot to a memory file of their own."""
    descriptor = os.memfd_create("headrace-outputs")
    try:
        os.ftruncate(descriptor, size_bytes)
        with mmap.mmap(descriptor, size_bytes) as memory, memoryview(memory) as area:
            for view, array in zip(_views(area, arrays, placed), arrays, strict=True):
                np.copyto(view, array)
            del view  # or the memory could not be unmapped
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _flat(array: Array) -> Array:
    """The bytes that stand for strings; other tensors as they are."""
    return np.frombuffer(pack_bytes(array), np.uint8) if array.dtype.hasobject else array


def _place(arrays: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> tuple[list[Placed], int]:
    """Put tensors one after the other; return their places and where the last one ends."""
    placed, end = [], 0
    for array, shape in zip(arrays, shapes, strict=True):
        placed.append(Placed(end, array.nbytes, shape))
        end = align(end + array.nbytes)
    return placed, end


def _views(
    area: memoryview, arrays: Sequence[Array], placed: Sequence[Placed]
) -> tuple[Array, ...]:
    return tuple(
        np.frombuffer(area, array.dtype, array.size, place.offset).reshape(array.shape)
        for array, place in zip(arrays, placed, strict=True)
    )


def _keep(kept: dict[Key, Value], key: Key, value: Value) -> None:
    if len(kept) >= _LAYOUTS_KEPT:
        kept.clear()
    kept[key] = value
