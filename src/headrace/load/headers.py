"""The headers that a user gave, and ours which they take the place of."""

from __future__ import annotations

import re

from headrace.errors import SettingsError
from headrace.load.plan import Headers

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# They say how a request is cut into bytes, which is for who writes them.
_FRAMING = frozenset({"content-length", "te", "transfer-encoding"})
# HTTP/2 has none of these: a request with one is malformed.
_OF_HTTP1 = frozenset({"connection", "keep-alive", "proxy-connection", "upgrade"})
_ONCE = ("host", "content-type")


def check_headers(given: Headers, *, http2: bool = False) -> None:
    """See that they can be sent.

    Raises:
        SettingsError: they cannot.
    """
    names = [name.lower() for name, _ in given]
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise SettingsError(f"--header: {name!r} is no name of a header: letters, digits and -")
        if name in _FRAMING or (http2 and name in _OF_HTTP1):
            raise SettingsError(f"--header {name} cannot be given: the protocol says it")
    for name in _ONCE:
        if names.count(name) > 1:
            raise SettingsError(f"--header {name} is given twice: give it once")


def unless_given(ours: Headers, given: Headers) -> Headers:
    """Those of ours whose place none of the given takes."""
    names = {name.lower() for name, _ in given}
    return tuple(one for one in ours if one[0].lower() not in names)
