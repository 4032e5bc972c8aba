"""Connections to one server: a request goes to the next one that has room for it.

One thread, non-blocking sockets and no event loop: asyncio's wakes up on whole milliseconds, which
is the very delay a sender must not have, and spends more on an answer than reading it takes.
"""

from __future__ import annotations

import errno
import resource
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace.errors import StartError
from headrace.load.codec import BadAnswer, Codec, Ended, Piece
from headrace.load.result import (
    CONNECTION_LOST,
    CONNECTION_REFUSED,
    PROTOCOL_ERROR,
    TIMEOUT,
    Outcome,
)

# Small enough that the allocator has it at hand.
_READ_BYTES = 64 * 1024
_PIECES = 256  # written at once; the kernel takes at most 1024
# A server that is away is asked again after this long, and meanwhile requests fail at once.
_RETRY_S = 0.05
# What a process has open beside its connections, with some to spare.
_OTHER_FILES = 64
NO_ANSWER = "no server answers at"
"""How it begins what is said of a server that is not there, or says nothing that is understood."""
NOT_THERE = "connection refused; is the server running, and is this its address?"
"""How that ends of one that is not there."""


class Link:
    """One connection; when it is lost it is made anew."""

    __slots__ = (
        "codec", "connected", "dirty", "given_up", "inflight", "listed", "replaced", "served",
        "socket", "writing",
    )  # fmt: skip

    def __init__(self, codec: Codec, connection: socket.socket) -> None:
        self.codec = codec
        self.socket = connection
        self.connected = False
        self.served = False  # it has answered something
        self.replaced = False  # another is made in its place
        self.given_up = False  # we hang up, for the server took too long
        self.inflight = 0
        self.dirty = False  # it has something to write
        self.writing = True  # epoll says when it may
        self.listed = False  # among the links with room


