"""Whose fault an error is, and what each protocol calls it: one table for HTTP and gRPC."""

from __future__ import annotations

from enum import Enum, IntEnum


class Blame(Enum):
    """Who has to change something."""

    CLIENT = "client"
    SERVER = "server"
    OPERATOR = "operator"


class GrpcStatus(IntEnum):
    """gRPC status codes (grpc/doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# One row a code: HTTP status, gRPC status. 499 is what nginx and TensorFlow Serving call a client
# that closed the connection; RESOURCE_EXHAUSTED is what grpc-core answers to a large message.
STATUSES: dict[str, tuple[int, GrpcStatus]] = {
    "invalid_argument": (400, GrpcStatus.INVALID_ARGUMENT),
    "malformed_request": (400, GrpcStatus.INVALID_ARGUMENT),
    "invalid_input": (400, GrpcStatus.INVALID_ARGUMENT),
    "invalid_timeout": (400, GrpcStatus.INVALID_ARGUMENT),
    "unsupported_encoding": (415, GrpcStatus.UNIMPLEMENTED),
    "body_too_large": (413, GrpcStatus.RESOURCE_EXHAUSTED),
    "body_too_slow": (408, GrpcStatus.DEADLINE_EXCEEDED),
    "route_not_found": (404, GrpcStatus.UNIMPLEMENTED),
    "method_not_allowed": (405, GrpcStatus.UNIMPLEMENTED),
    "model_not_found": (404, GrpcStatus.NOT_FOUND),
    "version_not_found": (404, GrpcStatus.NOT_FOUND),
    "signature_not_found": (400, GrpcStatus.FAILED_PRECONDITION),
    "not_allowed": (403, GrpcStatus.PERMISSION_DENIED),
    "sequence_not_started": (400, GrpcStatus.INVALID_ARGUMENT),
    "region_not_found": (404, GrpcStatus.NOT_FOUND),
    "already_exists": (400, GrpcStatus.ALREADY_EXISTS),
    "unsupported": (501, GrpcStatus.UNIMPLEMENTED),
    "service_not_found": (404, GrpcStatus.NOT_FOUND),
    "cancelled": (499, GrpcStatus.CANCELLED),
    "overloaded": (429, GrpcStatus.RESOURCE_EXHAUSTED),
    "queue_full": (429, GrpcStatus.RESOURCE_EXHAUSTED),
    "too_many_sequences": (429, GrpcStatus.RESOURCE_EXHAUSTED),
    "too_many_regions": (429, GrpcStatus.RESOURCE_EXHAUSTED),
    "predicted_miss": (429, GrpcStatus.RESOURCE_EXHAUSTED),
    "shed": (504, GrpcStatus.DEADLINE_EXCEEDED),
    "expired": (504, GrpcStatus.DEADLINE_EXCEEDED),
    "unavailable": (503, GrpcStatus.UNAVAILABLE),
    "not_ready": (503, GrpcStatus.UNAVAILABLE),
    "not_resident": (503, GrpcStatus.UNAVAILABLE),
    "no_room": (503, GrpcStatus.UNAVAILABLE),
    "model_failed": (503, GrpcStatus.UNAVAILABLE),
    "model_too_large": (503, GrpcStatus.UNAVAILABLE),
    "engine_lost": (503, GrpcStatus.UNAVAILABLE),
    "scribe_lost": (503, GrpcStatus.UNAVAILABLE),
    "exhausted": (503, GrpcStatus.UNAVAILABLE),
    "draining": (503, GrpcStatus.UNAVAILABLE),
    "connection_failed": (503, GrpcStatus.UNAVAILABLE),
    "connection_lost": (503, GrpcStatus.UNAVAILABLE),
    "inference_failed": (500, GrpcStatus.INTERNAL),
    "malformed_answer": (502, GrpcStatus.INTERNAL),
    "internal": (500, GrpcStatus.INTERNAL),
    "operator": (500, GrpcStatus.INTERNAL),
    "settings": (500, GrpcStatus.INTERNAL),
    "model_load": (500, GrpcStatus.INTERNAL),
    "model_differs": (500, GrpcStatus.INTERNAL),
    "backend_missing": (500, GrpcStatus.INTERNAL),
    "device_missing": (500, GrpcStatus.INTERNAL),
    "start": (500, GrpcStatus.INTERNAL),
}
