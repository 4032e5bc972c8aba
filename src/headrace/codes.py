"""Errors made again of what another process has said of them: by code, or by HTTP status."""

from __future__ import annotations

from collections.abc import Mapping

from headrace import errors
from headrace.errors import HeadraceError, InternalError

_BY_HTTP: Mapping[int, type[HeadraceError]] = {
    403: errors.NotAllowed,
    404: errors.ModelNotFound,
    405: errors.MethodNotAllowed,
    408: errors.Expired,
    413: errors.BodyTooLarge,
    415: errors.UnsupportedEncoding,
    429: errors.OverloadError,
    499: errors.Cancelled,
    501: errors.RouteNotFound,
    502: errors.UnavailableError,
    503: errors.UnavailableError,
    504: errors.Expired,
}


def rebuild(code: str, message: str, unknown: type[HeadraceError] = InternalError) -> HeadraceError:
    """Make an error again of what another process wrote down of it: its code and message.

    A code that is not known, or none, becomes an ``unknown``.
    """
    waiting: list[type[HeadraceError]] = [HeadraceError]
    while waiting:
        kind = waiting.pop()
        below = kind.__subclasses__()
        if kind.code == code and not below:  # a group may have the code of one of its own
            return kind(message)
        waiting += below
    return unknown(message)


def of_status(status: int) -> type[HeadraceError]:
    """What an HTTP status means that came without a code: from a proxy, or another server.

    One that is no error, where none else was expected, is a ``MalformedAnswer``.
    """
    if not 400 <= status < 600:  # noqa: PLR2004
        return errors.MalformedAnswer
    return _BY_HTTP.get(status, errors.ClientError if status < 500 else InternalError)  # noqa: PLR2004
