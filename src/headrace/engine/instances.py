"""The lanes of one connection: a thread for every instance, all waiting on the same socket.

The kernel hands each message to one of them, so there is no queue between them and the receiver.
"""

from __future__ import annotations

import mmap
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import structlog

from headrace.engine import messages
from headrace.engine.backends.contract import Instance
from headrace.engine.gate import Gate
from headrace.engine.messages import (
    DONE,
    FAILED,
    HEAD_BYTES,
    LANES,
    MAX_FRAME_BYTES,
    Layout,
    Placed,
)
from headrace.engine.slots import Slots, align, pack_bytes, tensor, unpack_bytes
from headrace.engine.stages import Shift
from headrace.errors import HeadraceError
from headrace.values import Array, DType, Signature

_log = structlog.get_logger("headrace.engine")

Key = TypeVar("Key")
Value = TypeVar("Value")

# Layouts seen, so that equal batches cost a look-up; bounded against a hostile variety of shapes.
_LAYOUTS_KEPT = 4096
_NOTE_LIMIT = 1000


class Job(NamedTuple):
    """What a layout asks for: the rows to run, and views of the inputs."""

    layout: Layout
    run_rows: int
    inputs: Mapping[str, Array]


class Room(NamedTuple):
    """Where outputs of some shapes go: the layout that says so, and a view for each."""

    layout: bytes
    views: tuple[Array, ...]


class Stage(NamedTuple):
    """One of the lanes of an instance, and since when they have been free."""

    instance: Instance
    shift: Shift


