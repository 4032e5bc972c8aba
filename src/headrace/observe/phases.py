"""Where the time of one request went; pure."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

ID_CHARACTERS = 128
"""So much of a request's id is kept and told to others; its own answer has it whole."""


class Run(NamedTuple):
    """One batch in the engine; every request in it shares this.

    ``start_s`` and ``end_s`` are on the receiver's monotonic clock; ``assemble_s`` is how long its
    inputs took to be written, ``infer_s`` how long the model ran.
    """

    start_s: float
    assemble_s: float
    infer_s: float
    end_s: float
    rows: int
    requests: int


class Noted(Protocol):
    """What is noted of a request on its way, on the receiver's monotonic clock; 0: not yet."""

    @property
    def priority(self) -> int:
        """Less goes first; 0 is the normal one."""

    @property
    def load_s(self) -> float:
        """How long it waited for its model, all before it arrived."""

    @property
    def arrival_s(self) -> float:
        """When it came."""

    @property
    def received_s(self) -> float:
        """When its whole body was there."""

    @property
    def decoded_s(self) -> float:
        """When its tensors were there."""

    @property
    def run(self) -> Run | None:
        """Its batch, or the last of several; None: there was none yet."""

    @property
    def answered_s(self) -> float:
        """When its outputs were there."""


class Phases(NamedTuple):
    """The seconds that each phase of a request took, in order; together they are its time.

    ``load`` is the wait for a model that was not in memory, ``receive`` that for its body, ``lane``
    that of an assembled batch for the one before it, and for the way between the processes.
    """

    load: float = 0.0
    receive: float = 0.0
    decode: float = 0.0
    queue: float = 0.0
    assemble: float = 0.0
    lane: float = 0.0
    infer: float = 0.0
    results: float = 0.0
    encode: float = 0.0

    @property
    def total(self) -> float:
        """Their sum."""
        return sum(self)

    @classmethod
    def of(cls, request: Noted, now_s: float) -> Phases:
        """Those of a request until now; ``queue`` ends where its last batch began."""
        load_s, run = request.load_s, request.run
        received_s, decoded_s = request.received_s, request.decoded_s
        if not received_s:
            return cls(load=load_s, receive=now_s - request.arrival_s)
        receive = received_s - request.arrival_s
        if not decoded_s:
            return cls(load=load_s, receive=receive, decode=now_s - received_s)
        decode = decoded_s - received_s
        if run is None:
            return cls(load=load_s, receive=receive, decode=decode, queue=now_s - decoded_s)
        # Who assembles may be held up just after the engine has the batch, and hear the end of
        # both together: what is of the run is not of assembling.
        besides_s = run.end_s - run.start_s - run.infer_s
        assemble_s = min(run.assemble_s, besides_s)
        ended_s = request.answered_s or now_s
        return cls(
            load=load_s,
            receive=receive,
            decode=decode,
            queue=run.start_s - decoded_s,
            assemble=assemble_s,
            lane=besides_s - assemble_s,
            infer=run.infer_s,
            results=ended_s - run.end_s,
            encode=now_s - ended_s,
        )

    def server_timing(self) -> bytes:
        """The value of a ``Server-Timing`` header (W3C): milliseconds of each phase."""
        parts = [f"{name};dur={1e3 * value:.3f}" for name, value in self._asdict().items()]
        return ", ".join([*parts, f"total;dur={1e3 * self.total:.3f}"]).encode()


class Passed(NamedTuple):
    """One request that has been answered, or failed."""

    model: str
    version: int
    id: str
    outcome: str
    ended_unix_s: float
    phases: Phases
    batch_rows: int
    batch_requests: int

    def described(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.model,
            "version": self.version,
            "id": self.id,
            "outcome": self.outcome,
            "ended_unix_s": self.ended_unix_s,
            "total_s": self.phases.total,
            "phases_s": self.phases._asdict(),
            "batch_rows": self.batch_rows,
            "batch_requests": self.batch_requests,
        }
