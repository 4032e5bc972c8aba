"""The access log: a line for every request, also of those that no model ever saw."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.receiver.access_log import OPERATORS
from headrace.receiver.codecs.protobuf import message
from headrace.server_settings import ACCESS_LOG_FIELDS
from tests.contract.calls import send, unary
from tests.e2e.clients import http
from tests.e2e.models import write_fake
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

READY = message("inference.ModelReadyRequest")
INFER = message("inference.ModelInferRequest")
SERVICE = "/inference.GRPCInferenceService"


def _lines(path: Path, count: int) -> list[dict[str, Any]]:
    """So many lines, when they are there: they are written once a second."""
    until(lambda: path.read_text().count("\n") >= count)
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_every_request_is_a_line_of_json(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_text('{"path": "of an earlier day"}\n')
    model = write_fake(tmp_path / "echo" / "1" / "model.fake").parents[1]
    told = {
        "HEADRACE_SERVER__ACCESS_LOG": str(log),
        "HEADRACE_SERVER__ACCESS_LOG_FIELDS": ",".join(ACCESS_LOG_FIELDS),
    }
    with Server(model, environment=told) as server:
        ok = {"input": [[1, 2, 3, 4]]}
        named = {"x-request-id": "r-1", "user-agent": "probe/1", "traceparent": "00-a-b-01"}
        named["x-forwarded-for"] = "6.6.6.6"
        assert http(f"{server.url}/predict/echo?x=1", ok, named)[0] == 200
        assert http(f"{server.url}/predict/nobody", ok)[0] == 404
        assert http(f"{server.url}/%ff", ok)[0] == 400  # Envoy refuses it itself
        ready = READY(name="echo").SerializeToString()
        assert send(server.address, unary(f"{SERVICE}/ModelReady", ready), timeout_s=30).status == 0
        infer = INFER(model_name="nobody").SerializeToString()
        assert send(server.address, unary(f"{SERVICE}/ModelInfer", infer), timeout_s=30).status
        earlier, good, unknown, strange, asked, refused = _lines(log, 6)
    assert earlier == {"path": "of an earlier day"}
    assert good["method"] == "POST"
    assert good["path"] == "/predict/echo?x=1"
    assert (good["protocol"], good["status"]) == ("HTTP/1.1", 200)
    assert (good["request_id"], good["user_agent"]) == ("r-1", "probe/1")
    assert good["traceparent"] == "00-a-b-01"
    assert good["received_bytes"] == len(json.dumps(ok))
    assert good["sent_bytes"] > 0
    assert good["duration_ms"] >= 0
    assert good["client"].startswith("127.0.0.1:")
    assert good["error"] is good["error_trailer"] is good["grpc_status"] is None
    assert (unknown["status"], unknown["error"]) == (404, "model_not_found")
    assert (strange["status"], strange["error"]) == (400, "malformed_request")
    assert (asked["protocol"], asked["grpc_status"]) == ("HTTP/2", "OK")
    assert (refused["grpc_status"], refused["error"]) == ("NOT_FOUND", "model_not_found")


def test_a_line_has_the_fields_that_were_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    model = write_fake(tmp_path / "echo" / "1" / "model.fake").parents[1]
    asked = {
        "HEADRACE_SERVER__ACCESS_LOG": str(log),
        "HEADRACE_SERVER__ACCESS_LOG_FIELDS": "status,path,error",
    }
    with Server(model, environment=asked) as server:
        assert http(f"{server.url}/predict/nobody", {"input": [1]})[0] == 404
        (line,) = _lines(log, 1)
    assert line == {"status": 404, "path": "/predict/nobody", "error": "model_not_found"}


def test_every_field_that_may_be_asked_for_is_written() -> None:
    assert tuple(OPERATORS) == ACCESS_LOG_FIELDS


@contextmanager
def _told_to(told: int, model: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that says everything there, its access log too; it has ended afterwards."""
    command = [sys.executable, "-m", "headrace", "serve", str(model), "--port", "0"]
    environment = {**os.environ, "HEADRACE_SERVER__ACCESS_LOG": "/dev/stderr"}
    with subprocess.Popen(command, stdout=told, stderr=told, env=environment) as server:
        try:
            yield server
        finally:
            server.terminate()
            server.wait(30)


def _url(text: str) -> str:
    """Where it serves, once it has said so."""
    found = re.search(r"Headrace is ready .*?(http://\S+)\n", text)
    return "" if found is None else found[1]


def test_lines_among_the_others_in_a_plain_file_are_all_whole(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "echo.fake")
    log = tmp_path / "log"
    with log.open("wb") as told, _told_to(told.fileno(), model):  # as `2> log`, not `2>> log`
        url = until(lambda: _url(log.read_text()))
        for _ in range(3):
            assert http(f"{url}/predict/echo", {"input": [[1, 2, 3, 4]]})[0] == 200
        until(lambda: log.read_text().count('"/predict/echo"') == 3)
    _, ready, rest = log.read_text().partition("Headrace is ready")
    lines = [json.loads(text) for text in rest.splitlines()[1:]]
    assert ready
    assert [one.get("path") for one in lines].count("/predict/echo") == 3
    assert "draining" in [one.get("event") for one in lines]


def test_lines_among_the_others_go_to_a_socket_as_of_systemd(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "echo.fake")
    journal, ours = socket.socketpair()
    journal.settimeout(30)
    with journal:
        with ours, _told_to(ours.fileno(), model) as server:
            said = b""
            while not _url(said.decode()) and server.poll() is None:
                said += journal.recv(65536)
            assert http(f"{_url(said.decode())}/predict/nobody", {"input": [1]})[0] == 404
        while more := journal.recv(65536):
            said += more
    assert b'"path":"/predict/nobody"' in said


@pytest.mark.parametrize("is_pipe", [False, True])
def test_a_log_that_cannot_be_written_is_said_before_anything_serves(
    is_pipe: bool, tmp_path: Path
) -> None:
    model = write_fake(tmp_path / "echo.fake")
    log, reason = tmp_path / "nowhere" / "access.jsonl", "No such file or directory"
    if is_pipe:
        log, reason = tmp_path / "pipe", "it is a pipe that nobody reads"
        os.mkfifo(log)
    server = Server(model, environment={"HEADRACE_SERVER__ACCESS_LOG": str(log)})
    server.start()
    try:
        assert server.wait(30) == 2
    finally:
        server.kill()
    assert f"cannot write the access log {log}: {reason}" in server.output
