"""Typed errors: of requests that cannot be written, and of answers.

Those are the very classes the server raised, by the code it sends with them; servers that send no
code are read by their status, as well as that goes.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping

import orjson

from headrace import errors
from headrace.client.question import Answer
from headrace.codes import of_status
from headrace.errors import HeadraceError, MalformedAnswer, MalformedRequest
from headrace.statuses import GrpcStatus

_TEXT_LIMIT = 300
# As grpcio and Go say it, then C++ and Java.
_TOO_LARGE = re.compile("essage larger than max |essage size exceeded|exceeds maximum size")


def _classes(root: type[HeadraceError]) -> Iterator[tuple[str, type[HeadraceError]]]:
    yield root.code, root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _classes(kind)


# Of classes with one code the one farthest down counts: a group is not raised itself.
_BY_CODE: Mapping[str, type[HeadraceError]] = dict(_classes(HeadraceError))

_BY_GRPC: Mapping[int, type[HeadraceError]] = {
    GrpcStatus.CANCELLED: errors.Cancelled,
    GrpcStatus.INVALID_ARGUMENT: errors.ClientError,
    GrpcStatus.DEADLINE_EXCEEDED: errors.Expired,
    GrpcStatus.NOT_FOUND: errors.ModelNotFound,
    GrpcStatus.ALREADY_EXISTS: errors.ClientError,
    GrpcStatus.PERMISSION_DENIED: errors.NotAllowed,
    GrpcStatus.RESOURCE_EXHAUSTED: errors.OverloadError,
    GrpcStatus.FAILED_PRECONDITION: errors.ClientError,
    GrpcStatus.OUT_OF_RANGE: errors.ClientError,
    GrpcStatus.UNIMPLEMENTED: errors.RouteNotFound,
    GrpcStatus.UNAVAILABLE: errors.UnavailableError,
    GrpcStatus.UNAUTHENTICATED: errors.ClientError,
}


def http_error(answer: Answer) -> HeadraceError:
    """The error of an HTTP answer that is none."""
    error = _rebuild(answer, of_status(answer.status), _http_message(answer))
    error.retry_after_s = _number(answer.headers.get("retry-after"))
    if isinstance(error, errors.MethodNotAllowed):
        allowed = answer.headers.get("allow", "")
        error.allowed = tuple(verb.strip() for verb in allowed.split(",") if verb.strip())
    return error


def grpc_error(answer: Answer) -> HeadraceError:
    """The error of a gRPC status that is not OK."""
    kind = _BY_GRPC.get(answer.status, errors.InternalError)
    if answer.status == GrpcStatus.RESOURCE_EXHAUSTED and _TOO_LARGE.search(answer.message):
        kind = errors.BodyTooLarge  # to be busy has the same status, and passes
    error = _rebuild(answer, kind, answer.message or f"gRPC status {answer.status}")
    pushback_ms = _number(answer.headers.get("grpc-retry-pushback-ms"))
    error.retry_after_s = None if pushback_ms is None else pushback_ms / 1e3
    return error


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Where requests are made: what the protocol cannot hold is a typed error.

    Raises:
        MalformedRequest: it could not be written.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise MalformedRequest(f"the request cannot be written: {error}") from error


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Where answers are read: one that is not of the protocol is a typed error.

    Raises:
        MalformedAnswer: it could not be read.
    """
    try:
        yield
    except MalformedAnswer:
        raise
    except (errors.ClientError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedAnswer(
            f"the answer is no {what} of the Open Inference Protocol ({error}): is the address "
            "that of a model server?"
        ) from error


def _rebuild(answer: Answer, fallback: type[HeadraceError], message: str) -> HeadraceError:
    return _BY_CODE.get(answer.headers.get("headrace-error", ""), fallback)(message)


def _http_message(answer: Answer) -> str:
    try:
        body = orjson.loads(answer.body)
        message = body.get("error") or body["detail"]
    except (orjson.JSONDecodeError, AttributeError, KeyError):
        message = answer.body[:_TEXT_LIMIT].decode("utf-8", "replace").strip()
    return str(message) or f"HTTP status {answer.status}"


def _number(text: str | None) -> float | None:
    """A count ≥ 0; a date (``Retry-After`` may be one) counts as nothing said."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None
