"""What users get wrong is a typed error that says so, over every transport."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import errors
from headrace.client.address import read_address
from tests.contract.clients import KINDS, opened

X = np.ones(1, np.float32)
NOBODY = "127.0.0.1:9"
LONE = "\ud800"  # half a character
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("a", "ü", "value of header 'a'"),
        ("a", LONE, "value of header 'a'"),
        ("a", "token\n", "value of header 'a'"),
        ("a", "b\r\nc: d", "value of header 'a'"),
        ("a", " b", "value of header 'a'"),
        ("a", 1, "value of header 'a'"),
        ("ü", "a", "header 'ü'"),
        ("a b", "c", "header 'a b'"),
        (":path", "c", "header ':path'"),
        ("a-bin", "c", "header 'a-bin'"),
        ("", "c", "header ''"),
        ("Content-Length", "3", "header 'Content-Length' .* sets it itself"),
        ("content-type", "token", "header 'content-type'"),
        ("accept-encoding", "gzip", "header 'accept-encoding'"),
        ("transfer-encoding", "chunked", "header 'transfer-encoding'"),
        ("connection", "close", "header 'connection'"),
        ("TE", "trailers", "header 'TE'"),
        ("A-b", "", None),
        ("a", "b c", None),
    ],
)
def test_a_header_that_cannot_be_sent_is_named(
    kind: str, name: Any, value: Any, words: str | None
) -> None:
    if words is None:
        with opened(kind, NOBODY, headers={name: value}):
            return
    with (
        pytest.raises(errors.SettingsError, match=words) as caught,
        opened(kind, NOBODY, headers={name: value}),
    ):
        pass
    assert "token" not in str(caught.value)


@every_kind
@pytest.mark.parametrize(
    "host",
    [f"{'a' * 64}.com", "a..com", ".a", "a b", 'a"b', "a\0b", "a%20b", "a:0"],
)
def test_a_host_that_cannot_be_looked_up_is_no_address(kind: str, host: str) -> None:
    with pytest.raises(errors.SettingsError, match="must look like"), opened(kind, host):
        pass


@every_kind
@pytest.mark.parametrize(
    "where", ["user:secret@a:1", ":secret@a:99999", "user:secret@[::1", "secret@a"]
)
def test_a_password_in_an_address_says_where_it_belongs(kind: str, where: str) -> None:
    with (
        pytest.raises(errors.SettingsError, match="headers=") as caught,
        opened(kind, where),
    ):
        pass
    assert "secret" not in str(caught.value)


@every_kind
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priority": 1.5}, "priority is a whole number, not 1.5"),
        ({"priority": np.float32(1)}, "priority is a whole number, not "),
        ({"classification": "2"}, "classification is a whole number, not '2'"),
        ({"sequence_id": 1.5}, "sequence_id is a whole number or text, not 1.5"),
        ({"sequence_id": True}, "sequence_id is a whole number or text, not True"),
        ({"sequence_id": 1, "sequence_start": 1}, "sequence_start is True or False, not 1"),
        ({"sequence_id": 1, "sequence_end": "no"}, "sequence_end is True or False, not 'no'"),
    ],
)
def test_an_option_of_another_kind_is_named(kind: str, options: dict[str, Any], words: str) -> None:
    with opened(kind, NOBODY) as client, pytest.raises(errors.InvalidInput, match=words):
        client.infer("m", {"x": X}, **options)


def test_an_at_sign_in_a_path_is_no_password() -> None:
    assert read_address("http://a/@models").prefix == "/@models"


@every_kind
@pytest.mark.parametrize("host", ["a.b.", "a_b-c", "[::1]", "[::ffff:1.2.3.4]", "[fe80::1%lo]"])
def test_every_host_that_there_can_be_is_an_address(kind: str, host: str) -> None:
    assert read_address(f"http://{host}:1").host == host.strip("[]")
    with opened(kind, f"{host}:1"):  # nor does a library refuse it
        pass


@pytest.mark.parametrize("path", ["ä", "a b", LONE])
def test_a_path_before_the_protocols_own_must_be_quoted(path: str) -> None:
    with pytest.raises(errors.SettingsError, match="must be quoted"), opened("http", f"a/{path}"):
        pass


@pytest.mark.parametrize("kind", ["https", "grpcs", "https-aio", "grpcs-aio"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_a_file_without_certificates_is_named(kind: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "trusted.pem"
    file.write_bytes(content)
    with (
        pytest.raises(errors.SettingsError, match=r"ca_file .*trusted\.pem"),
        opened(kind, NOBODY, ca_file=file),
    ):
        pass


@every_kind
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.infer(LONE, {"x": X}),
        lambda client: client.infer("m", {"x": X}, version=LONE),
        lambda client: client.infer("m", {"x": X}, request_id=LONE),
        lambda client: client.infer("m", {"x": X}, outputs=[LONE]),
        lambda client: client.infer("m", {"x": X}, sequence_id=LONE),
        lambda client: client.infer("m", {LONE: X}),
        lambda client: client.infer("m", {"x": np.array([LONE])}),
        lambda client: client.infer("m", {"x": np.array([LONE], object)}),
        lambda client: client.infer(5, {"x": X}),
        lambda client: client.ready(LONE),
        lambda client: client.metadata(LONE),
        lambda client: client.metadata("m", version=LONE),
    ],
)
def test_what_the_protocol_cannot_hold_is_a_request_that_cannot_be_written(
    kind: str, call: Any
) -> None:
    with (
        opened(kind, NOBODY) as client,
        pytest.raises(errors.MalformedRequest, match="cannot be written"),
    ):
        call(client)
