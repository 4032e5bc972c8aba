"""What to send where, and by which rule: frozen values, and nothing that runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from headrace.load.arrivals import Arrivals

Headers = tuple[tuple[str, str], ...]

# What a real fleet of clients would hold open: above it a server is not asked, the plan is broken.
_MAX_OUTSTANDING = 8192


class Protocol(Enum):
    """How requests travel; which API they speak is in their path and body."""

    HTTP = "http"
    """HTTP/1.1, kept alive, one request at a time on a connection."""

    GRPC = "grpc"
    """Unary gRPC over cleartext HTTP/2, many requests at once on a connection."""


@dataclass(frozen=True, slots=True)
class Message:
    """One encoded request: its body (for gRPC without the prefix) and headers of its own."""

    body: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A server, a way to it, and the messages to send it, taken in turn.

    ``timeout_s`` is how long the client waits, from the intended send time; to tell the server of
    it, put it in the headers (``grpc-timeout``, ``headrace-timeout-ms``). ``connections`` None: as
    many as the plan has callers, or else 256 (HTTP) or 2 (gRPC). The answers to the first ``keep``
    requests are kept whole. ``rows`` are those of every message; None: they differ, or nobody
    knows.
    """

    protocol: Protocol
    address: str
    path: str
    messages: tuple[Message, ...]
    method: str = "POST"
    headers: Headers = ()
    timeout_s: float = 10.0
    connections: int | None = None
    keep: int = 0
    rows: int | None = None

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError("a target needs at least one message")
        host, colon, port = self.address.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise ValueError(f"a target's address is HOST:PORT, not {self.address!r}")
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"timeout_s must be positive, not {self.timeout_s:g}")
        if self.connections is not None and self.connections < 1:
            raise ValueError("a target needs at least one connection")

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Send at the planned times whatever the answers do.

    A request that finds ``max_outstanding`` others without an answer is not sent: it ends as
    ``not_sent``.
    """

    arrivals: Arrivals
    max_outstanding: int = _MAX_OUTSTANDING

    def __post_init__(self) -> None:
        if self.max_outstanding < 1:
            raise ValueError("max_outstanding must be at least 1")

    @property
    def duration_s(self) -> float:
        """How long requests are sent."""
        return self.arrivals.duration_s


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Keep ``concurrency`` callers busy: each sends its next request when it has its answer.

    It says what the server can do at that concurrency, and nothing of what a crowd would feel: a
    slow answer here holds back the requests that would have come.
    """

    concurrency: int
    duration_s: float

    def __post_init__(self) -> None:
        if self.concurrency < 1 or not 0 < self.duration_s < math.inf:
            raise ValueError("a closed loop needs at least one caller and a duration")


Plan = OpenLoop | ClosedLoop


def connections(plan: Plan, target: Target) -> int:
    """How many connections to open."""
    if target.connections is not None:
        return target.connections
    if target.protocol is Protocol.GRPC:
        return 2
    if isinstance(plan, ClosedLoop):
        return plan.concurrency
    return max(1, min(256, plan.max_outstanding, len(plan.arrivals)))
