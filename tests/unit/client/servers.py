"""Small real servers that do to clients, connection by connection, what a test has written down."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import grpc

from headrace.receiver.codecs.protobuf import message

OK = json.dumps(
    {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [5]}],
    }
).encode()


def answer(status: int = 200, body: bytes = OK, headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP answer as bytes."""
    lines = [f"HTTP/1.1 {status} Words", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Step(NamedTuple):
    """What happens to one request: bytes are written, then the connection goes on or ends."""

    data: bytes
    then: str = "go on"  # or "close", "reset", "wait"


CLOSE = Step(b"", "close")
RESET = Step(b"", "reset")
CUT_OFF = Step(answer()[:-4], "close")
STALL = Step(b"", "wait")
STALL_INSIDE = Step(answer()[:-4], "wait")


class Scripted:
    """An HTTP/1.1 server of a few steps; after the last, every request is answered well."""

    def __init__(self, steps: Sequence[Step | bytes]) -> None:
        self._steps = [step if isinstance(step, Step) else Step(step) for step in steps]
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.connections = 0
        self.opened: list[socket.socket] = []
        self.closed = threading.Semaphore(0)  # released when a connection has been

    @contextmanager
    def running(self) -> Iterator[Scripted]:
        """Serve inside the context."""
        with ThreadPoolExecutor(16) as pool:
            accepting = pool.submit(self._accept, pool)
            try:
                yield self
            finally:
                self._ended.set()
                self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
            accepting.result()

    def _accept(self, pool: ThreadPoolExecutor) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(5)
            self.connections += 1
            self.opened.append(connection)
            pool.submit(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.closed.release)
            stack.enter_context(connection)
            while (request := _read(connection)) is not None:
                with self._lock:
                    self.requests.append(request)
                    step = self._steps.pop(0) if self._steps else Step(answer())
                connection.sendall(step.data)
                if step.then == "wait":
                    self._ended.wait(10)
                if step.then == "reset":
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if step.then != "go on":
                    return


@contextmanager
def refuses_early(refusal: bytes, heard: Callable[[str], bool]) -> Iterator[str]:
    """The address of a server that refuses a request of which it has read a part, and hangs up.

    It does so when the client's side has ``heard`` the refusal.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(refusal)
            until_s = time.monotonic() + 10
            while not heard(address) and time.monotonic() < until_s:
                os.sched_yield()

    with listener, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        yield address
        serving.result()


@contextmanager
def leads_nowhere() -> Iterator[int]:
    """A port of 127.0.0.1 that neither takes nor refuses connections: nobody accepts any."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


class Tries(NamedTuple):
    """When somebody tried to connect to this address."""

    address: str
    times_s: list[float]


@contextmanager
def hangs_up_at_once() -> Iterator[Tries]:
    """Somebody who ends each connection before a word is said."""
    listener = socket.create_server(("127.0.0.1", 0))
    tries = Tries(f"127.0.0.1:{listener.getsockname()[1]}", [])

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()
                tries.times_s.append(time.monotonic())

    with ThreadPoolExecutor(1) as pool:
        pool.submit(serve)
        try:
            yield tries
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@contextmanager
def greets_late(address: str, late_s: float) -> Iterator[str]:
    """The address of a way to a server on which its first words come so much later."""
    listener, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()
    host, port = address.split(":")

    def carry(source: socket.socket, sink: socket.socket, after_s: float = 0.0) -> None:
        ended.wait(after_s)
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection((host, int(port)))
                opened.extend((client, server))
                pool.submit(carry, client, server)
                pool.submit(carry, server, client, late_s)

    opened: list[socket.socket] = []
    with ThreadPoolExecutor(16) as pool:
        pool.submit(serve)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for connection in opened:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()


@contextmanager
def slow_reader() -> Iterator[str]:
    """The address of somebody who reads some MB/s of whatever comes, and never answers."""
    listener, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def read() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            while connection.recv(65536):
                ended.wait(0.005)

    with listener, ThreadPoolExecutor(1) as pool:
        pool.submit(read)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        ended.set()


@contextmanager
def after_a_burst(size: int) -> Iterator[str]:
    """The address of a server that answers so many calls at once, and then keeps one connection.

    That is the one that brings the next call; the others are ended before it is answered.
    """
    listener, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        with contextlib.ExitStack() as stack:
            ours = [stack.enter_context(listener.accept()[0]) for _ in range(size)]
            for connection in ours:
                _read(connection)
            for connection in ours:
                connection.sendall(answer())
            (kept, *_), _, _ = select.select(ours, [], [], 10)
            _read(kept)
            for connection in set(ours) - {kept}:
                connection.close()
            kept.sendall(answer())
            ended.wait(10)

    with listener, ThreadPoolExecutor(1) as pool:
        pool.submit(serve)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        ended.set()


@contextmanager
def hangs_up_on_grpc(seen: list[bytes]) -> Iterator[str]:
    """The address of an HTTP/2 server that ends every connection once it has a call's message."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings, acknowledged = b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0"

    opened: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        # The client may hang up first, and come again, or open one that it does not use.
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            connection.sendall(settings + acknowledged)
            stream.read(24)  # the preface
            while len(head := stream.read(9)) == 9:
                content = stream.read(int.from_bytes(head[:3]))
                if head[3] == 0:
                    seen.append(content)
                    return

    def accept() -> None:
        while True:
            try:
                opened.append(listener.accept()[0])
            except OSError:
                return
            pool.submit(serve, opened[-1])

    with ThreadPoolExecutor(9) as pool:
        pool.submit(accept)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for connection in opened:
                with contextlib.suppress(OSError):  # it has ended already
                    connection.shutdown(socket.SHUT_RDWR)


def _read(connection: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            piece = connection.recv(65536)
        except OSError:
            return None
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"]
    length = int(lengths[0]) if lengths else 0
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


class Aborted(NamedTuple):
    """A status of gRPC with its trailers."""

    code: grpc.StatusCode
    message: str = "why"
    trailers: tuple[tuple[str, str], ...] = ()


class GrpcScripted:
    """A gRPC server of a few steps: failures, or what to wait for; then it answers well."""

    def __init__(
        self, steps: Sequence[Aborted | bytes | Callable[[], Any]], credentials: Any = None
    ) -> None:
        self.steps = list(steps)
        self._credentials = credentials
        self.calls: list[str] = []
        self.bodies: list[bytes] = []
        self.metadata: list[dict[str, Any]] = []
        self.hosts: list[str] = []
        self.left_s: list[float] = []
        self.address = ""

    @contextmanager
    def running(self) -> Iterator[GrpcScripted]:
        """Serve inside the context."""
        with ThreadPoolExecutor(4) as pool:
            server = grpc.server(pool)
            server.add_generic_rpc_handlers((_Handler(self._answer),))
            place = "127.0.0.1:0"
            if self._credentials is None:
                port = server.add_insecure_port(place)
            else:
                port = server.add_secure_port(place, self._credentials)
            self.address = f"127.0.0.1:{port}"
            server.start()
            try:
                yield self
            finally:
                server.stop(0).wait()

    def _answer(self, path: str, body: bytes, context: Any) -> bytes:
        self.calls.append(path)
        self.bodies.append(body)
        self.metadata.append(dict(context.invocation_metadata()))
        call = context._rpc_event.call_details  # grpcio tells it nowhere else
        self.hosts.append(call.host.decode())
        self.left_s.append(context.time_remaining())
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, Aborted):
            context.set_trailing_metadata(step.trailers)
            context.abort(step.code, step.message)
        if callable(step):
            step()
        if isinstance(step, bytes):
            return step
        good = message("inference.ModelInferResponse")(model_name="m", model_version="1")
        good.outputs.add(name="y", datatype="FP32", shape=[1])
        good.raw_output_contents.append(struct.pack("<f", 5))
        return bytes(good.SerializeToString())


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
    def __init__(self, answer: Callable[[str, bytes, Any], bytes]) -> None:
        self._answer = answer

    def service(self, details: Any) -> Any:
        def answer(body: bytes, context: Any) -> bytes:
            return self._answer(details.method, body, context)

        return grpc.unary_unary_rpc_method_handler(answer)


class Threaded(ThreadingHTTPServer):
    """An HTTP/1.1 server with a thread for each connection, which answers a body with a body."""

    def __init__(self, answers: Callable[[bytes], bytes] = lambda _: OK) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.answers = answers
        self.peers: set[Any] = set()

    def handle_error(self, *_: object) -> None:
        """A client that does not trust us, or one of two that write at a time, hangs up."""

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve inside the context, at this address."""
        thread = threading.Thread(target=self.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{self.server_port}"
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Post(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in two pieces waits for an acknowledgement in between
    server: Threaded

    def do_POST(self) -> None:
        self.server.peers.add(self.client_address)
        body = self.server.answers(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
