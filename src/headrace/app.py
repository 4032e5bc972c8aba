"""Composition: settings become processes that start, serve and drain. This is the supervisor.

Start: find the models, start one engine for each version and, beside them, the receiver; ready when
the receiver serves every version that did not fail. Serve: restart what dies. Drain (SIGTERM,
Ctrl-C): not ready, listeners drain, what is in flight ends, exit 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import structlog
from rich.console import Console

from headrace.control import (
    Complete,
    Configure,
    Done,
    Drain,
    Emptied,
    Labels,
    ModelState,
    Recalled,
    ReceiverReady,
    Seen,
    Used,
    from_receiver,
)
from headrace.errors import Draining, StartError
from headrace.loader.engine_process import check_socket_path, socket_path
from headrace.loader.first import bring_the_rest, find_first
from headrace.loader.fleet import Fleet
from headrace.loader.keeper import Audience
from headrace.loader.lifecycle import Backoff
from headrace.loader.memory import EngineMemory
from headrace.loader.orders import Orders
from headrace.loader.remote.remotes import Remotes
from headrace.loader.spare import Beginning, Spare
from headrace.loader.store import FoundVersion
from headrace.loader.watch import Watch
from headrace.message import Message, line
from headrace.observe.logs import configure
from headrace.order import Demand, Order
from headrace.receiver.envoy import Address
from headrace.receiver.process import CONTROL_NAME, ReceiverProcess, refuse_taken
from headrace.receiver.scribe_process import ScribeProcess
from headrace.screen import show_loaded, show_ready
from headrace.server_settings import ModelControl
from headrace.settings import Settings

# What the receiver says is short, but for a model's settings and a long list of models.
_LINE_LIMIT_BYTES = 64 * 2**20
_ENGINE_STOP_TIMEOUT_S = 5.0
# More engines than this one version will hardly see; their number is in their sockets' paths.
_INCARNATIONS = 9999


def serve(settings: Settings, console: Console, beginning: Beginning | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C, and return the exit status.

    0: drained; 1: every model failed, or requests were still in flight at ``drain_timeout_s``.

    Raises:
        OperatorError: something must be changed before it can start.
    """
    configure(settings.server.log_level, settings.server.log_format)
    runtime_dir = Path(tempfile.mkdtemp(prefix="headrace-"))
    try:
        remotes = Remotes(settings, runtime_dir / "remote")
        found = find_first(remotes)
        addresses = [
            Address(settings.server.host, settings.server.port),
            *map(Address.parse, settings.server.listen),
        ]
        addresses = [address.resolve() for address in addresses]
        refuse_taken(addresses)
        check_socket_path(runtime_dir / CONTROL_NAME)
        for one in found:
            socket_path(runtime_dir, one.name, one.version, _INCARNATIONS)
        spare = Spare(None) if beginning is None else beginning.spare
        run = asyncio.run if beginning is None else beginning.runner.run
        return run(Supervisor(remotes, found, addresses, runtime_dir, console, spare).run())
    finally:
        shutil.rmtree(runtime_dir, ignore_errors=True)


