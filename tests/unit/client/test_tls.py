"""TLS: the certificate is checked, and one of the user's own is trusted when it is named."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from headrace import errors
from headrace.client import RetryPolicy
from headrace.client.address import Address
from headrace.client.trust import certificates
from tests.contract.clients import KINDS, opened
from tests.unit.client.servers import GrpcScripted, Threaded

X = {"x": np.ones(1, np.float32)}
NEVER = RetryPolicy(attempts=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate)]
    subprocess.run([*command, "-keyout", str(key)], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def https(pair: tuple[Path, Path]) -> Iterator[str]:
    server = Threaded()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    with server.running() as address:
        yield address


@pytest.fixture(scope="module")
def grpcs(pair: tuple[Path, Path]) -> Iterator[str]:
    certificate, key = (path.read_bytes() for path in pair)
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    with GrpcScripted([], credentials).running() as server:
        yield server.address


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_must_be_trusted(
    kind: str, https: str, grpcs: str, pair: tuple[Path, Path]
) -> None:
    address = grpcs if kind.startswith("grpc") else https
    secure = kind.replace("http", "https").replace("grpc", "grpcs")
    with opened(secure, address, ca_file=pair[0]) as client:
        assert client.infer("m", X).output == 5
        assert client.infer("m", X).output == 5
    with opened(secure, address, ca_file=pair[0], headers={"host": "a.example"}) as client:
        assert client.infer("m", X).output == 5  # the certificate is that of the address
    with (
        opened(secure, address, retry=NEVER) as client,
        pytest.raises(errors.ConnectionFailed),
    ):
        client.infer("m", X)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("kind", ["https", "grpcs"])
def test_the_systems_certificates_are_trusted_over_both(
    kind: str,
    variable: str,
    https: str,
    grpcs: str,
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(pair[0])]
    named = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    trusted = tmp_path / f"{named}.0"
    trusted.write_bytes(pair[0].read_bytes())
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv(variable, str(trusted if variable == "SSL_CERT_FILE" else tmp_path))
    with opened(kind, grpcs if kind == "grpcs" else https, retry=NEVER) as client:
        assert client.infer("m", X).output == 5


def test_who_has_no_certificates_is_left_to_grpcs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    for content in (b"", b"nonsense"):
        (tmp_path / "file").write_bytes(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "file"))
        assert certificates(Address("grpcs", "localhost", 1)) is None


def test_what_grpcs_own_variable_names_goes_before_the_systems(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    assert certificates(Address("grpcs", "localhost", 1))
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(pair[0]))
    assert certificates(Address("grpcs", "localhost", 1)) is None


@pytest.mark.parametrize("kind", ["https", "grpcs"])
def test_a_missing_file_of_certificates_is_named(kind: str, tmp_path: Path) -> None:
    with (
        pytest.raises(errors.SettingsError, match="none"),
        opened(kind, "localhost:1", ca_file=tmp_path / "none.pem"),
    ):
        pass
