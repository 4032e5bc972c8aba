"""The receiver and an engine in this process: real dispatch, real slots, real sockets, no Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from headrace.control import ModelServing, ModelState
from headrace.engine import stateful
from headrace.engine.backends import fake
from headrace.engine.backends.contract import Instance, Model
from headrace.engine.reception import Reception
from headrace.engine.warmup import warm_up
from headrace.engine_control import Profile
from headrace.receiver.handover.client import ScribeClient
from headrace.receiver.run.dispatch import Dispatcher
from headrace.receiver.runtime import Runtime
from headrace.server_settings import ServerSettings
from headrace.settings import BackendName, ModelSettings
from tests.profiles import plain

# More often than anybody asks after a client.
_ASKED = 99
GRPC = ((b"content-type", b"application/grpc"),)


class Came(NamedTuple):
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes


class Call:
    """A request whose body comes as the test says it, and whose client may leave or not read."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._said: deque[dict[str, Any]] = deque()
        self._questions = 0
        self._ended = False
        self._left = False
        self._changed = asyncio.Event()
        self._asked: list[asyncio.Future[dict[str, Any]]] = []

    @property
    def bodies(self) -> list[bytes]:
        """What it was answered."""
        return [message["body"] for message in self.sent if message.get("body")]

    @property
    def unread(self) -> int:
        """How many chunks nobody has asked for."""
        return len(self._said)

    @property
    def status(self) -> str | None:
        """gRPC's, once it has been told."""
        lines = dict(line for message in self.sent for line in message.get("headers", ()))
        return lines[b"grpc-status"].decode() if b"grpc-status" in lines else None

    async def answered(self, count: int) -> None:
        """Wait until it was answered so often."""
        while len(self.bodies) < count:
            await self._next()

    async def asked(self, count: int) -> None:
        """Wait until the application has asked so often for what comes next."""
        while self._questions < count:
            await self._next()

    async def taken(self) -> None:
        """Wait until the application has asked for all that was said, and for more."""
        while self._said or not self._asked:
            await self._next()

    def say(self, body: bytes, *, more: bool = True) -> None:
        """A chunk comes."""
        self._said.append({"type": "http.request", "body": body, "more_body": more})
        self._ended = not more
        self._tell()

    def leave(self) -> None:
        """The client goes away."""
        self._left = True
        self._tell()

    def receive(self) -> asyncio.Future[dict[str, Any]]:
        """ASGI's; as pyvoy it answers at once when the body has ended."""
        asked: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._questions += 1
        self._changed.set()
        self._tell()
        return asked

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI's; it waits while the client does not read."""
        await self.reads.wait()
        if self._left:
            raise OSError("the client has left")
        self.sent.append(message)
        self._changed.set()

    async def _next(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _tell(self) -> None:
        while self._asked and (self._said or self._ended or self._left):
            there = {"type": "http.request", "body": b"", "more_body": False}
            nothing = {"type": "http.disconnect"} if self._left else there
            event = self._said.popleft() if self._said else nothing
            self._asked.pop(0).set_result(event)


class Said:
    """What pyvoy's ``receive`` answers where there is no body: there at once, and no future."""

    def __init__(self, event: dict[str, Any]) -> None:
        self._event = event

    def __await__(self) -> Generator[None, None, dict[str, Any]]:
        return self._event
        yield  # a generator that ends at once


class Inside:
    """The application; ask it without a network."""

    def __init__(
        self,
        runtime: Runtime,
        scribe: ScribeClient | None = None,
        server: ServerSettings | None = None,
        **settings: Any,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._application = runtime.application(server or ServerSettings(), scribe)

    async def retire_once_busy(self) -> None:
        """Take the model away while it runs something."""
        pump = self._runtime._dispatchers["m", 1]._pump  # type: ignore[union-attr]
        while not pump._running:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        self.drain()

    def parts(self) -> dict[str, weakref.ref[Any]]:
        """What serves the model, by name, to see whether it stays."""
        outer = self._runtime._dispatchers["m", 1]
        dispatcher = outer if isinstance(outer, Dispatcher) else outer._dispatcher
        pump = dispatcher._pump
        engine = pump._engine
        assert engine is not None
        found = (outer, dispatcher, pump, pump._steering, engine, engine._slots)
        return {type(one).__name__: weakref.ref(one) for one in found}

    async def reload(self) -> None:
        """Have another model take its place, as it is reloaded; the same engine runs it."""
        old = self._runtime._dispatchers["m", 1]
        serving = _serving(Path(old.socket_path), old.served.settings, old.served.profile)
        await self._runtime._serve(serving.model_copy(update={"replaces": True}))

    def lose_engine(self) -> None:
        """Hear that the engine has died; what waits and what comes waits for another."""
        outer = self._runtime._dispatchers["m", 1]
        assert isinstance(outer, Dispatcher)
        engine = outer._pump._engine
        assert engine is not None
        engine.close()
        outer._pump._lost()

    @contextlib.asynccontextmanager
    async def succeed(self, card: str, folder: Path, **found: object) -> AsyncIterator[None]:
        """Have another engine take the place of a dead one, with what the file is now."""
        model, settled, profile = _load(card, folder, found, self._settings)
        with _engine(folder / "t", model.instance(), profile):
            await self._runtime._serve(_serving(folder / "t", settled, profile))
            yield

    def drain(self) -> None:
        """Take the model away."""
        self._runtime._note(ModelState(name="m", version=1, state="draining"))

    def call(self, path: str, call: Call, headers: Any = GRPC) -> asyncio.Task[None]:
        """Begin a gRPC call; the task ends when it is answered."""
        scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
        scope["http_version"] = "2"
        return asyncio.create_task(self._application(scope, call.receive, call.send))

    async def ask(
        self,
        path: str,
        body: bytes = b"",
        *,
        method: str = "POST",
        headers: Any = (),
        begun: bytes | None = None,
        stays: bool = True,
    ) -> Came:
        """Send one request; gRPC's status stands among the headers.

        ``begun``: what comes of a body before its client leaves. One that does not stay leaves when
        all of its body is there.
        """
        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        scope["http_version"] = "2"
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        loop = asyncio.get_running_loop()

        events: list[dict[str, Any]] = []
        if begun is not None:
            events.append({"type": "http.request", "body": begun, "more_body": True})
            events.append({"type": "http.disconnect"})
        elif not stays:
            events.append({"type": "http.request", "body": body, "more_body": False})
            events += [{"type": "http.disconnect"}] * _ASKED

        def receive() -> asyncio.Future[dict[str, Any]]:
            came: asyncio.Future[dict[str, Any]] = loop.create_future()
            whole = {"type": "http.request", "body": body, "more_body": False}
            came.set_result(events.pop(0) if events else whole)
            return came

        await self._application(scope, receive, send)
        lines = [line for message in sent for line in message.get("headers", ())]
        return Came(
            sent[0]["status"],
            {name.decode(): value.decode() for name, value in lines},
            b"".join(message.get("body", b"") for message in sent),
        )


@contextlib.asynccontextmanager
async def inside(
    card: str,
    folder: Path,
    scribe: ScribeClient | None = None,
    server: ServerSettings | None = None,
    found: Mapping[str, object] = MappingProxyType({}),
    instance: Instance | None = None,
    **settings: Any,
) -> AsyncIterator[Inside]:
    """Serve the fake model that ``card`` describes under the name ``m``.

    ``found`` is what warm-up would have found out instead, ``instance`` runs in its place.
    """
    model, settled, profile = _load(card, folder, found, settings)
    runtime = Runtime(asyncio.get_running_loop(), "")
    with _engine(folder / "s", instance or model.instance(), profile):
        await runtime._serve(_serving(folder / "s", settled, profile))
        runtime._catalog.configured = True
        try:
            yield Inside(runtime, scribe, server, **settings)
        finally:
            await runtime.stop()


def _load(
    card: str, folder: Path, found: Mapping[str, object], settings: Mapping[str, Any]
) -> tuple[Model, ModelSettings, Profile]:
    path = folder / "m.fake"
    path.write_text(card)
    settled = ModelSettings(name="m", backend=BackendName.FAKE, instances=1, **settings)
    model = stateful.adapt(fake.load(path, settled), settled)
    warm = warm_up(model, [model.instance()], settled, lambda _: None)
    known = {"batch_sizes": warm.batch_sizes, "measurements": warm.measurements, **found}
    return model, settled, plain(warm.signature, "fake", **known)


def _serving(path: Path, settings: ModelSettings, profile: Profile) -> ModelServing:
    return ModelServing(
        name="m", version=1, socket_path=str(path), settings=settings, profile=profile
    )


@contextlib.contextmanager
def _engine(path: Path, instance: Instance, profile: Profile) -> Iterator[None]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()

    sizes = profile.batch_sizes if profile.pads else None
    reception = Reception(listener, profile.signature.unwrap(), sizes)
    thread = threading.Thread(target=reception.serve, args=([instance],))
    thread.start()
    try:
        yield
    finally:
        reception.close()
        thread.join(10)
        listener.close()
