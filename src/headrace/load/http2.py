"""Unary gRPC over one cleartext HTTP/2 connection.

Why a codec of our own: it is the one that keeps to its schedule beside a busy server. Offered
4,000 requests/s of 3 kB on two cores that server and sender share, the sender's CPU a request and
its send lag at p99 were: this 61 µs and 0.4 ms; grpc.aio 159 µs and 8.4 ms; the h2 library on
uvloop 185 µs and 2.4 ms; pyqwest 210 µs and 5.7 ms. It can be small because a load generator sends
the same few requests and gets the same few headers back: both are encoded or decoded once.

Source: RFC 9113 and grpc/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from headrace.load import hpack
from headrace.load.codec import BadAnswer, Ended, Kept, Piece, is_number
from headrace.load.frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME,
    FRAME_BYTES,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST_FRAME_BYTES,
    LARGEST_WINDOW_BYTES,
    LAST_STREAM,
    MAX_FRAME,
    MAX_STREAMS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTING,
    SETTINGS,
    TABLE_SIZE,
    U32,
    WINDOW_BYTES,
    WINDOW_UPDATE,
    Encoded,
    error_name,
    frame,
    unpad,
)  # fmt: skip
from headrace.load.result import (
    ERROR_HEADER,
    OK,
    Answer,
    Outcome,
    grpc_outcome,
    http_outcome,
)

# Credit for what was read goes back in large pieces: a frame for every GiB, not for every answer.
_CREDIT_BYTES = 2**30
# Until it says otherwise a server takes any number of requests; this many is as good as any.
_STREAMS = 2**20
_BLOCKS_KEPT = 1024
# A server says so of a request it has not looked at: every gRPC client sends that one again.
_UNSEEN = "REFUSED_STREAM"
_PREFIX_BYTES = 5


class Block(NamedTuple):
    """What a block of headers says; ``grpc`` None: nothing of gRPC's status."""

    http: Outcome
    grpc: Outcome | None
    headers: dict[str, str]


class Upload:
    """The rest of a request's data, which waits for the server to make room."""

    __slots__ = ("left", "stream", "window_bytes")

    def __init__(self, stream: int, data: bytes, window_bytes: int) -> None:
        self.stream = stream
        self.left = memoryview(data)
        self.window_bytes = window_bytes


