"""The lanes: a thread for each, all waiting on one socket, which all receivers share.

The kernel hands each message to one of them, in the order they were sent, whoever has sent it: so
there is no queue between them and the receivers, and none of those can keep another out. It knows
nothing of instances: where those have several lanes, the thread that got a batch may run it on the
lane of another.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from headrace.engine import messages
from headrace.engine.affinity import keep_thread_to
from headrace.engine.backends.contract import Instance
from headrace.engine.board import Board
from headrace.engine.connection import Connection, Job, Reply, failed
from headrace.engine.gate import Gate
from headrace.engine.messages import HEAD_BYTES, LANES, MAX_FRAME_BYTES
from headrace.engine.stages import Shift
from headrace.errors import HeadraceError
from headrace.values import Array

_log = structlog.get_logger("headrace.engine")

Connections = Mapping[int, Connection]
"""The receivers that are there, by the numbers in the heads of their messages."""


class Stage(NamedTuple):
    """One of the lanes of an instance, since when they have been free, and where they run."""

    instance: Instance
    shift: Shift
    cores: Sequence[int]


Cores = Sequence[Sequence[int]]
"""Those that each instance keeps to; none: any."""


class Lanes:
    """All lanes of an engine, from ``start`` on until nothing more is to come from the socket."""

    def __init__(
        self,
        work: socket.socket,
        connections: Connections,
        instances: Sequence[Instance],
        board: Board | None = None,
        *,
        stages: int = 1,
        cores: Cores = (),
    ) -> None:
        gate = Gate(len(instances), stages)
        of_instance = [
            (Shift(), cores[number] if cores else ()) for number in range(len(instances) // stages)
        ]
        lanes = [
            Stage(instance, *of_instance[number // stages])
            for number, instance in enumerate(instances)
        ]
        # Threads get batches in the order in which they wait. With the first lanes of all instances
        # first, most batches come to the lane that is to run them.
        in_turn = [at for stage in range(stages) for at in range(stage, len(lanes), stages)]
        self._threads = [
            threading.Thread(
                target=Lane(number, work, connections, lanes, gate, board).serve,
                name=f"lane-{number}",
            )
            for number in in_turn
        ]

    def start(self) -> None:
        """Begin to take batches."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until they have ended."""
        for thread in self._threads:
            thread.join()


class Lane:
    """A thread that takes batches, and the lane of ``lanes`` that it runs them on if it may."""

    def __init__(
        self,
        number: int,
        work: socket.socket,
        connections: Connections,
        lanes: Sequence[Stage],
        gate: Gate,
        board: Board | None,
    ) -> None:
        self._number = number
        self._work = work
        self._connections = connections
        self._lanes = lanes
        self._gate = gate
        self._board = board

    def serve(self) -> None:
        """Run batches until no more will come."""
        cores = self._lanes[self._number].cores
        if cores:
            keep_thread_to(cores)
        buffer = memoryview(bytearray(MAX_FRAME_BYTES))
        while True:
            self._gate.enter()
            try:
                size = self._work.recv_into(buffer)
                if not size:
                    return
                self._take(buffer[:size])
            finally:
                self._gate.leave()

    def _take(self, frame: memoryview) -> None:
        kind, batch_id, expected_ns, receiver = messages.unpack_head(frame)
        if kind == LANES:
            self._gate.resize(batch_id)
            return
        connection = self._connections.get(receiver)
        if connection is None or not connection.enter():
            return  # it has gone, and left this behind
        try:
            self._serve_batch(connection, batch_id, expected_ns, frame)
        finally:
            connection.leave()

    def _serve_batch(
        self, connection: Connection, batch_id: int, expected_ns: int, frame: memoryview
    ) -> None:
        lane = self._gate.take(self._number)
        try:
            if self._board is not None:
                self._board.take(lane, connection.seat, time.monotonic(), expected_ns / 1e9)
            reply = self._reply(connection, batch_id, bytes(frame[HEAD_BYTES:]), self._lanes[lane])
        finally:  # first: whoever hears of the end looks there, and hands over the next
            if self._board is not None:
                self._board.end(lane)
            self._gate.end(lane)
        connection.send(reply)

    def _reply(self, connection: Connection, batch_id: int, layout: bytes, lane: Stage) -> Reply:
        try:
            job = connection.job(layout)
            outputs, infer_ns = _run(job, lane)
            return connection.write(batch_id, job, infer_ns, outputs)
        except Exception as error:  # noqa: BLE001
            # The border of a batch: whatever a backend or a tensor does, only this batch fails.
            if not isinstance(error, HeadraceError):
                _log.exception("batch_failed")
            return failed(batch_id, layout, error)


def _run(job: Job, lane: Stage) -> tuple[Mapping[str, Array], int]:
    started = time.perf_counter_ns()
    outputs = lane.instance.run(job.inputs)
    return outputs, lane.shift.took(started, time.perf_counter_ns())
