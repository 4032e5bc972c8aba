"""The receiver process from start to end: what the supervisor says becomes models that serve.

The control connection is read by one task, owned by the ASGI lifespan. Losing it means that the
supervisor is gone; then the process ends, so that no receiver outlives its server.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import structlog

from headrace.control import (
    ENDED,
    SCRIBE_NAME,
    Ask,
    Complete,
    Configure,
    Done,
    Drain,
    Emptied,
    Forget,
    Gather,
    Gathered,
    Labels,
    Memory,
    ModelServing,
    ModelState,
    NotServed,
    Recall,
    Recalled,
    ReceiverReady,
    Told,
    ToReceiver,
    to_receiver,
)
from headrace.engine.samples import write
from headrace.engine_control import is_alike
from headrace.errors import (
    EngineLost,
    HeadraceError,
    ModelFailed,
    NotReady,
)
from headrace.message import LINE_LIMIT_BYTES, Message, line
from headrace.observe.logs import configure
from headrace.observe.together import Topic
from headrace.receiver.asgi import Application
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.exchange import Core, Exchange
from headrace.receiver.handover.client import ScribeClient
from headrace.receiver.missed import Missed, may_pass
from headrace.receiver.model_files import ModelFiles
from headrace.receiver.numbers import Numbers
from headrace.receiver.oip.extras import Extras
from headrace.receiver.orders import Orders
from headrace.receiver.run.compose import Composer
from headrace.receiver.run.dispatch import Dispatcher
from headrace.receiver.run.sequences import Sequences
from headrace.receiver.telemetry import Telemetry
from headrace.receiver.usage import Usage
from headrace.server_settings import ModelControl, ServerSettings
from headrace.values import Request, Response, SequenceCall

# The supervisor waits for receivers that are busy, but not so long.
_GATHER_TIMEOUT_S = 5.0


class Runtime:
    """The receiver's objects and the task that keeps them true."""

    def __init__(self, loop: asyncio.AbstractEventLoop, control_path: str) -> None:
        self._loop = loop
        self._control_path = control_path
        self._catalog = Catalog()
        scribe_path = Path(control_path).with_name(SCRIBE_NAME) if control_path else Path()
        self._scribe = ScribeClient(loop, str(scribe_path))
        self._dispatchers: dict[tuple[str, int], Dispatcher | Sequences] = {}
        self._missed = Missed()
        self._retired: set[Dispatcher | Sequences] = set()  # that still have something to answer
        self._gathers: dict[int, asyncio.Future[str]] = {}
        self._questions = itertools.count(1)
        self._refused: Counter[str] = Counter()
        self._composer = Composer(loop, ServerSettings(), self._tell)
        self._telemetry = Telemetry(self._catalog, self._refused)
        self._numbers = Numbers(self._catalog, self._telemetry.page)
        self._usage = Usage(loop, self._telemetry.metrics, self._tell)
        files = ModelFiles(Path(control_path).parent / f"uploads-{os.getpid()}")
        self._orders = Orders(loop, files, self._tell, self._usage.tell)
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._application: Application | None = None
        self._log = structlog.get_logger("headrace.receiver")

    async def start(self) -> Application:
        """Connect to the supervisor, take its settings, and return the application that serves."""
        reader, writer = await asyncio.open_unix_connection(
            self._control_path, limit=LINE_LIMIT_BYTES
        )
        self._writer = writer
        first = to_receiver.validate_json(await reader.readline())
        if not isinstance(first, Configure):
            raise TypeError(f"the supervisor must send Configure first, not {first.kind}")
        configure(first.server.log_level, first.server.log_format)
        self._composer = Composer(self._loop, first.server, self._tell)
        if first.server.receivers > 1:
            self._numbers = Numbers(self._catalog, self._telemetry.page, self._gather)
        self._orders.allowed = first.server.model_control is ModelControl.EXPLICIT
        self._catalog.default_model = first.server.default_model
        self._catalog.was_ready = first.was_ready
        self._catalog.awaited = first.awaited
        for state in first.models:
            self._catalog.set_state(state)
        self._catalog.moves.clear()  # they have been counted since the server began
        self._catalog.moves.update({(model, state): n for model, state, n in first.moves})
        self._catalog.configured = True
        for _ in range(first.serving):  # who connects to the port is to be answered at once
            await self._take(await reader.readline())
        self._task = self._loop.create_task(self._listen(reader))
        if first.server.memory_budget_mib is not None or first.server.max_resident is not None:
            self._usage.start()
        self._application = self.application(first.server, self._scribe)
        return self._application

    def application(self, settings: ServerSettings, scribe: ScribeClient | None) -> Application:
        """What answers with the models there are; without a scribe, large JSON is read in place."""
        extras = Extras(settings)
        core = Core(
            self._catalog,
            self.infer,
            self._orders.command,
            scribe,
            extras.tracer,
            self._numbers.all,
            settings.receivers,
            self.foresee,
            self.owner,
        )
        return Application(core, extras, self._orders.ask, settings, self._refused)

    async def stop(self) -> None:
        """End the control task and fail what is left."""
        if self._task is not None:
            self._task.cancel()
        self._scribe.close()
        self._usage.stop()
        for dispatcher in (*self._dispatchers.values(), *self._retired):
            dispatcher.close(NotReady("the server has stopped"))
        if self._application is not None:
            await asyncio.to_thread(self._application.stop)

    def infer(
        self, request: Request, served: ServedModel, exchange: Exchange
    ) -> Awaitable[Response]:
        """Run one request on the version its front has found.

        Raises:
            NotReady: it has just been taken away.
            NotResident: it has just left memory.
        """
        dispatcher = self._dispatchers.get((served.name, served.version))
        if dispatcher is None:
            self._catalog.find(served.name, served.version)
            raise NotReady(f"model {served.name!r} is not ready", retry_after_s=1.0)
        return dispatcher.infer(request, exchange)

    def foresee(self, form: object, priority: int, served: ServedModel, exchange: Exchange) -> None:
        """Refuse a request of which only the beginning is here; see ``exchange.Foresee``.

        Raises:
            OverloadError: its version would.
        """
        dispatcher = self._dispatchers.get((served.name, served.version))
        if dispatcher is not None:
            dispatcher.foresee(form, priority, exchange)

    def owner(self, served: ServedModel, call: SequenceCall) -> ServedModel:
        """Which version has a sequence that goes on."""
        dispatcher = self._dispatchers.get((served.name, served.version))
        return dispatcher.owner(call) if isinstance(dispatcher, Sequences) else served

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Hear the supervisor. Without it nothing that is known here stays true: then it ends."""
        reason = ""
        try:
            while text := await self._next(reader):
                await self._take(text)
        except Exception as error:  # noqa: BLE001 - it may have died with our words unread, too
            reason = f"{type(error).__name__}: {error}"
        self._log.error("supervisor_gone", **({"reason": reason} if reason else {}))
        os.kill(os.getpid(), signal.SIGTERM)

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        """What the supervisor says next; until then, what could not be taken in is tried again."""
        while True:
            try:
                async with asyncio.timeout(self._missed.wait_s(self._loop.time())):
                    return await reader.readline()
            except TimeoutError:
                for message in self._missed.take():
                    await self._try(message)

    async def _take(self, text: bytes) -> None:
        message = to_receiver.validate_json(text)
        if isinstance(message, ModelServing):
            self._missed.forget(message.name, message.version)
        await self._try(message)

    async def _try(self, message: ToReceiver) -> None:
        try:
            await self._obey(message)
        except (HeadraceError, OSError) as error:
            self._log.warning("could_not_obey", message=message.kind, error=str(error))
            # The engine may have died between its ready line and our connect: the supervisor
            # sees that too and announces its successor. Of all else it would hear nothing.
            dead = isinstance(error, ConnectionRefusedError | FileNotFoundError)
            if isinstance(message, ModelServing) and not dead:
                self._missed.note(message, self._loop.time())

    async def _obey(self, message: ToReceiver) -> None:
        match message:
            case ModelServing():
                await self._serve(message)
            case ModelState():
                self._note(message)
            case Recall():
                await self._recall(message)
            case Done():
                self._orders.end(message)
            case Ask():
                text = await self._numbers.own(message.topic)
                self._tell(Told(question=message.question, text=text))
            case Gathered():
                future = self._gathers.get(message.question)
                if future is not None and not future.done():
                    future.set_result(message.text)
            case Forget() | Memory() | Labels() | Complete() | Drain():
                self._learn(message)
            case Configure():
                raise TypeError("Configure comes once")

    def _learn(self, message: Forget | Memory | Labels | Complete | Drain) -> None:
        match message:
            case Forget():
                self._catalog.forget(message.name, message.version)
            case Memory():
                self._catalog.set_memory(message.name, message.version, message.memory_bytes)
            case Labels():
                self._catalog.set_labels(message.name, message.versions)
            case Complete():
                self._catalog.complete()
            case Drain():
                self._catalog.drain()

    async def _serve(self, message: ModelServing) -> None:
        key = (message.name, message.version)
        old = self._dispatchers.get(key)
        dispatcher = old
        if (
            dispatcher is None
            or message.replaces
            or not is_alike(dispatcher.served.profile, message.profile)
        ):
            try:
                dispatcher = await self._composer.compose(message)
            except (HeadraceError, OSError) as error:  # as the next receiver would, too
                if may_pass(error):
                    raise
                self._tell(
                    NotServed(
                        name=message.name,
                        version=message.version,
                        socket_path=message.socket_path,
                        reason=f"the receiver cannot serve it: {error}",
                    )
                )
                return
        await dispatcher.connect(message.socket_path, message.profile)
        self._dispatchers[key] = dispatcher
        self._catalog.set_state(  # since when, the supervisor tells
            ModelState(name=message.name, version=message.version, state="serving")
        )
        self._catalog.add(dispatcher.served)
        self._tell(
            ReceiverReady(
                name=message.name, version=message.version, socket_path=message.socket_path
            )
        )
        if old is None or old is dispatcher:
            return
        if message.replaces:
            self._retire(old)
        else:  # its engine is dead: what waits for another was checked against another model
            self._log.warning("model_changed_in_place", model=message.name, version=message.version)
            old.close(
                EngineLost("the engine died, and its model has changed meanwhile: send again")
            )

    async def _recall(self, recall: Recall) -> None:
        """Write the requests kept of a version to a file; others are answered meanwhile."""
        count = 0
        for version in recall.versions:
            dispatcher = self._dispatchers.get((recall.name, version))
            samples = () if dispatcher is None else dispatcher.samples
            if samples:
                path = Path(recall.path)
                own = path.with_name(f"{path.name}-{os.getpid()}")  # others may write theirs
                await asyncio.to_thread(write, own, version, samples)
                own.replace(path)
                count = len(samples)
                break
        self._tell(Recalled(question=recall.question, samples=count))

    def _note(self, state: ModelState) -> None:
        self._catalog.set_state(state)
        key = (state.name, state.version)
        if state.state in ENDED:
            self._missed.forget(*key)
            self._catalog.remove(*key)
            dispatcher = self._dispatchers.pop(key, None)
            if dispatcher is None:
                return
            if state.state in {"evicting", "draining"}:
                self._retire(dispatcher)
            else:
                dispatcher.close(ModelFailed(f"model {state.name!r} {state.state}: {state.reason}"))

    def _retire(self, dispatcher: Dispatcher | Sequences) -> None:
        """Let a version answer what it has, then tell that nothing of it is left here."""
        self._retired.add(dispatcher)

        def empty() -> None:
            self._retired.discard(dispatcher)
            self._tell(Emptied(socket_path=dispatcher.socket_path))
            dispatcher.close(NotReady("the model has been unloaded"))

        dispatcher.retire(empty)

    async def _gather(self, topic: Topic) -> str:
        """Ask what all receivers have counted.

        Raises:
            NotReady: the supervisor does not answer.
        """
        number = next(self._questions)
        future: asyncio.Future[str] = self._loop.create_future()
        self._gathers[number] = future
        try:
            self._tell(Gather(question=number, topic=topic))
            async with asyncio.timeout(_GATHER_TIMEOUT_S):
                return await future
        except TimeoutError as error:
            raise NotReady("the supervisor does not answer", retry_after_s=1.0) from error
        finally:
            del self._gathers[number]

    def _tell(self, message: Message) -> None:
        if self._writer is not None:
            self._writer.write(line(message))
