"""Errors by their codes: made again of what another process has written down of them."""

from __future__ import annotations

from headrace.errors import HeadraceError, InternalError


def rebuild(code: str, message: str) -> HeadraceError:
    """Make an error again of what another process wrote down of it: its code and message.

    A code that is not known becomes an ``InternalError``.
    """
    waiting: list[type[HeadraceError]] = [HeadraceError]
    while waiting:
        kind = waiting.pop()
        below = kind.__subclasses__()
        if kind.code == code and not below:  # a group may have the code of one of its own
            return kind(message)
        waiting += below
    return InternalError(message)
