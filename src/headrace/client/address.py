"""Where a server is, and what the client needs to reach it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from headrace.errors import BackendMissing, SettingsError

_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
_LABEL = "[A-Za-z0-9_-]{1,63}"
_HOST = re.compile(rf"({_LABEL}\.)*{_LABEL}\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.%-]+)?")
_PREFIX = re.compile("[!-~]*")
# What gRPC can carry, which is less than HTTP can: so that a client's scheme may be changed.
_HEADER_NAME = re.compile("[0-9a-z_.-]+(?<!-bin)")
_HEADER_VALUE = re.compile("([!-~]([ -~]*[!-~])?)?")
# They say how a body is sent, or how the connection is used, which only the client knows.
_OURS = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"),
        *("accept-encoding", "content-encoding", "content-length", "content-type"),
        "inference-header-content-length",
    }
)
_USER = re.compile("[^/?#]*//[^/?#]*@")


@dataclass(frozen=True, slots=True)
class Address:
    """A server's URL, taken apart.

    Attributes:
        scheme: ``http``, ``https``, ``grpc`` or ``grpcs``.
        host: a name or an IP, one of version 6 without its brackets.
        port: as said, or what the scheme means.
        prefix: the path before the protocol's own, for servers behind a gateway; HTTP only.
        ca_file: certificates to trust instead of the system's.
        headers: sent with every request: tokens of gateways and the like; ``host`` instead of
            ``authority``.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    ca_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def secure(self) -> bool:
        """Whether it is TLS."""
        return self.scheme.endswith("s")

    @property
    def over_grpc(self) -> bool:
        """Whether gRPC is spoken there."""
        return self.scheme.startswith("grpc")

    @property
    def authority(self) -> str:
        """Host and port in one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_address(
    url: str, ca_file: Path | str | None = None, headers: Mapping[str, str] | None = None
) -> Address:
    """Read a URL.

    Raises:
        SettingsError: it is none, or of a scheme that is not spoken; or a header cannot be sent.
    """
    if _USER.match(url):  # it is a secret, and not repeated
        raise SettingsError(
            "the address must have no user and password in it: say "
            "headers={'Authorization': 'Basic ' + base64 of user:password}"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"the address {url!r} is no URL: {error}") from error
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or port == 0:
        raise SettingsError(
            f"the address {url!r} must look like http://host:port or grpc://host:port "
            "(https:// and grpcs:// with TLS)"
        )
    prefix = parts.path.rstrip("/")
    if parts.query or parts.fragment or (prefix and parts.scheme.startswith("grpc")):
        raise SettingsError(f"the address {url!r} must end after host and port")
    if not _PREFIX.fullmatch(prefix):
        raise SettingsError(f"the path of the address {url!r} must be quoted: urllib.parse.quote")
    path = None if ca_file is None else Path(ca_file)
    lower = dict(_header(name, value) for name, value in (headers or {}).items())
    port = _PORTS[parts.scheme] if port is None else port
    return Address(parts.scheme, host, port, prefix, path, lower)


def _header(name: str, value: str) -> tuple[str, str]:
    lower = str(name).lower()
    if not _HEADER_NAME.fullmatch(lower):
        raise SettingsError(
            f"the header {name!r} cannot be sent: names are of a-z, 0-9, '-', '_' and '.', and do "
            "not end in '-bin'"
        )
    if lower in _OURS:
        raise SettingsError(f"the header {name!r} cannot be set: the client sets it itself")
    # Its value may be a secret, and is not repeated.
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        raise SettingsError(
            f"the value of header {name!r} cannot be sent: it must be a str of printable ASCII, "
            "without spaces or line breaks around it"
        )
    return lower, value


def library(name: str) -> ModuleType:
    """Import a library of a transport.

    Raises:
        BackendMissing: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendMissing(
            f"the client needs {name.partition('.')[0]}: pip install 'headrace[client]'"
        ) from error
