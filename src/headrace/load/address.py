"""Where a server is: a URL taken apart."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from headrace.errors import SettingsError

_PORTS = {"http": 80, "grpc": 80}


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
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"the address {url!r} is no URL: {error}") from error
    if parts.scheme not in _PORTS:
        raise SettingsError(
            f"the address {url!r} must look like http://host:port, grpc://host:port or host:port; "
            "TLS is not spoken here"
        )
    if not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(f"the address {url!r} must look like http://host:port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(f"{host}:{port or _PORTS[parts.scheme]}", parts.path.rstrip("/"))
