"""The certificates that a server's is checked against."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

from headrace.client.address import Address
from headrace.errors import SettingsError

_GRPC_ROOTS = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
_PEM = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # how OpenSSL finds them in a folder


def certificates(address: Address) -> bytes | None:
    """The certificates to trust, as PEM, for those who do not ask OpenSSL; None: gRPC's own.

    Raises:
        SettingsError: the file cannot be read.
    """
    if address.ca_file is None:
        if os.environ.get(_GRPC_ROOTS):
            return None  # gRPC reads it itself
        return b"\n".join(dict.fromkeys(_system())) or None
    trusting(address)  # grpcio says nothing of a file it cannot read
    return address.ca_file.read_bytes()


def trusting(address: Address) -> ssl.SSLContext:
    """TLS that trusts those certificates.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=address.ca_file)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"ca_file {address.ca_file} cannot be read as certificates (PEM): {error}"
        ) from error


def _system() -> Iterator[bytes]:
    """Those that OpenSSL trusts where nothing is said: in a file and in a folder."""
    paths = ssl.get_default_verify_paths()  # which heeds SSL_CERT_FILE and SSL_CERT_DIR
    files = [Path(paths.cafile)] if paths.cafile else []
    if paths.capath:
        with contextlib.suppress(OSError):
            files += sorted(f for f in Path(paths.capath).iterdir() if _HASHED.fullmatch(f.name))
    for file in files:
        with contextlib.suppress(OSError):  # as OpenSSL does
            yield from _PEM.findall(file.read_bytes())
