"""Where a server is: a URL taken apart."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlsplit

from headrace.errors import SettingsError

_PORTS = {"http": 80, "grpc": 80}
_IN_PATHS = "/%:@!$&'()*+,;=~"


class Address(NamedTuple):
    """A server: ``HOST:PORT``, and the path before the protocol's own (HTTP only)."""

    authority: str
    prefix: str = ""


def read_address(url: str) -> Address:
    """Read a URL, or HOST:PORT.

    Raises:
        SettingsError: it is none, or of a scheme that is not spoken.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port, host = parts.port, _ascii(parts.hostname or "")
    except ValueError as error:
        raise SettingsError(f"the address {url!r} is no URL: {error}") from error
    if parts.scheme not in _PORTS:
        raise SettingsError(
            f"the address {url!r} must look like http://host:port, grpc://host:port or host:port; "
            "TLS is not spoken here"
        )
    if port == 0:
        raise SettingsError(f"the address {url!r} has port 0, where nobody listens: give another")
    if not host or " " in host or not host.isprintable() or parts.query or parts.fragment:
        raise SettingsError(f"the address {url!r} must look like http://host:port")
    authority = f"[{host}]" if ":" in host else host
    # As browsers do: what a URL may not have is written as it may, what is so already stays.
    path = quote(parts.path.rstrip("/"), safe=_IN_PATHS, errors="surrogateescape")
    return Address(f"{authority}:{port or _PORTS[parts.scheme]}", path)


def _ascii(host: str) -> str:
    """A name as it is looked up and sent.

    Raises:
        ValueError: it is none.
    """
    looked_up = host.encode("idna").decode()
    return host if host.isascii() else looked_up
