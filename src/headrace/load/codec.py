"""The seam between sending and protocols: a codec is one connection without its socket.

Bytes in, ended requests out; it knows neither sockets nor time.
"""

from __future__ import annotations

from typing import Protocol

from headrace.load.result import Answer, Outcome

Ended = tuple[int, Outcome]
"""A request by its number, and how it ended."""


Piece = bytes | bytearray | memoryview
"""Something to write."""


class BadAnswer(Exception):
    """What the server sent is not the protocol; the connection is of no more use."""


class Codec(Protocol):
    """One connection's worth of a protocol.

    Attributes:
        out: bytes to write, in order; who writes them takes them away.
        room: how many more requests it takes now.
        ready: the server has said what it must say before requests are sent.
        leaving: the connection is to be closed once nothing is in flight on it.
        unseen: requests the server says it has not looked at, to be sent elsewhere.
    """

    out: list[Piece]
    room: int
    ready: bool
    leaving: bool
    unseen: list[int]

    def send(self, index: int) -> int:
        """Put a request on the connection; return the token to cancel it by."""

    def feed(self, data: bytes) -> list[Ended]:
        """Take bytes from the server; return the requests that ended with them.

        Raises:
            BadAnswer: they are not the protocol.
        """

    def cancel(self, token: int) -> None:
        """Give up a request: its answer will not be waited for."""

    def end(self, why: Outcome) -> list[Ended]:
        """Take the end of the connection; return the requests that ended with it, and so."""


class Kept:
    """The answers to the first requests, whole; of all others nothing is kept."""

    __slots__ = ("answers", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        self.answers: dict[int, Answer] = {}


def is_number(text: str) -> bool:
    """Whether it is digits; ``str.isdigit`` takes some that ``int`` does not."""
    return text.isascii() and text.isdecimal()