class Connection:
    """One receiver: its socket, its slots, and the lanes that serve it until it leaves."""

    def __init__(
        self,
        channel: socket.socket,
        signature: Signature,
        sizes: Sequence[int] | None,
        *,
        stages: int = 1,
        pinned_bytes: int = 0,
    ) -> None:
        self._channel = channel
        self._signature = signature
        self._sizes = sizes  # what to pad rows to; None: run them as they are
        self._stages = stages  # lanes of one instance
        self._pinned_bytes = pinned_bytes  # what a large batch takes of a slot

    def serve(self, instances: Sequence[Instance]) -> None:
        """Take the slots, then run batches until the receiver closes."""
        data, descriptors, _, _ = socket.recv_fds(self._channel, MAX_FRAME_BYTES, 1)
        if not data or not descriptors:
            return
        slots = Slots(descriptors[0], *messages.unpack_attach(data))
        os.close(descriptors[0])
        pin = getattr(instances[0], "pin", None)
        if pin is None:
            self._run(instances, slots)
            return
        release = pin(slots.beginnings(self._pinned_bytes))
        try:
            self._run(instances, slots)
        finally:
            release()

    def _run(self, instances: Sequence[Instance], slots: Slots) -> None:
        gate = Gate(len(instances), self._stages)
        shifts = [Shift() for _ in instances[:: self._stages]]
        lanes = [
            Lane(
                self._channel,
                slots,
                self._signature,
                self._sizes,
                Stage(instance, shifts[number // self._stages]),
                gate,
            )
            for number, instance in enumerate(instances)
        ]
        threads = [
            threading.Thread(target=lane.serve, name=f"lane-{number}")
            for number, lane in enumerate(lanes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Lane:
    """One instance and the thread that feeds it."""

    def __init__(
        self,
        channel: socket.socket,
        slots: Slots,
        signature: Signature,
        sizes: Sequence[int] | None,
        stage: Stage,
        gate: Gate,
    ) -> None:
        self._channel = channel
        self._slots = slots
        self._signature = signature
        self._sizes = sizes
        self._instance, self._shift = stage
        self._gate = gate
        self._strings_in = any(spec.dtype is DType.BYTES for spec in signature.inputs)
        self._strings_out = any(spec.dtype is DType.BYTES for spec in signature.outputs)
        self._jobs: dict[bytes, Job] = {}
        self._rooms: dict[tuple[object, ...], Room] = {}

    def serve(self) -> None:
        """Run batches until the receiver closes."""
        buffer = memoryview(bytearray(MAX_FRAME_BYTES))
        while True:
            self._gate.enter()
            try:
                size = self._channel.recv_into(buffer)
                if not size:
                    return
                self._take(buffer[:size])
            except OSError:
                return  # the receiver has gone
            finally:
                self._gate.leave()

    def _take(self, frame: memoryview) -> None:
        kind, batch_id, _ = messages.unpack_head(frame)
        if kind == LANES:
            self._gate.resize(batch_id)
            return
        layout = bytes(frame[HEAD_BYTES:])
        try:
            job = self._jobs.get(layout) or self._prepare(layout)
            started = time.perf_counter_ns()
            outputs = self._instance.run(job.inputs)
            infer_ns = self._shift.took(started, time.perf_counter_ns())
            self._answer(batch_id, job, infer_ns, outputs)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001
            # The border of a batch: whatever a backend or a tensor does, only this batch fails.
            expected = isinstance(error, HeadraceError)
            if not expected:
                _log.exception("batch_failed")
            note = str(error) if expected else f"{type(error).__name__}: {error}"
            head = messages.pack_head(FAILED, batch_id)
            self._channel.send(head + layout + note[:_NOTE_LIMIT].encode(errors="backslashreplace"))

    def _prepare(self, data: bytes) -> Job:
        layout, _ = messages.unpack_layout(data)
        area = self._slots.inputs(layout.slot)
        rows = layout.rows
        if self._sizes is not None:
            rows = next((size for size in self._sizes if size >= rows), rows)
        inputs = {
            spec.name: self._input(area, spec.dtype, placed, rows)
            for spec, placed in zip(self._signature.inputs, layout.tensors, strict=True)
        }
        job = Job(layout, rows, inputs)
        if not self._strings_in:  # those are not views but copies of what is there now
            _keep(self._jobs, data, job)
        return job

    def _input(self, area: memoryview, dtype: DType, placed: Placed, rows: int) -> Array:
        if dtype is DType.BYTES:
            data = area[placed.offset : placed.offset + placed.size_bytes]
            return unpack_bytes(data, placed.shape)
        shape = (rows, *placed.shape[1:]) if self._signature.batched else placed.shape
        return tensor(area, placed.offset, dtype, shape)

    def _answer(self, batch_id: int, job: Job, infer_ns: int, outputs: Mapping[str, Array]) -> None:
        layout = job.layout
        arrays = [outputs[spec.name] for spec in self._signature.outputs]
        if job.run_rows != layout.rows:
            arrays = [array[: layout.rows] for array in arrays]
        shapes = [array.shape for array in arrays]
        if self._strings_out:
            arrays = [_flat(array) for array in arrays]
        key = (layout.slot, layout.rows, *shapes)
        room = self._rooms.get(key)
        if room is None:
            placed, end = _place(arrays, shapes)
            area = self._slots.outputs(layout.slot)
            packed = messages.pack_layout(Layout(layout.slot, layout.rows, placed))
            if end > len(area):
                head = messages.pack_head(DONE, batch_id, infer_ns)
                self._answer_apart(head + packed, arrays, placed, end)
                return
            room = Room(packed, _views(area, arrays, placed))
            if not self._strings_out:  # whose sizes do not follow from their shapes
                _keep(self._rooms, key, room)
        for view, array in zip(room.views, arrays, strict=True):
            np.copyto(view, array)
        self._channel.send(messages.pack_head(DONE, batch_id, infer_ns) + room.layout)

    def _answer_apart(
        self, reply: bytes, arrays: Sequence[Array], placed: Sequence[Placed], size_bytes: int
    ) -> None:
        """Answer with outputs that outgrow the slot, in a memory file of their own."""
        descriptor = os.memfd_create("headrace-outputs")
        try:
            os.ftruncate(descriptor, size_bytes)
            with mmap.mmap(descriptor, size_bytes) as memory, memoryview(memory) as area:
                for view, array in zip(_views(area, arrays, placed), arrays, strict=True):
                    np.copyto(view, array)
                del view  # or the memory could not be unmapped
            socket.send_fds(self._channel, [reply], [descriptor])
        finally:
            os.close(descriptor)


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
