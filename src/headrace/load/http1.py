"""HTTP/1.1, one request at a time on a connection that is kept alive.

Source: RFC 9112.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.load.chunked import Chunks
from headrace.load.codec import BadAnswer, Ended, Kept, Piece, is_number
from headrace.load.headers import check_headers, unless_given
from headrace.load.plan import Message, Target
from headrace.load.result import (
    ERROR_HEADER,
    Answer,
    Outcome,
    http_outcome,
)

_BLANK = b"\r\n\r\n"
# Larger heads are no answer of a model server.
_HEAD_LIMIT_BYTES = 64 * 1024
# Heads repeat but for their date: what a second brings is kept, the past is thrown away.
_HEADS_KEPT = 256
_NO_BODY = frozenset({204, 304})


class Head(NamedTuple):
    """What an answer's head says: its outcome, and where its body ends.

    ``size_bytes`` None: in chunks (``chunked``), or at the end of the connection
    (``until_close``).
    """

    outcome: Outcome
    size_bytes: int | None
    chunked: bool
    until_close: bool
    closes: bool
    interim: bool
    headers: dict[str, str]


def encode(target: Target) -> tuple[tuple[bytes, ...], ...]:
    """Encode the target's messages, each as the pieces to write.

    Raises:
        SettingsError: a header cannot be sent.
    """
    check_headers(target.headers)
    return tuple(_encode(target, message) for message in target.messages)


def _encode(target: Target, message: Message) -> tuple[bytes, ...]:
    given = target.headers
    headers = (
        *unless_given((("host", target.address),), given),
        *given,
        *unless_given(message.headers, given),
    )
    lines = [f"{target.method} {target.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    if message.body or target.method != "GET":
        lines.append(f"content-length: {len(message.body)}")
    head = "\r\n".join(lines).encode("latin-1") + _BLANK
    if len(message.body) < _HEAD_LIMIT_BYTES:  # one small copy now for one piece less at each send
        return (head + message.body,)
    return (head, message.body)


class Http1:
    """A codec; see ``codec.Codec``."""

    def __init__(self, messages: tuple[tuple[bytes, ...], ...], kept: Kept) -> None:
        self.out: list[Piece] = []
        self.room = 1
        self.ready = True
        self.leaving = False
        self.unseen: list[int] = []
        self._messages = messages
        self._kept = kept
        self._heads: dict[bytes, Head] = {}
        self._index: int | None = None
        self._head: Head | None = None
        self._left_bytes = 0
        self._chunks: Chunks | None = None
        self._pieces: list[bytes] = []

    def send(self, index: int) -> int:
        """See ``codec.Codec``."""
        self.out += self._messages[index % len(self._messages)]
        self._index = index
        self.room = 0
        return index

    def cancel(self, token: int) -> None:  # noqa: ARG002 - there is but one
        """See ``codec.Codec``; HTTP/1.1 knows no way to give up but to hang up."""
        self._index = None
        self.room = 0
        self.leaving = True

    def end(self, why: Outcome) -> list[Ended]:
        """See ``codec.Codec``."""
        self.room = 0
        if self._index is None:
            return []
        if self._head is not None and self._head.until_close:
            return [self._finish(self._head, self._pieces)]
        index, self._index = self._index, None
        return [(index, why)]

    def feed(self, data: bytes) -> list[Ended]:
        """See ``codec.Codec``."""
        if self._index is None:
            raise BadAnswer("an answer nobody asked for")
        if self._head is None:
            begun = self._begin(data)
            if begun is None:
                return []
            self._head, data = begun
            self._left_bytes = self._head.size_bytes or 0
            if self._head.chunked:
                self._chunks = Chunks(keep=self._is_kept)
        if self._head.size_bytes is None:
            return self._read_unsized(self._head, data)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise BadAnswer("an answer is longer than it said")
        if self._is_kept:
            self._pieces.append(data)
        return [] if self._left_bytes else [self._finish(self._head, self._pieces)]

    @property
    def _is_kept(self) -> bool:
        return self._index is not None and self._index < self._kept.first

    def _begin(self, data: bytes) -> tuple[Head, bytes] | None:
        """Read the head, past any interim ones; return it and what came after it."""
        if self._pieces:
            data = b"".join((*self._pieces, data))
            self._pieces.clear()
        while (end := data.find(_BLANK)) >= 0:
            raw, data = data[:end], data[end + len(_BLANK) :]
            head = self._heads.get(raw) or self._learn(raw)
            if not head.interim:
                return head, data
        if len(data) > _HEAD_LIMIT_BYTES:
            raise BadAnswer("an answer's head has no end")
        self._pieces.append(data)
        return None

    def _learn(self, raw: bytes) -> Head:
        if len(self._heads) >= _HEADS_KEPT:
            self._heads.clear()
        self._heads[raw] = head = read_head(raw)
        return head

    def _read_unsized(self, head: Head, data: bytes) -> list[Ended]:
        if self._chunks is None:
            if self._is_kept:
                self._pieces.append(data)
            return []
        return [self._finish(head, self._chunks.parts)] if self._chunks.feed(data) else []

    def _finish(self, head: Head, pieces: list[bytes]) -> Ended:
        index = self._index
        if index is None:
            raise BadAnswer("an answer nobody asked for")
        if index < self._kept.first:
            self._kept.answers[index] = Answer(head.headers, b"".join(pieces))
        self._pieces.clear()
        self._head = self._index = self._chunks = None
        self.leaving = self.leaving or head.closes
        self.room = 0 if self.leaving else 1
        return index, head.outcome


def read_head(raw: bytes) -> Head:
    """Read an answer's status line and headers.

    Raises:
        BadAnswer: they are none.
    """
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    number = rest[:3]
    if not (version.startswith("HTTP/1.") and is_number(number)):
        raise BadAnswer(f"not an HTTP/1.1 answer: {first[:80]!r}")
    pairs = [line.partition(":") for line in lines]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    status = int(number)
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    size = headers.get("content-length", "0" if status in _NO_BODY else "")
    if size and not is_number(size):
        raise BadAnswer(f"a content-length of {size[:80]!r}")
    until_close = not (chunked or size)
    connection = headers.get("connection", "").lower()
    return Head(
        outcome=http_outcome(status, headers.get(ERROR_HEADER, "")),
        size_bytes=int(size) if size and not chunked else None,
        chunked=chunked,
        until_close=until_close,
        closes=until_close or connection == "close" or version == "HTTP/1.0",
        interim=status < 200,  # noqa: PLR2004 - 1xx: the answer is still to come
        headers=headers,
    )