class Http2:
    """A codec; see ``codec.Codec``."""

    def __init__(self, messages: tuple[Encoded, ...], kept: Kept) -> None:
        settings = b"".join(
            SETTING.pack(*one)
            for one in ((TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW, LARGEST_WINDOW_BYTES))
        )  # no header table, no push, and all the room there is for answers
        self.out: list[Piece] = [
            PREFACE + frame(SETTINGS, 0, 0, settings),
            frame(WINDOW_UPDATE, 0, 0, U32.pack(LARGEST_WINDOW_BYTES - WINDOW_BYTES)),
        ]
        self.room = _STREAMS
        self.ready = False
        self.leaving = False
        self.unseen: list[int] = []
        self._messages = messages
        self._kept = kept
        self._next = 1
        self._streams: dict[int, int] = {}
        self._statuses: dict[int, Block] = {}  # of streams whose headers came before their trailers
        self._bodies: dict[int, bytearray] = {}
        self._uploads: dict[int, Upload] = {}
        self._blocks: dict[bytes, Block] = {}
        self._rest = b""
        self._max_streams = _STREAMS
        self._frame_bytes = FRAME_BYTES
        self._stream_window_bytes = WINDOW_BYTES
        self._window_bytes = WINDOW_BYTES
        self._read_bytes = 0
        self._continued: tuple[int, int, bytes] | None = None
        self._ended: list[Ended] = []
        self._on: dict[int, Callable[[int, int, bytes], None]] = {
            RST_STREAM: self._on_reset,
            SETTINGS: self._on_settings,
            PING: self._on_ping,
            GOAWAY: self._on_goaway,
            WINDOW_UPDATE: self._on_window,
            CONTINUATION: self._on_continuation,
        }

    # --- requests ---------------------------------------------------------------------------------

    def send(self, index: int) -> int:
        """See ``codec.Codec``."""
        message = self._messages[index % len(self._messages)]
        stream = self._next
        self._next = stream + 2
        self._streams[stream] = index
        self.room -= 1
        if self._next > LAST_STREAM:
            self._leave()
        if index < self._kept.first:
            self._bodies[stream] = bytearray()
        frames = bytearray(message.frames)
        for place in message.places:
            U32.pack_into(frames, place, stream)
        room = 0 if self._uploads else min(self._window_bytes, self._stream_window_bytes)
        size = len(message.data)
        if len(frames) > message.head_bytes and size <= room:
            self._window_bytes -= size
            self.out.append(frames)
        else:
            self.out.append(frames[: message.head_bytes])
            self._uploads[stream] = Upload(stream, message.data, self._stream_window_bytes)
            self._upload()
        return stream

    def _upload(self) -> None:
        """Write as much as the windows allow, of the oldest request first."""
        for upload in list(self._uploads.values()):
            while upload.left:
                room = min(self._frame_bytes, self._window_bytes, upload.window_bytes)
                size = min(room, len(upload.left))
                if size <= 0:
                    break
                self._write_data(upload, size)
            if not upload.left:
                del self._uploads[upload.stream]
            elif self._window_bytes <= 0:
                return

    def _write_data(self, upload: Upload, size: int) -> None:
        piece, upload.left = upload.left[:size], upload.left[size:]
        self._window_bytes -= size
        upload.window_bytes -= size
        flags = 0 if upload.left else END_STREAM
        # The piece is written from where it lies: large requests are not copied.
        self.out += (FRAME.pack(size >> 8, size & 0xFF, DATA, flags, upload.stream), piece)

    def cancel(self, token: int) -> None:
        """See ``codec.Codec``."""
        if self._forget(token) is not None:
            self.out.append(frame(RST_STREAM, 0, token, U32.pack(CANCEL)))

    def end(self, why: Outcome) -> list[Ended]:
        """See ``codec.Codec``."""
        self._leave()
        # Those first that had ended when what followed them was no answer.
        ended = [*self._ended, *((index, why) for index in self._streams.values())]
        self._ended = []
        self._streams.clear()
        return ended

    def _leave(self) -> None:
        self.leaving = True
        self.room = 0

    def _forget(self, stream: int) -> int | None:
        """Drop all there is of a stream; return its request."""
        index = self._streams.pop(stream, None)
        if index is not None:
            if not self.leaving:
                self.room = self._max_streams - len(self._streams)
            if self._statuses:
                self._statuses.pop(stream, None)
            if self._bodies:
                self._bodies.pop(stream, None)
            if self._uploads:
                self._uploads.pop(stream, None)
        return index

    # --- answers ----------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Ended]:
        """See ``codec.Codec``."""
        if self._rest:
            data = self._rest + data
        try:
            self._rest = data[self._read(data) :]
        except (struct.error, IndexError) as error:
            raise BadAnswer(f"a frame is too short: {error}") from error
        ended, self._ended = self._ended, []
        return ended

    def _read(self, data: bytes) -> int:
        """Take whole frames; return where the first that is not whole begins."""
        at, end = 0, len(data)
        while end - at >= FRAME.size:
            high, low, kind, flags, stream = FRAME.unpack_from(data, at)
            start = at + FRAME.size
            after = start + (high << 8 | low)
            if after - start > FRAME_BYTES:
                raise BadAnswer("a frame is larger than we allow: is this HTTP/2?")
            if after > end:
                break
            if kind == HEADERS:
                self._on_headers(flags, stream, data[start:after])
            elif kind == DATA:
                self._on_data(flags, stream, data, start, after)
            elif kind in self._on:
                self._on[kind](flags, stream & LARGEST_WINDOW_BYTES, data[start:after])
            at = after
        return at

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & (PADDED | PRIORITY):
            payload = unpad(flags, payload)
        if not flags & END_HEADERS:
            self._continued = (flags, stream, payload)
            return
        block = self._blocks.get(payload) or self._learn(payload)
        if not flags & END_STREAM:
            if block.http is not OK or stream in self._bodies:  # else the trailers say all
                self._statuses[stream] = block
            return
        self._finish(stream, block)

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._continued is None or self._continued[1] != stream:
            raise BadAnswer("a continuation of nothing")
        first_flags, _, begun = self._continued
        self._continued = None
        joined = first_flags & END_STREAM | flags & END_HEADERS
        self._on_headers(joined, stream, begun + payload)

    def _learn(self, payload: bytes) -> Block:
        if len(self._blocks) >= _BLOCKS_KEPT:
            self._blocks.clear()
        self._blocks[payload] = block = read_block(payload)
        return block

    def _on_data(self, flags: int, stream: int, data: bytes, start: int, end: int) -> None:
        self._read_bytes += end - start
        if self._read_bytes >= _CREDIT_BYTES:
            self.out.append(frame(WINDOW_UPDATE, 0, 0, U32.pack(self._read_bytes)))
            self._read_bytes = 0
        if self._bodies and stream in self._bodies:
            self._bodies[stream] += unpad(flags & PADDED, data[start:end])
        if flags & END_STREAM:
            self._finish(stream, None)

    def _finish(self, stream: int, last: Block | None) -> None:
        """End a request: with its trailers, or with None where they never came."""
        first = self._statuses.get(stream) if self._statuses else None
        body = self._bodies.get(stream) if self._bodies else None
        index = self._forget(stream)
        if index is None:
            return  # we gave it up, and its answer was under way
        if last is not None and last.grpc is not None:
            outcome = last.grpc
        elif first is not None and first.http is not OK:
            outcome = first.http
        elif last is not None and last.http is not OK:
            outcome = last.http
        else:
            outcome = Outcome("no grpc-status")
        if body is not None:
            headers = (first.headers if first else {}) | (last.headers if last else {})
            self._kept.answers[index] = Answer(headers, bytes(body[_PREFIX_BYTES:]))
        self._ended.append((index, outcome))

    # --- the connection's own frames --------------------------------------------------------------

    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None:  # noqa: ARG002
        index, name = self._forget(stream), error_name(payload)
        if index is None:
            return
        if name == _UNSEEN:
            self.unseen.append(index)
        else:
            self._ended.append((index, Outcome("RST_STREAM", name)))

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:  # noqa: ARG002
        if flags & ACK:
            return
        for name, value in SETTING.iter_unpack(payload):
            if name == MAX_STREAMS:
                self._max_streams = value
                self.room = 0 if self.leaving else value - len(self._streams)
            elif name == MAX_FRAME:
                self._frame_bytes = max(FRAME_BYTES, min(value, LARGEST_FRAME_BYTES))
            elif name == INITIAL_WINDOW:
                for upload in self._uploads.values():
                    upload.window_bytes += value - self._stream_window_bytes
                self._stream_window_bytes = value
        self.ready = True
        self.out.append(frame(SETTINGS, ACK, 0))
        self._upload()

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:  # noqa: ARG002
        if not flags & ACK:
            self.out.append(frame(PING, ACK, 0, payload))

    def _on_goaway(self, flags: int, stream: int, payload: bytes) -> None:  # noqa: ARG002
        """Send nothing more here; what the server has not looked at may go elsewhere."""
        self._leave()
        (last,) = U32.unpack_from(payload)
        for later in [one for one in self._streams if one > last & LARGEST_WINDOW_BYTES]:
            index = self._forget(later)
            if index is not None:
                self.unseen.append(index)

    def _on_window(self, flags: int, stream: int, payload: bytes) -> None:  # noqa: ARG002
        (credit,) = U32.unpack(payload)
        if stream == 0:
            self._window_bytes += credit
        elif stream in self._uploads:
            self._uploads[stream].window_bytes += credit
        if self._uploads:
            self._upload()


def read_block(payload: bytes) -> Block:
    """Read a block of headers or trailers.

    Raises:
        BadAnswer: it is none.
    """
    headers = dict(hpack.decode(payload))
    code = headers.get(ERROR_HEADER, "")
    status = headers.get(":status", "200")
    grpc_status = headers.get("grpc-status")
    if not (is_number(status) and is_number("0" if grpc_status is None else grpc_status)):
        raise BadAnswer(f"a status of {status[:80]!r}, {grpc_status!r}")
    grpc = None if grpc_status is None else grpc_outcome(int(grpc_status), code)
    return Block(http_outcome(int(status), code), grpc, headers)
