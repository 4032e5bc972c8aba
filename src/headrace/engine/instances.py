"""The lanes: a thread for every instance, all waiting on one socket, which all receivers share.

The kernel hands each message to one of them, in the order they were sent, whoever has sent it: so
there is no queue between them and the receivers, and none of those can keep another out.
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
from headrace.engine.connection import Connection, Job, refused
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
        self._threads = [
            threading.Thread(target=lane.serve, name=f"lane-{number}")
            for number, lane in enumerate(
                Lane(
                    number,
                    work,
                    connections,
                    Stage(instance, *of_instance[number // stages]),
                    gate,
                    board,
                )
                for number, instance in enumerate(instances)
            )
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
    """One instance and the thread that feeds it."""

    def __init__(
        self,
        number: int,
        work: socket.socket,
        connections: Connections,
        stage: Stage,
        gate: Gate,
        board: Board | None,
    ) -> None:
        self._number = number
        self._work = work
        self._connections = connections
        self._instance, self._shift, self._cores = stage
        self._gate = gate
        self._board = board

    def serve(self) -> None:
        """Run batches until no more will come."""
        if self._cores:
            keep_thread_to(self._cores)
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
        layout = bytes(frame[HEAD_BYTES:])
        if self._board is not None:
            self._board.take(self._number, connection.seat, time.monotonic(), expected_ns / 1e9)
        try:
            job = connection.job(layout)
            outputs, infer_ns = self._run(job)
            reply = connection.write(batch_id, job, infer_ns, outputs)
        except Exception as error:  # noqa: BLE001
            # The border of a batch: whatever a backend or a tensor does, only this batch fails.
            expected = isinstance(error, HeadraceError)
            if not expected:
                _log.exception("batch_failed")
            note = str(error) if expected else f"{type(error).__name__}: {error}"
            reply = refused(batch_id, layout, note)
        if self._board is not None:  # first: whoever hears of the end looks there
            self._board.end(self._number)
        connection.send(reply)

    def _run(self, job: Job) -> tuple[Mapping[str, Array], int]:
        started = time.perf_counter_ns()
        outputs = self._instance.run(job.inputs)
        return outputs, self._shift.took(started, time.perf_counter_ns())
