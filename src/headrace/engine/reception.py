"""Receivers come to an engine and leave it, while its lanes run what those that are there send.

Each has a connection of its own, by which it hears answers, and its slots; what it hands over goes
into one socket for all, whose other end it is given when it comes.
"""

from __future__ import annotations

import itertools
import os
import selectors
import socket
from collections.abc import Callable, Sequence

import structlog

from headrace.engine import messages
from headrace.engine.backends.contract import Instance
from headrace.engine.board import Board, seats_for
from headrace.engine.connection import Connection
from headrace.engine.instances import Cores, Lanes
from headrace.engine.messages import MAX_FRAME_BYTES, Attached
from headrace.engine.slots import Slots
from headrace.values import Signature

# Batches that wait in the socket, at most: the kernel gives what it may of it.
_WORK_BYTES = 2**20
_log = structlog.get_logger("headrace.engine")


Pin = Callable[[list[memoryview]], Callable[[], None]]
"""Pin memory for a device; what it returns lets it go."""


def _kept() -> None:
    """Let go of nothing: the memory was not pinned."""


class Reception:
    """Takes receivers in until it is closed; ``close`` may be called from another thread."""

    def __init__(
        self,
        listener: socket.socket,
        signature: Signature,
        sizes: Sequence[int] | None,
        receivers: int = 1,
        *,
        stages: int = 1,
        pinned_bytes: int = 0,
    ) -> None:
        self._listener = listener
        self._signature = signature
        self._sizes = sizes
        self._stages = stages  # lanes of one instance
        self._pinned_bytes = pinned_bytes  # what a large batch takes of a slot
        self._pin: Pin | None = None  # where a device copies out of pinned memory
        self._most = seats_for(receivers)
        self._shown = receivers > 1
        self._board: Board | None = None
        self._board_descriptor = -1
        self._work, self._entrance = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connections: dict[int, Connection] = {}
        self._attached: dict[socket.socket, int] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    def serve(
        self,
        instances: Sequence[Instance],
        cores: Cores = (),
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Run what receivers send until ``close``; then end what has been sent.

        Each instance keeps to its ``cores``, where there are any. ``ready`` hears that all lanes
        have started: the machine may not have had a thread for each.
        """
        self._entrance.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WORK_BYTES)
        if self._shown:
            self._board, self._board_descriptor = Board.create(self._most, len(instances))
        self._pin = getattr(instances[0], "pin", None)
        lanes = Lanes(
            self._work,
            self._connections,
            instances,
            self._board,
            stages=self._stages,
            cores=cores,
        )
        lanes.start()
        ready()
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._closed:
                for key, _ in selector.select():
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    else:
                        self._hear(selector, key.fileobj)  # type: ignore[arg-type]
            lanes.join()
            for connection in self._connections.values():
                connection.close()
            for key in list(selector.get_map().values()):
                if key.fileobj is not self._listener:
                    key.fileobj.close()  # type: ignore[union-attr]
        self._work.close()
        self._entrance.close()
        if self._board is not None:
            os.close(self._board_descriptor)

    def close(self) -> None:
        """Take nobody in any more, and end when what has been handed over has run."""
        self._closed = True
        for one in (self._listener, self._work):
            try:
                one.shutdown(socket.SHUT_RD)
            except OSError:
                continue  # not listening yet, or closed already

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            channel, _ = self._listener.accept()
        except OSError:
            return  # closed
        selector.register(channel, selectors.EVENT_READ)

    def _hear(self, selector: selectors.BaseSelector, channel: socket.socket) -> None:
        """A receiver says what its slots are, once, or has gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(channel, MAX_FRAME_BYTES, 1)
        except OSError:
            data, descriptors = b"", []
        if data and descriptors and len(self._connections) < self._most:
            self._attach(channel, data, descriptors[0])
            return
        for descriptor in descriptors:  # of one more than there are seats for
            os.close(descriptor)
        selector.unregister(channel)
        number = self._attached.pop(channel, None)
        if number is not None:
            connection = self._connections.pop(number)
            connection.close()
            if self._board is not None:
                self._board.clear(connection.seat)
        channel.close()

    def _attach(self, channel: socket.socket, data: bytes, descriptor: int) -> None:
        slots = Slots(descriptor, *messages.unpack_attach(data))
        os.close(descriptor)
        taken = {connection.seat for connection in self._connections.values()}
        seat = next(seat for seat in range(self._most) if seat not in taken)
        number = next(self._numbers)
        release = _kept if self._pin is None else self._pin(slots.beginnings(self._pinned_bytes))
        connection = Connection(channel, slots, self._signature, self._sizes, seat, release)
        self._connections[number] = connection
        self._attached[channel] = number
        board, passed = self._board, [self._entrance.fileno()]
        if board is not None:
            board.clear(seat)
            passed.append(self._board_descriptor)
        told = Attached(number, seat, self._most, 0 if board is None else board.lanes)
        try:
            socket.send_fds(channel, [messages.pack_attached(told)], passed)
        except OSError:
            _log.debug("receiver_left_at_once")  # its end is heard next
