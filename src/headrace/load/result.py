"""What came of a run: one row a request, and a name for every way a request can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.load.arrivals import Times
from headrace.statuses import STATUSES, GrpcStatus

ERROR_HEADER = "headrace-error"
"""Where Headrace says which of its errors an answer is."""


class Kind(Enum):
    """What an outcome means to the one who waited."""

    OK = "ok"
    REFUSED = "refused"
    LATE = "late"
    FAILED = "failed"
    NOT_SENT = "not sent"


class Outcome(NamedTuple):
    """How a request ended: the status by name, and Headrace's error code where there is one."""

    status: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.status} ({self.code})" if self.code else self.status


OK = Outcome("ok")
NOT_SENT = Outcome("not_sent")
TIMEOUT = Outcome("timeout")
CONNECTION_REFUSED = Outcome("connection_refused")
CONNECTION_LOST = Outcome("connection_lost")
PROTOCOL_ERROR = Outcome("protocol_error")

_KINDS: dict[str, Kind] = {
    OK.status: Kind.OK,
    NOT_SENT.status: Kind.NOT_SENT,
    TIMEOUT.status: Kind.LATE,
    GrpcStatus.DEADLINE_EXCEEDED.name: Kind.LATE,
    GrpcStatus.RESOURCE_EXHAUSTED.name: Kind.REFUSED,
    GrpcStatus.UNAVAILABLE.name: Kind.REFUSED,
}
_HTTP_KINDS: dict[int, Kind] = {
    HTTPStatus.TOO_MANY_REQUESTS: Kind.REFUSED,
    HTTPStatus.SERVICE_UNAVAILABLE: Kind.REFUSED,
    HTTPStatus.GATEWAY_TIMEOUT: Kind.LATE,
}


def http_outcome(status: int, code: str = "") -> Outcome:
    """Name an HTTP answer."""
    if status // 100 == 2:  # noqa: PLR2004 - 2xx
        return OK
    try:
        return Outcome(f"{status} {HTTPStatus(status).phrase}", code)
    except ValueError:  # 499 and other statuses nobody registered
        return Outcome(str(status), code)


def grpc_outcome(status: int, code: str = "") -> Outcome:
    """Name a gRPC answer."""
    if status == GrpcStatus.OK:
        return OK
    try:
        return Outcome(GrpcStatus(status).name, code)
    except ValueError:
        return Outcome(f"grpc-status {status}", code)


def kind(outcome: Outcome) -> Kind:
    """Say what an outcome means; Headrace's own code is the clearest, then the status."""
    if outcome.code in STATUSES:
        return _HTTP_KINDS.get(STATUSES[outcome.code][0], Kind.FAILED)
    number = outcome.status.partition(" ")[0]
    if number.isdigit():
        return _HTTP_KINDS.get(int(number), Kind.FAILED)
    return _KINDS.get(outcome.status, Kind.FAILED)


class Answer(NamedTuple):
    """A kept answer: lower-case headers (with gRPC's trailers), and the body without a prefix."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One row a request, in the order of the intended times.

    Times are seconds since the start; ``sent_s`` is NaN where a request never went, ``done_s`` is
    when it ended in whatever way. ``outcome`` counts into ``outcomes``. ``started_s`` is the
    start on the machine's monotonic clock, so that another process can say what it did when.
    ``cpu_s`` is what the sender used. ``concurrency`` None: an open loop. ``queued_s`` is how long
    each waited for a connection, while all were waiting for answers; None: none did.
    """

    intended_s: Times
    sent_s: Times
    done_s: Times
    outcome: NDArray[np.uint16]
    outcomes: tuple[Outcome, ...]
    answers: Mapping[int, Answer]
    started_s: float
    duration_s: float
    cpu_s: float
    concurrency: int | None = None
    queued_s: Times | None = None

    def __len__(self) -> int:
        return len(self.intended_s)

    @property
    def queues_s(self) -> Times:
        """How long each waited for a connection."""
        return np.zeros(len(self)) if self.queued_s is None else self.queued_s

    def is_kind(self, wanted: Kind) -> NDArray[np.bool_]:
        """Which requests ended so."""
        table = np.array([kind(outcome) is wanted for outcome in self.outcomes], np.bool_)
        return table[self.outcome]
