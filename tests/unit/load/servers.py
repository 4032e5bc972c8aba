"""Two real servers that do what a request's body says: HTTP/1.1 on asyncio, gRPC on grpcio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import grpc

METHOD = "/test.Service/Ask"


@dataclass
class Stage:
    """What both servers know: how many must have come before anybody is answered, and who came."""

    together: int = 1
    came: int = 0
    inside: int = 0
    most_inside: int = 0
    bodies: list[bytes] = field(default_factory=list)

    def enter(self, body: bytes) -> None:
        self.came += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.bodies.append(body)

    @property
    def complete(self) -> bool:
        return self.came >= self.together


class _Noted(asyncio.StreamReaderProtocol):
    """Notes its transport, whoever takes the connection."""

    def __init__(self, seen: list[asyncio.Transport], connected: Any) -> None:
        super().__init__(asyncio.StreamReader(), connected)
        self._seen = seen

    def connection_made(self, transport: Any) -> None:
        self._seen.append(transport)
        super().connection_made(transport)


class HttpServer:
    """Understands just enough HTTP/1.1; one thread with an event loop."""

    def __init__(self, together: int = 1) -> None:
        self.stage = Stage(together)
        self.connections = 0
        self.address = ""
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # told to quit by a request before
            self._loop.call_soon_threadsafe(self._quit.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop, self._quit = asyncio.get_running_loop(), asyncio.Event()
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: list[asyncio.Transport] = []
        server = await self._loop.create_server(self._protocol, "127.0.0.1", 0, backlog=512)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._quit.wait()
        # What has just been accepted would find the server closed, or be cancelled before it
        # begins, and nobody would close it.
        for listener in server.sockets:
            self._loop.remove_reader(listener)
        while asyncio.all_tasks() - self._tasks - {asyncio.current_task()}:  # noqa: ASYNC110
            await asyncio.sleep(0)
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in self._transports:  # what nobody has read yet would keep one open
            transport.abort()
        for _ in range(3):
            await asyncio.sleep(0)

    def _protocol(self) -> _Noted:
        return _Noted(self._transports, self._connected)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("no task")
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(reader, writer):
                    await writer.drain()
        except asyncio.CancelledError:
            pass  # the server quits; asyncio's own callback would report it as an error
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(size)
        self.stage.enter(body)
        if self.stage.complete:
            self._released.set()
        await self._released.wait()
        self.stage.inside -= 1
        return await self._obey(body, writer)

    async def _obey(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Do what the body says; return whether the connection goes on."""
        if body == b"hang":
            await self._quit.wait()
        if body == b"quit":
            self._quit.set()
        if body in {b"hang", b"quit", b"drop"}:
            return False
        if body == b"nonsense":
            writer.write(b"what?\r\n\r\n")
            return True
        status = b"429 Too Many Requests\r\nheadrace-error: queue_full" * (body == b"full")
        close = b"connection: close\r\n" * (body == b"close")
        writer.write(
            b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s"
            % (status or b"200 OK", close, len(body), body)
        )
        return not close


@contextlib.contextmanager
def grpc_server(
    together: int = 1, streams: int = 100, age_ms: int = 60_000
) -> Iterator[tuple[str, Stage]]:
    """Yield the address and the stage.

    A connection takes so many streams at once, and is told to go when it is so old.
    """
    stage = Stage(together)
    released, lock = threading.Event(), threading.Lock()

    def obey(body: bytes, context: Any) -> bytes:
        with lock:
            stage.enter(body)
        if stage.complete:
            released.set()
        released.wait(30)
        with lock:
            stage.inside -= 1
        if body == b"hang":
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait(30)
        if body == b"quit":
            server.stop(30)
        if body == b"full":
            context.set_trailing_metadata((("headrace-error", "queue_full"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        return body

    handler = grpc.method_handlers_generic_handler(
        "test.Service", {"Ask": grpc.unary_unary_rpc_method_handler(obey)}
    )
    with ThreadPoolExecutor(max(8, together + 4)) as pool:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_concurrent_streams", streams),
            ("grpc.max_connection_age_ms", age_ms),
        ]
        server = grpc.server(pool, options=options)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", stage
        finally:
            released.set()
            server.stop(None).wait()
