"""What is asked of servers that are not ours, or not there; of ours, see tests/e2e."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from headrace.errors import (
    ClientError,
    ConnectionFailed,
    Expired,
    HeadraceError,
    InternalError,
    MalformedAnswer,
    NotAllowed,
    OverloadError,
    SettingsError,
    UnavailableError,
)
from headrace.models.ask import ServerModels

VERSION: dict[str, Any] = {
    "name": "m",
    "version": 1,
    "state": "loading",
    "reason": "",
    "since_unix_s": 0,
    "labels": [],
}
REFUSAL = '{"error": "set it"}'


class Stranger(BaseHTTPRequestHandler):
    """Answers every request as its path says: ``/<status>/<body>``, before ours."""

    def do_GET(self) -> None:
        _, status, body, *_ = self.path.split("/")
        self.send_response(int(status))
        if status == "403":
            self.send_header("headrace-error", "not_allowed")
        self.end_headers()
        self.wfile.write(unquote(body).encode())

    do_POST = do_PATCH = do_GET  # noqa: N815 - as http.server calls them

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host", "http://", "http://host:99999", "http://[::1"),
        *("http://a..b:8000", "http://local host:8000", f"http://{'x' * 70}", "http://a\x7fb"),
    ],
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match="address"):
        ServerModels(url)


def test_nobody_there_says_what_to_look_at() -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as free:
        port = free.server_port
    with pytest.raises(ConnectionFailed, match=r"headrace serve.* is this its address\?"):
        ServerModels(f"http://127.0.0.1:{port}").index()


def test_a_server_without_tls_is_told_from_none(stranger: str) -> None:
    with pytest.raises(ConnectionFailed, match=r"does not speak TLS .* begins with http://$"):
        ServerModels(f"https://{stranger}").index()


def test_a_certificate_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    both = str(tmp_path / "both.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", both, "-keyout", both]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with HTTPServer(("127.0.0.1", 0), Stranger) as server, ThreadPoolExecutor(1) as pool:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        answered = pool.submit(server.handle_request)
        with pytest.raises(ConnectionFailed, match=r"is not trusted: self.signed certificate; "):
            ServerModels(f"https://127.0.0.1:{server.server_port}").index()
        answered.result(10)


@pytest.mark.parametrize("url", ["http://[::1]", "https://[::1]", "http://[::ffff:127.0.0.1]"])
def test_the_last_part_of_an_address_of_ipv6_is_no_port(url: str) -> None:
    with pytest.raises(HeadraceError) as caught:  # whoever may be at ports 80 and 443
        ServerModels(url, timeout_s=1).index()
    assert not isinstance(caught.value.__cause__, socket.gaierror)


@pytest.mark.parametrize("body", ["hello", "[]", '{"models": 3}', "[" * 20_000])
def test_a_server_of_others_is_told_apart(stranger: str, body: str) -> None:
    with pytest.raises(MalformedAnswer, match="Headrace server"):
        ServerModels(f"{stranger}/200/{quote(body)}").index()


@pytest.mark.parametrize(
    "odd",
    [
        "a",
        {},
        {"modelName": "resnet", "modelUrl": "resnet.mar"},
        VERSION | {"name": ["x"]},
        VERSION | {"version": "1"},
        VERSION | {"state": {}},
        VERSION | {"since_unix_s": []},
        VERSION | {"labels": None},
    ],
)
def test_one_whose_models_are_called_as_ours_are_is_told_apart_too(stranger: str, odd: Any) -> None:
    whole = quote(json.dumps({"models": [VERSION]}))
    assert ServerModels(f"{stranger}/200/{whole}").index() == [VERSION]
    with pytest.raises(MalformedAnswer, match="as a Headrace server does"):
        ServerModels(f"{stranger}/200/{quote(json.dumps({'models': [VERSION, odd]}))}").index()


def test_so_is_one_whose_requests_or_labels_are_none(stranger: str) -> None:
    with pytest.raises(MalformedAnswer, match="as a Headrace server does"):
        ServerModels(f"{stranger}/200/{quote(json.dumps({'requests': [{'a': 1}]}))}").slowest()
    for body in ("[]", "{}", '{"labels": 3}'):
        with pytest.raises(MalformedAnswer, match="as a Headrace server does"):
            ServerModels(f"{stranger}/200/{quote(body)}").label("m", {"stable": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ([], '{"models": [{"modelName": "resnet"}]}'),
        (["slow"], '{"requests": [{"a": 1}]}'),
        (["label", "m", "stable=1"], "{}"),
        (["freeze", "m", "."], '{"models": ["a"]}'),
    ],
)
def test_the_command_says_so_without_a_traceback(
    stranger: str, arguments: list[str], body: str
) -> None:
    url = f"http://{stranger}/200/{quote(body)}"
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "models", *arguments, "--url", url],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = f"headrace: {url} does not answer as a Headrace server does\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_one_that_has_nothing_there_is_told_with_its_address(stranger: str, status: int) -> None:
    url = f"{stranger}/{status}/x"
    server = ServerModels(url)
    for asked in (server.index, server.slowest, server.metrics, lambda: server.load("m")):
        with pytest.raises(MalformedAnswer, match="is no Headrace server") as caught:
            asked()
        assert caught.value.message.startswith(url)
    url = f"{stranger}/{status}/{quote(REFUSAL)}"
    with pytest.raises(MalformedAnswer, match=r"set it$"):
        ServerModels(url).profile("m")


def test_a_refusal_is_the_error_that_the_server_raised(stranger: str) -> None:
    with pytest.raises(NotAllowed, match=r"^set it$"):
        ServerModels(f"{stranger}/403/{quote(REFUSAL)}").index()
    with pytest.raises(NotAllowed, match="HTTP status 403"):
        ServerModels(f"http://{stranger}/403/x").index()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, MalformedAnswer),
        (400, ClientError),
        (401, ClientError),
        (404, MalformedAnswer),
        (429, OverloadError),
        (500, InternalError),
        (502, UnavailableError),
        (503, UnavailableError),
        (504, Expired),
    ],
)
def test_what_others_answer_without_a_code_is_read_by_its_status(
    stranger: str, status: int, kind: type[HeadraceError]
) -> None:
    with pytest.raises(HeadraceError, match=f"HTTP status {status}") as caught:
        ServerModels(f"{stranger}/{status}/x").index()
    assert caught.type is kind
    assert caught.value.message.startswith(f"{stranger}/{status}/x ")


def test_a_profile_that_is_none_is_told(stranger: str) -> None:
    with pytest.raises(MalformedAnswer, match="Headrace server"):
        ServerModels(f"{stranger}/200/{quote('[1, 2]')}").profile("m")


def test_a_path_with_what_urls_may_not_have_is_sent_as_it_may(stranger: str) -> None:
    models = [VERSION | {"name": "ü b"}]
    body = json.dumps({"models": models}, ensure_ascii=False).replace('"', "%22")
    assert ServerModels(f"{stranger}/200/{body}").index() == models
