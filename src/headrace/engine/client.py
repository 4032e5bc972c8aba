"""The receiver's side of an engine: assemble batches in its slots, hear how they ended.

Everything runs on the receiver's one thread; nothing here waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from headrace.engine import messages
from headrace.engine.assembly import Assembly, Padding
from headrace.engine.awake import Awake
from headrace.engine.board import Board
from headrace.engine.messages import (
    ATTACHED,
    DONE,
    HEAD_BYTES,
    MAX_FRAME_BYTES,
    REFUSED,
    RUN,
    Attach,
    Attached,
    Layout,
)
from headrace.engine.slots import Slots, tensor, unpack_bytes
from headrace.engine_control import Profile
from headrace.errors import Exhausted, HeadraceError, InferenceFailed, InvalidInput, QueueFull
from headrace.scheduler.others import NOBODY, Others
from headrace.settings import ModelSettings
from headrace.values import Array, DType

# What one batch of outputs may need at most before it travels in a memory file of its own; virtual.
_OUTPUT_BYTES = 16 * 2**20
# Answers of equal layouts are read once; bounded against a hostile variety of shapes.
_ANSWERS_KEPT = 4096
_TWO_DESCRIPTORS = socket.CMSG_SPACE(2 * 4)
# An engine that is frozen just now may take longer: batches wait until it has answered.
_ATTACH_TIMEOUT_S = 1.0

_NO_DESCRIPTOR = (
    "the outputs came in a memory file for which the receiver has no descriptor left: try again, "
    "open fewer connections, or raise the limit of open files (ulimit -n)"
)


class Answer(NamedTuple):
    """Where the outputs of some layout lie: their slot, and a view for each by name."""

    slot: int
    views: tuple[tuple[str, Array], ...]


class Listener(NamedTuple):
    """Who is told how batches end, by their numbers, and that the engine has taken us in or died.

    ``done`` hears the seconds of the run and the outputs of all its rows.
    """

    done: Callable[[int, float, dict[str, Array]], None]
    failed: Callable[[int, HeadraceError], None]
    lost: Callable[[], None]
    attached: Callable[[], None] = lambda: None


class EngineClient:
    """One connection to one engine process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        profile: Profile,
        settings: ModelSettings,
        slot_count: int,
        listener: Listener,
    ) -> None:
        signature = self._signature = profile.signature.unwrap()
        self._loop = loop
        self._outputs = signature.outputs
        self._batch_sizes = profile.batch_sizes if profile.pads and signature.batched else ()
        self._slot_count = slot_count
        self._input_bytes = settings.slot_mib * 2**20
        self._listener = listener
        self._free: list[int] = []  # none before the engine has answered
        self._answers: dict[bytes, Answer] = {}
        self._strings_out = any(spec.dtype is DType.BYTES for spec in signature.outputs)
        self._buffer = memoryview(bytearray(MAX_FRAME_BYTES))
        self._slots: Slots | None = None
        self._assembly: Assembly | None = None
        self._socket: socket.socket | None = None  # on which answers come
        self._work: socket.socket | None = None  # into which batches go, as those of others do
        self._receiver = self._seat = 0
        self._board: Board | None = None
        self._lanes: int | None = None  # wanted, where not all are
        self._awake = Awake(loop)
        self._attached: asyncio.Future[None] = loop.create_future()
        self._connecting = False

    @property
    def free_slots(self) -> int:
        """How many batches may be handed over now."""
        return len(self._free)

    @property
    def attached(self) -> bool:
        """Whether the engine has taken us in: until then nothing can be handed over."""
        return self._work is not None

    async def connect(self, socket_path: str) -> None:
        """Connect, make the slots, pass them on, and wait a moment for the engine to take us in.

        Raises:
            OSError: nobody listens there any more.
        """
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.setblocking(False)  # noqa: FBT003 - positional only
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
        self._assembly = Assembly(slots, self._signature, self._batch_sizes)
        self._loop.add_reader(channel.fileno(), self._hear)
        self._connecting = True
        await asyncio.wait({self._attached}, timeout=_ATTACH_TIMEOUT_S)
        self._connecting = False
        if self._socket is None:
            raise ConnectionResetError("the engine has gone")

    def run(
        self,
        batch_id: int,
        rows: int,
        parts: Sequence[Mapping[str, Array]],
        padding: Padding | None = None,
        expected_s: float = 0.0,
    ) -> None:
        """Assemble the parts, one after the other along axis 0, in a free slot and start the run.

        Without ``padding`` every row has the shape of the first. ``expected_s`` is how long it
        should take, for other receivers to know; for a single part the loop may stay awake.

        Raises:
            BodyTooLarge: the batch does not fit a slot.
            QueueFull: the engine holds so many batches of all receivers that this one has no place.
        """
        work, assembly = self._work, self._assembly
        if work is None or assembly is None:
            raise RuntimeError("not connected")
        slot = self._free.pop()
        try:
            placed = assembly.place(slot, rows, parts, padding)
        except BaseException:
            self._free.append(slot)
            raise
        if self._board is not None:
            self._board.hand(self._seat, expected_s)
        head = messages.pack_head(RUN, batch_id, round(expected_s * 1e9), self._receiver)
        try:
            work.send(head + messages.pack_layout(Layout(slot, rows, placed)))
        except BlockingIOError as error:
            self._free.append(slot)
            if self._board is not None:
                self._board.hand(self._seat, -expected_s, -1)
            raise QueueFull("the engine holds as many batches as it can") from error
        except OSError:
            return  # the reader will hear of the end too, and the batch is lost with the others
        # Where many ask the loop has enough to do, and others want the core.
        if len(parts) == 1 and len(self._free) == self._slot_count - 1:
            self._awake.wait_for(batch_id, expected_s, self._hear)
        else:
            self._awake.sleep()

    def set_lanes(self, count: int) -> None:
        """Have so many lanes take batches from now on."""
        self._lanes = count
        if self._work is not None:
            with contextlib.suppress(OSError):  # the reader will hear of the end
                self._work.send(messages.pack_lanes(count))

    def others(self) -> Others:
        """What other receivers have handed over to the engine."""
        return NOBODY if self._board is None else self._board.others(self._seat)

    def close(self) -> None:
        """End the connection and let its slots go; nothing is called back any more.

        Whoever holds this may go on for long: a slot is up to 80 MiB, and views would keep it.
        """
        self._awake.sleep()
        channel, self._socket = self._socket, None
        if channel is not None:
            self._loop.remove_reader(channel.fileno())
            channel.close()
        self._attached.cancel()
        work, self._work = self._work, None
        if work is not None:
            work.close()
        self._slots = self._assembly = self._board = None
        self._answers.clear()

    def _hear(self) -> None:
        """Take one answer; the loop calls again while there are more."""
        channel = self._socket
        if channel is None:
            return
        try:
            size, ancillary, flags, _ = channel.recvmsg_into([self._buffer], _TWO_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._lose()
            return
        descriptors = array("i", ancillary[0][2]) if ancillary else array("i")
        if flags & socket.MSG_CTRUNC:  # the process has as many descriptors as it may
            self._do_without(size, descriptors)
            return
        if self._buffer[0] == ATTACHED:
            self._begin(messages.unpack_attached(self._buffer), descriptors)
            return
        kind, batch_id, infer_ns, _ = messages.unpack_head(self._buffer)
        self._awake.heard(batch_id)
        data = bytes(self._buffer[HEAD_BYTES:size])
        if flags & socket.MSG_TRUNC:
            self._cut_off(batch_id, data, descriptors)
        elif kind != DONE:
            layout, end = messages.unpack_layout(data)
            self._free.append(layout.slot)
            kind_of = InvalidInput if kind == REFUSED else InferenceFailed
            self._listener.failed(batch_id, kind_of(data[end:].decode()))
        elif descriptors:
            self._take_apart(batch_id, infer_ns, data, descriptors[0])
        else:
            self._take(batch_id, infer_ns, data)

    def _lose(self) -> None:
        self.close()
        if not self._connecting:  # else ``connect`` tells
            self._listener.lost()

    def _do_without(self, size: int, descriptors: Sequence[int]) -> None:
        """The kernel had no descriptor for what came, and will not bring it again."""
        for descriptor in descriptors:
            os.close(descriptor)
        if self._buffer[0] == ATTACHED:
            self._lose()
            return
        _, batch_id, _, _ = messages.unpack_head(self._buffer)
        self._free.append(messages.unpack_slot(bytes(self._buffer[HEAD_BYTES:size])))
        self._listener.failed(batch_id, Exhausted(_NO_DESCRIPTOR, retry_after_s=1.0))

    def _cut_off(self, batch_id: int, data: bytes, descriptors: Sequence[int]) -> None:
        """What was said of a batch is longer than a frame may be: nothing can be made of it.

        Models that say how many tensors they have are refused before; one may have more axes.
        """
        for descriptor in descriptors:
            os.close(descriptor)
        self._free.append(messages.unpack_slot(data))
        self._listener.failed(
            batch_id,
            InferenceFailed("the model has so many inputs or outputs that no batch can be told of"),
        )

    def _begin(self, attached: Attached, descriptors: Sequence[int]) -> None:
        """The engine has taken us in: from now on batches may be handed over."""
        work = self._work = socket.socket(fileno=descriptors[0])
        work.setblocking(False)  # noqa: FBT003 - positional only
        self._receiver, self._seat = attached.receiver, attached.seat
        if len(descriptors) > 1:
            try:  # it is duplicated
                self._board = Board(descriptors[1], attached.seats, attached.lanes)
            except OSError:
                self._lose()
                return
            finally:
                os.close(descriptors[1])
        self._free = list(range(self._slot_count))
        if self._lanes is not None:
            self.set_lanes(self._lanes)
        self._attached.set_result(None)
        self._listener.attached()

    def _take(self, batch_id: int, infer_ns: int, data: bytes) -> None:
        answer = self._answers.get(data)
        if answer is None:
            if self._slots is None:
                raise RuntimeError("not connected")
            layout, _ = messages.unpack_layout(data)
            area = self._slots.outputs(layout.slot)
            answer = Answer(layout.slot, self._read(area, layout))
            if not self._strings_out:  # those are not views but copies of what is there now
                if len(self._answers) >= _ANSWERS_KEPT:
                    self._answers.clear()
                self._answers[data] = answer
        outputs = {name: view.copy() for name, view in answer.views}
        self._free.append(answer.slot)
        self._listener.done(batch_id, infer_ns / 1e9, outputs)

    def _take_apart(self, batch_id: int, infer_ns: int, data: bytes, descriptor: int) -> None:
        """Take outputs that outgrew the slot, from a memory file of their own."""
        layout, _ = messages.unpack_layout(data)
        size = max((t.offset + t.size_bytes for t in layout.tensors), default=1)
        try:  # it is duplicated
            area = memoryview(mmap.mmap(descriptor, max(size, 1), access=mmap.ACCESS_READ))
        except OSError as error:
            self._free.append(layout.slot)
            self._listener.failed(batch_id, Exhausted(f"{_NO_DESCRIPTOR} ({error})"))
            return
        finally:
            os.close(descriptor)
        outputs = {name: view.copy() for name, view in self._read(area, layout)}
        self._free.append(layout.slot)
        self._listener.done(batch_id, infer_ns / 1e9, outputs)

    def _read(self, area: memoryview, layout: Layout) -> tuple[tuple[str, Array], ...]:
        found = []
        for spec, (offset, size, shape) in zip(self._outputs, layout.tensors, strict=True):
            if spec.dtype is DType.BYTES:
                view = unpack_bytes(area[offset : offset + size], shape)
            else:
                view = tensor(area, offset, spec.dtype, shape)
            found.append((spec.name, view))
        return tuple(found)
