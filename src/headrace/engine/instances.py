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

import numpy as np
import structlog

from headrace.engine import messages
from headrace.engine.backends.contract import Instance
from headrace.engine.messages import DONE, FAILED, MAX_FRAME_BYTES, Frame, Placed
from headrace.engine.slots import Slots, align, pack_bytes, tensor, unpack_bytes
from headrace.errors import HeadraceError
from headrace.values import Array, DType, Signature

_log = structlog.get_logger("headrace.engine")


class Connection:
    """One receiver: its socket, its slots, and the lanes that serve it until it leaves."""

    def __init__(
        self, channel: socket.socket, signature: Signature, sizes: Sequence[int] | None
    ) -> None:
        self._channel = channel
        self._signature = signature
        self._sizes = sizes  # what to pad rows to; None: run them as they are
        self._sending = threading.Lock()

    def serve(self, instances: Sequence[Instance]) -> None:
        """Take the slots, then run batches until the receiver closes."""
        data, descriptors, _, _ = socket.recv_fds(self._channel, MAX_FRAME_BYTES, 1)
        if not data or not descriptors:
            return
        slots = Slots(descriptors[0], *messages.unpack_attach(data))
        os.close(descriptors[0])
        threads = [
            threading.Thread(target=self._lane, args=(instance, slots), name=f"lane-{number}")
            for number, instance in enumerate(instances)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _lane(self, instance: Instance, slots: Slots) -> None:
        channel = self._channel
        while True:
            try:
                data = channel.recv(MAX_FRAME_BYTES)
            except OSError:
                return
            if not data:
                return
            frame = messages.unpack(data)
            try:
                self._run(instance, slots, frame)
            except OSError:
                return  # the receiver has gone
            except Exception as error:  # noqa: BLE001
                # The border of a batch: whatever a backend or a tensor does, only this batch fails.
                expected = isinstance(error, HeadraceError)
                if not expected:
                    _log.exception("batch_failed")
                self._fail(frame, str(error) if expected else f"{type(error).__name__}: {error}")

    def _run(self, instance: Instance, slots: Slots, frame: Frame) -> None:
        area = slots.inputs(frame.slot)
        rows = frame.rows
        run_rows = rows
        if self._sizes is not None:
            run_rows = next((size for size in self._sizes if size >= rows), rows)
        inputs = {
            spec.name: self._input(area, spec.dtype, placed, run_rows)
            for spec, placed in zip(self._signature.inputs, frame.tensors, strict=True)
        }
        started = time.perf_counter_ns()
        outputs = instance.run(inputs)
        infer_ns = time.perf_counter_ns() - started
        self._answer(slots, frame, infer_ns, outputs, None if run_rows == rows else rows)

    def _input(self, area: memoryview, dtype: DType, placed: Placed, run_rows: int) -> Array:
        if dtype is DType.BYTES:
            data = area[placed.offset : placed.offset + placed.size_bytes]
            return unpack_bytes(data, placed.shape)
        shape = (run_rows, *placed.shape[1:]) if self._signature.batched else placed.shape
        return tensor(area, placed.offset, dtype, shape)

    def _answer(
        self,
        slots: Slots,
        frame: Frame,
        infer_ns: int,
        outputs: Mapping[str, Array],
        rows: int | None,
    ) -> None:
        area = slots.outputs(frame.slot)
        arrays: list[Array] = []
        placed: list[Placed] = []
        end = 0
        for spec in self._signature.outputs:
            array = outputs[spec.name]
            if rows is not None:
                array = array[:rows]
            shape = array.shape
            if spec.dtype is DType.BYTES:
                array = np.frombuffer(pack_bytes(array), np.uint8)
            arrays.append(array)
            placed.append(Placed(end, array.nbytes, shape))
            end = align(end + array.nbytes)
        reply = messages.pack(Frame(DONE, frame.batch_id, frame.slot, frame.rows, infer_ns, placed))
        if end <= len(area):
            _write(area, arrays, placed)
            with self._sending:
                self._channel.send(reply)
        else:
            self._answer_apart(reply, arrays, placed, end)

    def _answer_apart(
        self, reply: bytes, arrays: Sequence[Array], placed: Sequence[Placed], size_bytes: int
    ) -> None:
        """Answer with outputs that outgrow the slot, in a memory file of their own."""
        descriptor = os.memfd_create("headrace-outputs")
        try:
            os.ftruncate(descriptor, size_bytes)
            with mmap.mmap(descriptor, size_bytes) as memory, memoryview(memory) as area:
                _write(area, arrays, placed)
            with self._sending:
                socket.send_fds(self._channel, [reply], [descriptor])
        finally:
            os.close(descriptor)

    def _fail(self, frame: Frame, message: str) -> None:
        reply = Frame(FAILED, frame.batch_id, frame.slot, frame.rows, note=message[:1000])
        with self._sending:
            self._channel.send(messages.pack(reply))


def _write(area: memoryview, arrays: Sequence[Array], placed: Sequence[Placed]) -> None:
    for array, (offset, _, _) in zip(arrays, placed, strict=True):
        place = np.frombuffer(area, array.dtype, array.size, offset).reshape(array.shape)
        np.copyto(place, array)