class Supervisor:
    """Starts, watches, restarts and drains the engines and the receiver."""

    def __init__(
        self,
        remotes: Remotes,
        found: Sequence[FoundVersion],
        addresses: Sequence[Address],
        runtime_dir: Path,
        console: Console,
        spare: Spare,
    ) -> None:
        settings = self._settings = remotes.settings
        self._remotes = remotes
        self._spare = spare
        self._awaited = bool(remotes.mirrors)  # what may be there to serve is not all known
        self._found = tuple(found)
        self._addresses = tuple(addresses)
        self._runtime_dir = runtime_dir
        self._console = console
        self._log = structlog.get_logger("headrace")
        self._fleet = Fleet(
            settings.server,
            runtime_dir,
            tell=self._tell,
            audience=Audience(
                on_serving=partial(show_loaded, console),
                on_state=self._note,
                on_progress=self._progress,
            ),
            spare=spare,
        )
        self._memory = EngineMemory(self._fleet.pids, self._tell)
        self._orders = Orders(settings, self._fleet, remotes)
        self._ordered: set[asyncio.Task[None]] = set()
        self._announced = False
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._first_serves = asyncio.Event()
        self._receiver: ReceiverProcess | None = None  # while it listens
        self._writer: asyncio.StreamWriter | None = None
        self._group: asyncio.TaskGroup | None = None
        self._started_s = time.monotonic()

    async def run(self) -> int:
        """Start, serve, drain: the three phases, and the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        async with self._control(), asyncio.TaskGroup() as group:
            self._group = group
            self._fleet.start(group, self._found)
            scribe = ScribeProcess(self._settings.server, self._runtime_dir)
            decoding = group.create_task(scribe.run(self._first_serves))
            receiving = group.create_task(self._keep_receiver())
            self._ordered.add(group.create_task(self._memory.run()))
            self._ordered.add(group.create_task(self._fleet.residents.watch()))
            if self._polls:
                watch = Watch(self._settings, self._fleet, self._remotes, self._complete)
                self._ordered.add(group.create_task(watch.run()))
            self._ordered.add(group.create_task(self._gather()))
            await self._stopping.wait()
            for task in self._ordered:
                task.cancel()
            clean = await self._drain()
            receiving.cancel()
            await asyncio.wait([receiving])
            decoding.cancel()
            # Nobody waits any more for what an engine still runs after an unclean end.
            await self._fleet.stop(_ENGINE_STOP_TIMEOUT_S if clean else 0.0)
        return 0 if clean and not self._nothing_left() else 1

    async def _gather(self) -> None:
        await bring_the_rest(self._remotes, self._fleet)
        self._complete()

    def _complete(self) -> None:
        """Every place has been looked at."""
        if self._awaited:
            self._awaited = False
            self._tell(Complete())
            self._note()

    def _stop(self) -> None:
        """Take SIGTERM or Ctrl-C: drain; the second time: at once."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    # -- the receiver ------------------------------------------------------------------------------

    async def _keep_receiver(self) -> None:
        """Run the receiver, and another when it dies; the ports stay those of the first.

        Raises:
            StartError: the first did not come up.
        """
        backoff = Backoff()
        reason = await self._receive()
        while not self._stopping.is_set():
            delay_s = backoff.after_death(time.monotonic())
            self._log.error("receiver_died", reason=reason, restart_in_s=delay_s)
            await asyncio.sleep(delay_s)
            try:
                reason = await self._receive()
            except StartError as error:
                reason = error.message

    async def _receive(self) -> str:
        """Run one receiver from start to end; return why it ended.

        Raises:
            StartError: it did not come up.
        """
        receiver = ReceiverProcess(self._settings.server, self._addresses, self._runtime_dir)
        try:
            self._addresses = await receiver.start()
            self._receiver = receiver
            self._announce()
            return f"the receiver ended with status {await receiver.wait()}"
        finally:
            self._receiver = self._writer = None
            self._fleet.alone()
            await receiver.stop()

    @contextlib.asynccontextmanager
    async def _control(self) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(
            self._converse, self._runtime_dir / CONTROL_NAME, limit=_LINE_LIMIT_BYTES
        )
        try:
            yield
        finally:
            server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell a new receiver all there is, then hear what it serves."""
        self._writer = writer
        states = tuple(self._fleet.states.values())
        server, was_ready = self._settings.server, self._announced
        self._tell(
            Configure(server=server, models=states, was_ready=was_ready, awaited=self._awaited)
        )
        for serving in self._fleet.serving.values():
            self._tell(serving)
        for name, versions in self._fleet.labels.items():
            self._tell(Labels(name=name, versions=versions))
        self._memory.tell_again()
        if self._stopping.is_set():
            self._tell(Drain())
        with contextlib.suppress(ConnectionError):  # it died: who waits for it will hear
            while text := await reader.readline():
                self._hear(from_receiver.validate_json(text), writer)
        writer.close()

    def _hear(
        self,
        message: ReceiverReady | Emptied | Recalled | Used | Seen | Order,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take what a receiver says; one that has been replaced has nothing to say any more."""
        if writer is not self._writer:
            return
        match message:
            case ReceiverReady():
                self._fleet.confirm((message.name, message.version), message.socket_path)
                self._first_serves.set()  # until then the cores are for loading
                self._announce()
            case Emptied():
                self._fleet.emptied(message.socket_path)
            case Recalled():
                self._fleet.recalled(message)
            case Used():
                self._fleet.residents.used(message)
            case Seen():
                self._fleet.sees(message)
            case _ if self._group is None or self._stopping.is_set():
                self._tell(_too_late(message))
            case _:
                task = self._group.create_task(self._carry_out(message, writer))
                self._ordered.add(task)
                task.add_done_callback(self._ordered.discard)

    async def _carry_out(self, order: Order, writer: asyncio.StreamWriter) -> None:
        tell = self._log.debug if isinstance(order, Demand) else self._log.info
        tell("ordered", order=order.kind, what=order.model_dump(exclude={"kind"}))
        try:
            done = await self._orders.carry_out(order)
        except asyncio.CancelledError:  # whoever waits for it must not hold up the drain
            self._answer(_too_late(order), writer)
            raise
        if done.code is not None:
            self._log.warning("order_refused", order=order.kind, reason=done.message)
        self._answer(done, writer)

    def _answer(self, done: Done, writer: asyncio.StreamWriter) -> None:
        """Tell the receiver that has ordered it; another one counts its orders anew."""
        if writer is self._writer:
            self._tell(done)

    def _tell(self, message: Message) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(line(message))

    # -- the engines -------------------------------------------------------------------------------

    def _note(self, _: ModelState | None = None) -> None:
        self._announce()
        if self._nothing_left() and not self._polls and not self._stopping.is_set():
            self._console.print("no model is left to serve; the log says why")
            self._stopping.set()

    def _progress(self, name: str, version: int, step: str) -> None:
        self._log.debug("model_loading", model=name, version=version, step=step)

    @property
    def _polls(self) -> bool:
        """Whether the folders are watched: then what failed may yet be mended there."""
        return self._settings.server.model_control is ModelControl.POLL

    def _nothing_left(self) -> bool:
        """Whether all that there was to serve has failed."""
        states = self._fleet.states.values()
        if self._awaited or not (states or (self._remotes.mirrors and not self._polls)):
            return False
        return all(state.state == "failed" for state in states)

    # -- ready, and the end ------------------------------------------------------------------------

    def _announce(self) -> None:
        """Say once that everything which can serve does, and where."""
        if self._announced or self._receiver is None or self._nothing_left():
            return
        if self._awaited or self._fleet.waiting():
            return
        self._announced = True
        self._first_serves.set()  # where nothing is loaded before it is asked for
        if self._group is not None:
            self._group.create_task(self._spare.end())  # the same
        listed = {one.name for one in self._fleet.states.values() if one.state == "listed"}
        urls = [address.url for address in self._addresses]
        show_ready(self._console, urls, len(listed), time.monotonic() - self._started_s)

    async def _drain(self) -> bool:
        """Not ready, listeners drain, in-flight requests end; True when none was cut off."""
        self._tell(Drain())
        receiver = self._receiver
        if receiver is None:
            return True  # nobody could ask it anything, or those who did were cut off by its death
        limit_s = self._settings.server.drain_timeout_s
        self._log.info("draining", limit_s=limit_s, pid=os.getpid())
        clean = await receiver.drain(limit_s, self._hurrying)
        if not clean:
            self._log.error("requests_cut_off", limit_s=limit_s)
        return clean


def _too_late(order: Order) -> Done:
    return Done(order=order.order, code=Draining.code, message="the server is shutting down")
