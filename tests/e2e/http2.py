"""One raw HTTP/2 request over a plain socket: what a gRPC library would never let us send."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings


@dataclass
class Answer:
    """What came back; gRPC's status is in the trailers."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: bool = False

    @property
    def grpc_status(self) -> int:
        """The gRPC status, wherever it stands."""
        return int(self.trailers.get("grpc-status", self.headers.get("grpc-status", "-1")))

    @property
    def grpc_message(self) -> str:
        """The gRPC message, still percent-encoded."""
        return self.trailers.get("grpc-message", self.headers.get("grpc-message", ""))


def ask(
    address: str,
    path: str,
    body: bytes = b"",
    headers: tuple[tuple[str, str], ...] = (),
    method: str = "POST",
    timeout_s: float = 20,
    only: int | None = None,
) -> Answer:
    """Send one request on a connection of its own and return the answer.

    ``only``: so many bytes of the body, and no end: the answer comes before it or not at all.
    """
    host, _, port = address.rpartition(":")
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    with socket.create_connection((host, int(port)), timeout=timeout_s) as stream:
        connection.initiate_connection()
        lines = [(":method", method), (":scheme", "http"), (":authority", address), (":path", path)]
        connection.send_headers(1, [*lines, *headers], end_stream=not body)
        answer, left = Answer(), memoryview(body)[:only]
        stream.sendall(connection.data_to_send())
        while True:
            while left and not answer.reset and (room := _room(connection)):
                connection.send_data(
                    1, bytes(left[:room]), end_stream=only is None and len(left) <= room
                )
                left = left[room:]
                stream.sendall(connection.data_to_send())
            data = stream.recv(65536)
            if not data:
                return answer
            ended = _read(connection, connection.receive_data(data), answer)
            stream.sendall(connection.data_to_send())
            if ended:
                return answer


def settings(address: str) -> h2.settings.Settings:
    """What the server says of itself when a connection begins."""
    host, _, port = address.rpartition(":")
    connection = h2.connection.H2Connection()
    with socket.create_connection((host, int(port)), timeout=20) as stream:
        connection.initiate_connection()
        stream.sendall(connection.data_to_send())
        while data := stream.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    return connection.remote_settings
    raise ConnectionError("the server closed the connection before it said anything")


def _room(connection: h2.connection.H2Connection) -> int:
    return min(connection.local_flow_control_window(1), connection.max_outbound_frame_size)


def _read(
    connection: h2.connection.H2Connection, events: list[h2.events.Event], answer: Answer
) -> bool:
    for event in events:
        match event:
            case h2.events.ResponseReceived():
                answer.headers = _text(event.headers)
                answer.status = int(answer.headers[":status"])
            case h2.events.DataReceived():
                answer.body += event.data or b""
                connection.acknowledge_received_data(event.flow_controlled_length or 0, 1)
            case h2.events.TrailersReceived():
                answer.trailers = _text(event.headers)
            case h2.events.StreamReset():
                answer.reset = True
                return True
            case h2.events.StreamEnded() | h2.events.ConnectionTerminated():
                return True
    return False


def _text(headers: object) -> dict[str, str]:
    if not isinstance(headers, list):
        return {}
    return {
        (n if isinstance(n, str) else n.decode()): (v if isinstance(v, str) else v.decode())
        for n, v in headers
    }
