"""The chunked coding of HTTP/1.1, undone as it comes: each byte is looked at once.

Source: RFC 9112, section 7.1.
"""

from __future__ import annotations

import re

from headrace.load.codec import BadAnswer

_SIZE = re.compile(rb"0*[0-9a-fA-F]{1,15}[ \t]*(?:;|$)")
_END = b"\r\n"
# Larger lines are neither a size nor a trailer of a model server.
_LINE_LIMIT_BYTES = 64 * 1024


class Chunks:
    """A body in chunks: ``parts`` is what was in them so far, where it is to be kept."""

    def __init__(self, *, keep: bool) -> None:
        self.parts: list[bytes] = []
        self._keep = keep
        self._left_bytes = 0  # of this chunk and the line end after it
        self._line = b""  # the begin of a line whose end is not there yet
        self._trailing = False  # the last chunk is over, trailers may follow

    def feed(self, data: bytes) -> bool:
        """Take bytes; return whether the body ended with them.

        Raises:
            BadAnswer: they are not chunked, or something follows the end.
        """
        if self._line:
            data = self._line + data
        at, end = 0, len(data)
        while at < end:
            if self._left_bytes:
                at = self._take(data, at)
                continue
            stop = data.find(_END, at)
            if stop < 0:
                break
            line, at = data[at:stop], stop + len(_END)
            if not self._trailing:
                self._begin(line)
            elif not line:
                return _is_last(at, end)
        self._line = data[at:]
        if len(self._line) > _LINE_LIMIT_BYTES:
            raise BadAnswer("a line between chunks has no end")
        return False

    def _take(self, data: bytes, at: int) -> int:
        """Take what there is of this chunk; return where what follows begins."""
        inside = self._left_bytes - len(_END)
        taken = min(self._left_bytes, len(data) - at)
        if self._keep and inside > 0:
            self.parts.append(data[at : at + min(taken, inside)])
        self._left_bytes -= taken
        return at + taken

    def _begin(self, line: bytes) -> None:
        found = _SIZE.match(line)
        if found is None:
            raise BadAnswer(f"a chunk of size {line[:80]!r}")
        size = int(found.group().rstrip(b";"), 16)
        self._left_bytes = size + len(_END) if size else 0
        self._trailing = not size


def _is_last(at: int, end: int) -> bool:
    if at != end:
        raise BadAnswer("something follows the last chunk")
    return True
