"""One malformed request: how it is sent, how it must be refused; and the short ways to say so."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.statuses import GrpcStatus
from tests.contract.calls import Call, plain

LIMIT_BYTES = 2**20
"""The largest body the server takes."""

DIGITS = "9" * 5000
"""More than Python reads as a number."""

ROW = struct.pack("<4f", 1, 2, 3, 4)
"""A row of `linear`, raw."""

UNIMPLEMENTED = int(GrpcStatus.UNIMPLEMENTED)
TOO_MUCH = int(GrpcStatus.RESOURCE_EXHAUSTED)
NOT_FOUND = int(GrpcStatus.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Case:
    """One malformed request.

    ``status`` is HTTP's, or gRPC's where the call is gRPC; ``error`` the ``headrace-error`` header,
    None where Envoy refuses before we see it; ``message`` a regular expression.
    """

    name: str
    call: Call
    status: int
    error: str | None
    message: str

    @property
    def front(self) -> str:
        """The first words of the name, up to the colon."""
        return self.name.partition(":")[0]


def http(
    path: str, body: object = b"", *, method: str = "POST", headers: Mapping[str, str] | None = None
) -> Call:
    """A plain HTTP request."""
    return plain(method, path, body, **(headers or {}))


def invalid(name: str, call: Call, message: str) -> Case:
    return Case(name, call, 400, "invalid_input", message)


def malformed(name: str, call: Call, message: str) -> Case:
    return Case(name, call, 400, "malformed_request", message)


def timeout(name: str, call: Call, message: str = "timeout") -> Case:
    return Case(name, call, 400, "invalid_timeout", message)


def refused(
    name: str, call: Call, message: str, error: str = "invalid_input", status: int | None = None
) -> Case:
    code = GrpcStatus.INVALID_ARGUMENT if status is None else status
    return Case(name, call, int(code), error, message)
