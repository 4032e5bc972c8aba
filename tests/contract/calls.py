"""A request as bytes, however it was made, and what came back; sent by no more than sockets."""

from __future__ import annotations

import http.client
import json
import struct
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.e2e import http2

PREFIX = struct.Struct(">BI")
"""Before every gRPC message: compressed or not, and its length."""

OK = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A request: plain HTTP/1.1, gRPC, or whatever bytes on a bare connection."""

    kind: Literal["http", "grpc", "socket"]
    path: str = ""
    body: bytes = b""
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: HTTP's status or gRPC's, and a message where it is a refusal.

    ``body`` is without gRPC's prefix.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = ""

    @property
    def error(self) -> str | None:
        """The code of the error."""
        return self.headers.get("headrace-error")


def post(path: str, body: object = b"", **headers: str) -> Call:
    """POST bytes, or anything else as JSON."""
    return plain("POST", path, body, **headers)


def plain(method: str, path: str, body: object = b"", **headers: str) -> Call:
    """A plain HTTP request; the headers' underscores are dashes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call("http", path, data, method, _headers(headers))


def unary(path: str, message: bytes, **headers: str) -> Call:
    """A gRPC call of one message."""
    return framed(path, frame(message), **headers)


def framed(path: str, body: bytes, **headers: str) -> Call:
    """A gRPC call with whatever stands for a frame."""
    lines = (("content-type", "application/grpc"), ("te", "trailers"), *_headers(headers))
    return Call("grpc", path, body, "POST", lines)


def frame(message: bytes, flag: int = 0) -> bytes:
    """A message behind its prefix."""
    return PREFIX.pack(flag, len(message)) + message


def _headers(named: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in named.items())


def send(address: str, call: Call, timeout_s: float = 3) -> Answer:
    """Send it on a connection of its own."""
    if call.kind == "grpc":
        return _send_grpc(address, call, timeout_s)
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
    try:
        if call.kind == "socket":
            connection.connect()
            connection.sock.sendall(call.body)
            response = http.client.HTTPResponse(connection.sock)
            response.begin()
        else:
            connection.putrequest(call.method, call.path, skip_accept_encoding=True)
            for name, value in (*call.headers, ("content-length", str(len(call.body)))):
                connection.putheader(name, value)
            connection.endheaders(call.body or None)
            response = connection.getresponse()
        return _read(response)
    finally:
        connection.close()


def _send_grpc(address: str, call: Call, timeout_s: float) -> Answer:
    found = http2.ask(address, call.path, call.body, call.headers, timeout_s=timeout_s)
    assert found.status == OK
    message = urllib.parse.unquote(found.grpc_message)
    return Answer(found.grpc_status, found.body[PREFIX.size :], found.headers, message)


def _read(response: http.client.HTTPResponse) -> Answer:
    body, headers = response.read(), {n.lower(): v for n, v in response.getheaders()}
    if "headrace-error" not in headers:
        return Answer(response.status, body, headers)
    assert headers["content-type"] == "application/json"
    refusal = json.loads(body)
    assert list(refusal) == ["error"]
    return Answer(response.status, body, headers, refusal["error"])
