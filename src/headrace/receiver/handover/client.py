"""The receiver's side of the scribe: hand bodies over, hear what became of them.

The scribe may die. Who is at the head of its line then is suspected: its body is tried once more;
those behind it have done nothing and are sent again as often as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

from headrace.engine_control import SignatureMessage
from headrace.errors import Expired, QueueFull, ScribeLost
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.handover import messages as handover
from headrace.receiver.handover.messages import Answer, AnswerHead, Job, Task
from headrace.receiver.handover.parcel import Parcel, told
from headrace.values import Array

LARGE_BYTES = 2**16
"""JSON bodies longer than this are decoded beside the receiver: 0.5 ms on its own thread."""

ALONE_BYTES = 4 * 2**20
"""Up to this long they are not, while the scribe starts: 50 ms, where it would be half a second."""

# Handed over at once; more wait their turn here. One is decoded while the next is ready.
_PLACES = 8
# Of all bodies that wait to be decoded or are.
_MOST_BYTES = 512 * 2**20
# Far over what the largest body takes, and its restart.
_PATIENCE_S = 30.0


class Room:
    """A place with the scribe, and its bytes: held by who asks, and by the scribe itself."""

    __slots__ = ("asked", "lent", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.asked = True
        self.lent = False


class Pending:
    """A body that the scribe has, and who waits for it, or has given up."""

    __slots__ = ("attempts", "future", "job", "parcel", "room")

    def __init__(
        self, job: Job, parcel: Parcel, future: asyncio.Future[Answer], room: Room
    ) -> None:
        self.job = job
        self.parcel = parcel
        self.future = future
        self.room = room
        self.attempts = 0


class ScribeClient:
    """Decodes and encodes bodies in the scribe process; for the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket_path: str) -> None:
        self._loop = loop
        self._socket_path = socket_path
        self._places = asyncio.Semaphore(_PLACES)
        self._pending: dict[int, Pending] = {}
        self._number = 0
        self._bytes = 0
        self._socket: socket.socket | None = None
        self._awake = False

    def takes(self, size_bytes: int) -> bool:
        """Whether JSON of this size is to be handed over.

        Most servers never need a scribe: the first large body calls it, and those that come before
        it is awake are decoded where they are, unless that would stop the event loop for too long.
        """
        if size_bytes <= LARGE_BYTES:
            return False
        if self._awake or size_bytes > ALONE_BYTES:
            return True
        try:
            self._connected()
        except OSError:
            return True  # it is reported where the body is handed over
        return False

    async def decode(
        self,
        body: bytes | memoryview,
        dialect: Dialect,
        signature: SignatureMessage | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Decode a body: what ``json_tensor.parse`` makes of it, with ``Decoded`` for its tensors.

        Raises:
            MalformedRequest: it is no JSON, or no object.
            InvalidInput: too many tensors, or too much beside them.
            QueueFull: too many bytes wait for the scribe.
            Expired: the client's time is over.
            ScribeLost: the scribe died of it, or does not answer.
            Exhausted: no descriptor or memory is left for it.
        """
        async with self._room(len(body), timeout_s) as room:
            parcel = Parcel.of(body)
            if parcel is None:
                # Megabytes are copied; the system call lets the event loop run meanwhile.
                parcel = await self._loop.run_in_executor(None, Parcel.create, body)
            text = handover.signature_text(signature)
            answer = await self._ask(room, parcel, len(body), Task.DECODE, dialect, text)
            end = answer.offset + answer.size_bytes
            area = memoryview(mmap.mmap(parcel.descriptor, end, access=mmap.ACCESS_READ))
            parcel.close()
            # Millions of strings are a second's work.
            return await self._loop.run_in_executor(None, handover.read, area, answer)

    async def encode(
        self,
        dialect: Dialect,
        head: AnswerHead,
        outputs: Mapping[str, Array],
        timeout_s: float | None = None,
    ) -> bytes:
        """Encode an answer as its front would.

        Raises:
            InvalidInput: the outputs cannot be written in the form that was asked for.
            QueueFull: too many bytes wait for the scribe.
            Expired: the client's time is over.
            ScribeLost: the scribe died of it, or does not answer.
            Exhausted: no descriptor or memory is left for it.
        """
        size_bytes = sum(array.nbytes for array in outputs.values())
        async with self._room(size_bytes, timeout_s) as room:
            parcel = Parcel.create()
            # Both copies are system calls, during which the event loop runs.
            run = self._loop.run_in_executor
            lying, end = await run(None, handover.put_tensors, parcel.descriptor, outputs, 0)
            text = head.model_copy(update={"outputs": lying}).model_dump_json().encode()
            answer = await self._ask(room, parcel, end, Task.ENCODE, dialect, text)
            report = handover.read_report(
                os.pread(parcel.descriptor, answer.size_bytes, answer.offset)
            )
            body = await run(
                None, os.pread, parcel.descriptor, report.rest_bytes, report.rest_offset
            )
            parcel.close()
            return body

    def close(self) -> None:
        """End the connection; who waits hears that it is lost."""
        self._hang_up()
        for pending in list(self._pending.values()):
            self._forget(pending)
            _fail(pending, "the server has stopped")

    @contextlib.asynccontextmanager
    async def _room(self, size_bytes: int, timeout_s: float | None) -> AsyncIterator[Room]:
        """A place among those that the scribe works for, and not for longer than the time left."""
        if self._bytes and self._bytes + size_bytes > _MOST_BYTES:
            raise QueueFull(
                f"{self._bytes} bytes of JSON wait for the scribe: send less at once, or tensors "
                "as binary data",
                retry_after_s=1.0,
            )
        limit_s = _PATIENCE_S if timeout_s is None else min(timeout_s, _PATIENCE_S)
        try:
            async with asyncio.timeout(limit_s):
                room = await self._enter(size_bytes)
                try:
                    with told():
                        yield room
                finally:
                    room.asked = False
                    self._settle(room)
        except TimeoutError as error:
            if timeout_s is not None and timeout_s <= _PATIENCE_S:
                raise Expired("the deadline passed while the scribe had the JSON") from error
            raise ScribeLost(
                f"the scribe did not answer within {limit_s:g} s: try again", retry_after_s=1.0
            ) from error

    async def _enter(self, size_bytes: int) -> Room:
        self._bytes += size_bytes
        try:
            await self._places.acquire()
        except BaseException:
            self._bytes -= size_bytes
            raise
        return Room(size_bytes)

    def _settle(self, room: Room) -> None:
        """Give the place to another once neither the scribe nor who asked has use of it."""
        if not room.asked and not room.lent:
            self._bytes -= room.size_bytes
            self._places.release()

    async def _ask(
        self, room: Room, parcel: Parcel, size_bytes: int, task: Task, dialect: Dialect, text: bytes
    ) -> Answer:
        """Ask; who gives up leaves the body with the scribe, which has it until it answers."""
        self._number += 1
        handover.put_text(parcel.descriptor, size_bytes, text)
        job = Job(self._number, size_bytes, len(text), task, dialect)
        pending = Pending(job, parcel, self._loop.create_future(), room)
        self._pending[job.number] = pending
        room.lent = True
        try:
            self._send(pending)
            return await pending.future
        finally:
            del pending  # its exception would hold this frame: a cycle, with the body in it

    def _forget(self, pending: Pending) -> None:
        """The scribe has it no more."""
        if self._pending.pop(pending.job.number, None) is not None:
            pending.room.lent = False
            self._settle(pending.room)

    def _send(self, pending: Pending) -> None:
        try:
            channel = self._connected()
            socket.send_fds(channel, [pending.job.pack()], [pending.parcel.descriptor])
        except (ConnectionResetError, BrokenPipeError):
            return  # the reader will hear of the end too, and this one is sent again
        except OSError as error:
            self._forget(pending)
            _fail(pending, f"the scribe cannot be reached: {error}")

    def _connected(self) -> socket.socket:
        if self._socket is None:
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            channel.setblocking(False)  # noqa: FBT003 - positional only
            try:
                channel.connect(self._socket_path)
            except OSError:
                channel.close()
                raise
            self._socket = channel
            self._loop.add_reader(channel.fileno(), self._hear)
        return self._socket

    def _hear(self) -> None:
        """Take one answer; the loop calls again while there are more."""
        channel = self._socket
        if channel is None:
            return
        try:
            frame = channel.recv(handover.MAX_FRAME_BYTES)
        except BlockingIOError:
            return
        except OSError:
            frame = b""
        if not frame:
            self._lost()
            return
        answer = Answer.unpack(frame)
        if answer == handover.AWAKE:
            self._awake = True
            return
        pending = self._pending.get(answer.number)
        if pending is None:
            return
        self._forget(pending)
        if not pending.future.done():
            pending.future.set_result(answer)

    def _lost(self) -> None:
        """The scribe died: send again what somebody waits for, but not for ever what it died of."""
        self._hang_up()
        waiting = list(self._pending.values())
        for place, pending in enumerate(waiting):
            pending.attempts += place == 0
            if pending.future.done():  # nobody waits
                self._forget(pending)
            elif pending.attempts > 1:
                self._forget(pending)
                _fail(pending, "the scribe died of this body, twice")
            else:
                self._send(pending)

    def _hang_up(self) -> None:
        channel, self._socket, self._awake = self._socket, None, False
        if channel is not None:
            self._loop.remove_reader(channel.fileno())
            channel.close()


def _fail(pending: Pending, message: str) -> None:
    if not pending.future.done():
        pending.future.set_exception(ScribeLost(message, retry_after_s=1.0))
