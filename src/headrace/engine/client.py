"""The receiver's side of an engine: assemble batches in its slots, hear how they ended.

Everything runs on the receiver's one thread; nothing here waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from headrace.control import Profile
from headrace.engine import messages
from headrace.engine.messages import DONE, MAX_FRAME_BYTES, RUN, Attach, Frame, Placed
from headrace.engine.slots import Slots, align, pack_bytes, tensor, unpack_bytes
from headrace.errors import BodyTooLarge, HeadraceError, InferenceFailed
from headrace.settings import ModelSettings
from headrace.values import Array, DType

# What one batch of outputs may need at most before it travels in a memory file of its own; virtual.
_OUTPUT_BYTES = 16 * 2**20


class EngineClient:
    """One connection to one engine process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        profile: Profile,
        settings: ModelSettings,
        *,
        slot_count: int,
        on_done: Callable[[int, float, dict[str, Array]], None],
        on_failed: Callable[[int, HeadraceError], None],
        on_lost: Callable[[], None],
    ) -> None:
        signature = profile.signature.unwrap()
        self._loop = loop
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        self._batched = signature.batched
        self._batch_sizes = profile.batch_sizes if profile.pads and signature.batched else ()
        self._slot_count = slot_count
        self._input_bytes = settings.slot_mib * 2**20
        self._on_done = on_done
        self._on_failed = on_failed
        self._on_lost = on_lost
        self._free = list(range(slot_count))
        self._views: dict[tuple[int, tuple[tuple[int, ...], ...]], list[Array]] = {}
        self._slots: Slots | None = None
        self._socket: socket.socket | None = None

    @property
    def free_slots(self) -> int:
        """How many batches may be handed over now."""
        return len(self._free)

    async def connect(self, socket_path: str) -> None:
        """Connect, make the slots and pass them on.

        Raises:
            OSError: nobody listens there any more.
        """
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.setblocking(False)
        try:
            await self._loop.sock_connect(channel, socket_path)
            attach = Attach(self._slot_count, self._input_bytes, _OUTPUT_BYTES)
            slots, descriptor = Slots.create(*attach)
            with contextlib.closing(os.fdopen(descriptor, "rb", closefd=True)):
                socket.send_fds(channel, [messages.pack_attach(attach)], [descriptor])
        except OSError:
            channel.close()
            raise
        self._slots, self._socket = slots, channel
        self._loop.add_reader(channel.fileno(), self._hear)

    def run(
        self,
        batch_id: int,
        rows: int,
        parts: Sequence[Mapping[str, Array]],
        item_shapes: Mapping[str, tuple[int, ...]] | None,
        pad_values: Mapping[str, float],
    ) -> None:
        """Assemble the parts, one after the other along axis 0, in a free slot and start the run.

        ``item_shapes`` are the shapes one row is padded to, filled with ``pad_values``; None says
        that every row has the shape of the first.

        Raises:
            BodyTooLarge: the batch does not fit a slot.
        """
        slots, channel = self._slots, self._socket
        if slots is None or channel is None:
            raise RuntimeError("not connected")
        slot = self._free.pop()
        try:
            placed = self._assemble(slots, slot, rows, parts, item_shapes, pad_values)
        except BaseException:
            self._free.append(slot)
            raise
        try:
            channel.send(messages.pack(Frame(RUN, batch_id, slot, rows, 0, placed)))
        except OSError:
            return  # the reader will hear of the end too, and the batch is lost with the others

    def close(self) -> None:
        """End the connection; nothing is called back any more."""
        channel, self._socket = self._socket, None
        if channel is not None:
            self._loop.remove_reader(channel.fileno())
            channel.close()

    def _assemble(
        self,
        slots: Slots,
        slot: int,
        rows: int,
        parts: Sequence[Mapping[str, Array]],
        item_shapes: Mapping[str, tuple[int, ...]] | None,
        pad_values: Mapping[str, float],
    ) -> list[Placed]:
        first, placed, offset = parts[0], [], 0
        area = None
        for spec in self._inputs:
            name = spec.name
            if spec.dtype is DType.BYTES:
                shape = ((rows,) if self._batched else ()) + first[name].shape[self._batched :]
                data = b"".join([pack_bytes(part[name]) for part in parts])
                area = slots.inputs(slot) if area is None else area
                self._check(offset + len(data), slots)
                area[offset : offset + len(data)] = data
                size = len(data)
            else:
                item = (
                    first[name].shape[self._batched :] if item_shapes is None else item_shapes[name]
                )
                shape = (rows, *item) if self._batched else item
                padded = (self._padded(rows), *item) if self._batched else item
                size = int(np.prod(padded, dtype=np.int64)) * spec.dtype.numpy.itemsize
                self._check(offset + size, slots)
                view = self._view(slots, slot, offset, spec.dtype, padded)
                if item_shapes is not None:
                    _fill_padded(view, [part[name] for part in parts], pad_values.get(name, 0))
                elif self._batched:
                    _fill(view, [part[name] for part in parts])
                else:
                    view[...] = first[name]
            placed.append(Placed(offset, size, shape))
            offset = align(offset + size)
        return placed

    def _padded(self, rows: int) -> int:
        return next((size for size in self._batch_sizes if size >= rows), rows)

    def _check(self, end: int, slots: Slots) -> None:
        if end > slots.input_bytes:
            raise BodyTooLarge(
                f"a batch of {end} bytes does not fit a slot of {slots.input_bytes}: raise slot_mib"
            )

    def _view(
        self, slots: Slots, slot: int, offset: int, dtype: DType, shape: tuple[int, ...]
    ) -> Array:
        return tensor(slots.inputs(slot), offset, dtype, shape)

    def _hear(self) -> None:
        channel = self._socket
        while channel is not None:
            try:
                data, descriptors, _, _ = socket.recv_fds(channel, MAX_FRAME_BYTES, 1)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self.close()
                self._on_lost()
                return
            self._take(messages.unpack(data), descriptors)
            channel = self._socket

    def _take(self, frame: Frame, descriptors: list[int]) -> None:
        if frame.kind != DONE:
            self._free.append(frame.slot)
            self._on_failed(frame.batch_id, InferenceFailed(frame.note))
            return
        if self._slots is None:
            raise RuntimeError("not connected")
        if descriptors:
            size = max((t.offset + t.size_bytes for t in frame.tensors), default=1)
            area = memoryview(mmap.mmap(descriptors[0], max(size, 1), access=mmap.ACCESS_READ))
            os.close(descriptors[0])
        else:
            area = self._slots.outputs(frame.slot)
        outputs = {}
        for spec, (offset, size, shape) in zip(self._outputs, frame.tensors, strict=True):
            if spec.dtype is DType.BYTES:
                outputs[spec.name] = unpack_bytes(area[offset : offset + size], shape)
            else:
                outputs[spec.name] = tensor(area, offset, spec.dtype, shape).copy()
        self._free.append(frame.slot)
        self._on_done(frame.batch_id, frame.infer_ns / 1e9, outputs)


def _fill(view: Array, parts: Sequence[Array]) -> None:
    row = 0
    for part in parts:
        end = row + len(part)
        view[row:end] = part
        row = end


def _fill_padded(view: Array, parts: Sequence[Array], pad_value: float) -> None:
    view[...] = pad_value
    row = 0
    for part in parts:
        end = row + len(part)
        view[(slice(row, end), *map(slice, part.shape[1:]))] = part
        row = end