class Pool:
    """All connections of a run; ``outstanding`` requests have been submitted and not ended."""

    def __init__(
        self,
        endpoint: tuple[str, int],
        make_codec: Callable[[], Codec],
        connections: int,
        clock: Callable[[], float],
    ) -> None:
        self.outstanding = 0
        self._endpoint = endpoint
        self._make_codec = make_codec
        self._connections = connections
        self._clock = clock
        self._epoll = select.epoll()
        self._links: dict[int, Link] = {}  # by descriptor
        self._missing = 0  # links to make anew
        self._lost = 0  # those of them that we did not give up ourselves
        self._held_s = 0.0  # how long none was lost, until the last time that this changed
        self._changed_s = 0.0
        self._away = False  # the last attempt to connect failed
        self._why = TIMEOUT  # how the last connection was lost
        self._retry_s = 0.0
        self._roomy: deque[Link] = deque()
        self._dirty: list[Link] = []
        self._flights: dict[int, tuple[Link, int]] = {}  # request → where, and the token there
        self.queued: list[tuple[int, float]] = []  # whom the last wait gave a link, after how long
        self._waiting: deque[int] = deque()
        self._since_s: dict[int, float] = {}  # those that wait for a link, by ``_held``
        self._written: list[int] = []
        self._ended: list[tuple[float, list[Ended]]] = []

    # --- life -------------------------------------------------------------------------------------

    def open(self, timeout_s: float) -> None:
        """Connect, and wait until the server is ready to be asked on every connection.

        A name may stand for several addresses (``localhost`` for ``::1`` too): the first that
        answers is kept.

        Raises:
            StartError: none does, within the time, or may not open so many connections.
        """
        asked = self._endpoint
        addresses = _resolve(asked)
        _allow_files(self._connections)
        end_s, why = self._clock() + timeout_s, CONNECTION_REFUSED
        for left, self._endpoint in zip(range(len(addresses), 0, -1), addresses, strict=True):
            if self._open_within((end_s - self._clock()) / left):
                return
            # What came of one that is there says more than a refusal.
            why = why if self._why is CONNECTION_REFUSED else self._why
            self._hang_up()
        reason = NOT_THERE if why is CONNECTION_REFUSED else str(why).replace("_", " ")
        raise StartError(f"{NO_ANSWER} {_told(asked, addresses)}: {reason}")

    def _open_within(self, timeout_s: float) -> bool:
        """Connect to one address; return whether it answers."""
        try:
            for _ in range(self._connections):
                self._connect()
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:  # as a kernel without IPv6 says
                raise
            self._why = CONNECTION_REFUSED
            return False
        end_s = self._clock() + timeout_s
        while not self._is_open():
            left_s = end_s - self._clock()
            if left_s <= 0 or self._missing:
                return False
            self.wait(left_s)
            self.flush()
        return True

    def _is_open(self) -> bool:
        links = self._links.values()
        return not self._missing and all(link.connected and link.codec.ready for link in links)

    def fileno(self) -> int:
        """What to wait on, for who has more than this to wait for."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Hang up."""
        self._hang_up()
        self._epoll.close()

    def _hang_up(self) -> None:
        for link in self._links.values():
            link.socket.close()
        self._links.clear()
        self._roomy.clear()
        self._dirty.clear()
        self._missing, self._retry_s, self._why = 0, 0.0, TIMEOUT
        self._note_lost(0)

    def _connect(self) -> None:
        family = socket.AF_INET6 if ":" in self._endpoint[0] else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(0.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failed = connection.connect_ex(self._endpoint) not in {0, errno.EINPROGRESS}
        link = Link(self._make_codec(), connection)
        self._links[connection.fileno()] = link
        self._epoll.register(connection.fileno(), select.EPOLLIN | select.EPOLLOUT)
        if failed:
            self._lose(link, CONNECTION_REFUSED)
        else:
            self._touch(link)

    def _reconnect(self) -> None:
        """Make one lost link anew, unless the server was away a moment ago."""
        if self._clock() >= self._retry_s:
            self._missing -= 1
            if self._lost:
                self._note_lost(self._lost - 1)
            self._connect()

    def _lose(self, link: Link, why: Outcome) -> None:
        del self._links[link.socket.fileno()]
        link.socket.close()
        self._replace(link)
        self._away = why is CONNECTION_REFUSED
        self._why = why
        if not link.served and not link.given_up:
            self._retry_s = self._clock() + _RETRY_S
        unseen, link.codec.unseen = link.codec.unseen, []
        self._take(link, link.codec.end(why), self._clock())
        for index in unseen:
            self._send_again(link, index)
        if self._nobody():
            self._refuse(self._waiting)
            self._waiting.clear()
            self._since_s.clear()

    def _replace(self, link: Link) -> None:
        if not link.replaced:
            link.replaced = True
            self._missing += 1
            if not link.given_up:
                self._note_lost(self._lost + 1)

    def _note_lost(self, lost: int) -> None:
        self._held_s, self._lost, self._changed_s = self._held(), lost, self._clock()

    def _held(self) -> float:
        """Seconds so far in which no link was lost: who waits for one then, waits for answers."""
        return self._held_s + (0.0 if self._lost else self._clock() - self._changed_s)

    def _nobody(self) -> bool:
        """Whether there is no server to wait for."""
        return self._away and not self._links

    # --- requests ---------------------------------------------------------------------------------

    def submit(self, index: int) -> None:
        """Send a request with the next ``flush``, or as soon as a connection has room for it."""
        self.outstanding += 1
        if self._waiting or not self._place(index):
            self._delay(index)

    def cancel(self, index: int) -> bool:
        """Give up a request; false when it has ended, which the next ``wait`` will say."""
        flight = self._flights.pop(index, None)
        if flight is not None:
            link, token = flight
            link.inflight -= 1
            leaving = link.codec.leaving
            link.codec.cancel(token)
            link.given_up |= link.codec.leaving and not leaving
            self._touch(link)
        elif self._since_s.pop(index, None) is not None:
            self._waiting.remove(index)
        else:
            return False
        self.outstanding -= 1
        return True

    def _place(self, index: int) -> bool:
        """Put a request on the next link with room; they take turns."""
        while self._roomy:
            link = self._roomy.popleft()
            link.listed = False
            codec = link.codec
            if codec.room > 0:
                self._flights[index] = link, codec.send(index)
                link.inflight += 1
                self._written.append(index)
                self._touch(link)
                return True
        return False

    def _delay(self, index: int) -> None:
        if self._nobody():
            self._refuse([index])
        else:
            self._waiting.append(index)
            self._since_s[index] = self._held()

    def _place_waiting(self) -> None:
        held_s, self.queued = self._held(), []
        while self._waiting and self._place(self._waiting[0]):
            index = self._waiting.popleft()
            self.queued.append((index, held_s - self._since_s.pop(index)))

    def _send_again(self, link: Link, index: int) -> None:
        """Take a request from a link that has not looked at it, and put it on another."""
        del self._flights[index]
        link.inflight -= 1
        self._delay(index)

    def _touch(self, link: Link) -> None:
        """Remember what a link can take and has to say; hang up when it is of no more use."""
        codec = link.codec
        if codec.out and not link.dirty:
            link.dirty = True
            self._dirty.append(link)
        if codec.room > 0:
            if not link.listed:
                link.listed = True
                self._roomy.append(link)
        elif codec.leaving and link.socket.fileno() in self._links:
            self._replace(link)
            if not link.inflight:
                self._lose(link, CONNECTION_LOST)

    def _take(self, link: Link, ended: list[Ended], moment_s: float) -> None:
        """Take what ended on a link."""
        link.inflight -= len(ended)
        for index, _ in ended:
            del self._flights[index]
        self._end(ended, moment_s)

    def _refuse(self, indices: Iterable[int]) -> None:
        self._end([(index, CONNECTION_REFUSED) for index in indices], self._clock())

    def _end(self, ended: list[Ended], moment_s: float) -> None:
        if ended:
            self.outstanding -= len(ended)
            self._ended.append((moment_s, ended))

    # --- reading and writing ----------------------------------------------------------------------

    def flush(self) -> list[int]:
        """Write what there is to write; return the requests that went."""
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            link.dirty = False
            if not link.writing and link.socket.fileno() in self._links:
                self._write(link)
        written, self._written = self._written, []
        return written

    def wait(self, timeout_s: float) -> list[tuple[float, list[Ended]]]:
        """Wait for the server to say something; return what ended, and when.

        The time-out of select is exact to some 60 µs; epoll's own counts in milliseconds.
        """
        pause_s = 0.0 if self._ended else max(timeout_s, 0.0)
        if select.select((self._epoll,), (), (), pause_s)[0]:
            for descriptor, events in self._epoll.poll(0):
                self._serve(self._links[descriptor], events)
        if self._missing:
            self._reconnect()
        if self._waiting or self.queued:
            self._place_waiting()
        ended, self._ended = self._ended, []
        return ended

    def _serve(self, link: Link, events: int) -> None:
        if not link.connected:
            if link.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._lose(link, CONNECTION_REFUSED)
                return
            link.connected = True
            self._away = False
        if events & select.EPOLLOUT:
            self._write(link)
        if events & ~select.EPOLLOUT:
            self._read(link)

    def _write(self, link: Link) -> None:
        out = link.codec.out
        try:
            while out:
                _drop(out, link.socket.sendmsg(out[:_PIECES]))
            blocked = False
        except BlockingIOError:
            blocked = True
        except OSError:  # the server hung up: what it still had to say is read first
            out.clear()
            blocked = False
        if blocked is not link.writing:
            link.writing = blocked
            events = select.EPOLLIN | (select.EPOLLOUT if blocked else 0)
            self._epoll.modify(link.socket.fileno(), events)

    def _read(self, link: Link) -> None:
        try:
            data = link.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(link, CONNECTION_LOST)
            return
        codec, moment_s = link.codec, self._clock()
        try:
            ended = codec.feed(data)
        except BadAnswer:
            self._lose(link, PROTOCOL_ERROR)
            return
        if ended:
            link.served = True
            self._take(link, ended, moment_s)
        for index in codec.unseen:
            self._send_again(link, index)
        codec.unseen = []
        self._touch(link)


def _resolve(endpoint: tuple[str, int]) -> list[tuple[str, int]]:
    """Look a name up once, before the run; return all its addresses, the preferred first."""
    try:
        found = socket.getaddrinfo(*endpoint, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter of what is no name of a host
        why = getattr(error, "strerror", None) or error
        raise StartError(f"cannot find {endpoint[0]}: {why}") from error
    return [*dict.fromkeys((str(one[4][0]), int(one[4][1])) for one in found)]


def _told(asked: tuple[str, int], addresses: list[tuple[str, int]]) -> str:
    """The address as it was given, and what it stands for."""
    stands_for = " or ".join(map(_in_words, addresses))
    given = _in_words(asked)
    return given if given == stands_for else f"{given} ({stands_for})"


def _in_words(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _allow_files(connections: int) -> None:
    """Raise the limit of open files as far as is needed, or say that it cannot be.

    Raises:
        StartError: so many connections are not allowed.
    """
    wanted = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY:
        others = _open_files()
        if connections + others > hard:
            raise StartError(
                f"{connections:,} connections and {others} other files are more than the {hard:,} "
                "open files that are allowed: raise the limit (ulimit -n), or give fewer "
                "--connections"
            )
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _open_files() -> int:
    """How many this process has open; 0 where the system does not tell."""
    try:
        return len([*Path("/dev/fd").iterdir()])
    except OSError:
        return 0


def _drop(pieces: list[Piece], sent: int) -> None:
    """Take what was written off the front of the list."""
    whole = 0
    for piece in pieces:
        if sent < len(piece):
            break
        sent -= len(piece)
        whole += 1
    del pieces[:whole]
    if sent:
        pieces[0] = memoryview(pieces[0])[sent:]
