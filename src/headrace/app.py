"""Composition: settings become processes that start, serve and drain. This is the supervisor.

Start: find the models, start one engine for each version and, beside them, the receivers;
ready when each serves every version that did not fail. Serve: restart what dies. Drain (SIGTERM,
SIGHUP, Ctrl-C): not ready, listeners drain, what is in flight ends, exit 0.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
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
    Gather,
    Gathered,
    Labels,
    ModelState,
    NotServed,
    Recalled,
    ReceiverReady,
    Seen,
    Used,
)
from headrace.early_signals import EarlySignals
from headrace.errors import Draining
from headrace.gathering import Gathering
from headrace.loader.engine_process import check_socket_path, socket_path
from headrace.loader.first import bring_the_rest, find_first
from headrace.loader.fleet import Fleet
from headrace.loader.keeper import Audience
from headrace.loader.memory import EngineMemory
from headrace.loader.nursery import Beginning, Nursery
from headrace.loader.orders import Orders
from headrace.loader.remote.remotes import Remotes
from headrace.loader.store import FoundVersion
from headrace.loader.watch import Watch
from headrace.message import Message
from headrace.observe.logs import configure
from headrace.observe.together import Topic
from headrace.order import Order
from headrace.receiver.envoy import Address
from headrace.receiver.process import CONTROL_NAME, claimed
from headrace.receiver.scribe_process import ScribeProcesses
from headrace.receivers import Receivers
from headrace.run_folder import run_folder
from headrace.screen import show_late, show_loaded, show_ready, still_loading
from headrace.server_settings import ModelControl
from headrace.settings import Settings
from headrace.voices import Listener, Voice, Voices, Words

_ENGINE_STOP_TIMEOUT_S = 5.0
# When a start begins to say what it waits for, and how often it does.
_LATE_S, _LATER_S = 5.0, 10.0
# More engines than this one version will hardly see; their number is in their sockets' paths.
_INCARNATIONS = 9999


def serve(settings: Settings, console: Console, beginning: Beginning | None = None) -> int:
    """Serve until SIGTERM, SIGHUP or Ctrl-C, and return the exit status.

    0: drained; 1: every model has failed, or requests were still in flight at ``drain_timeout_s``.

    Raises:
        OperatorError: something must be changed before it can start.
    """
    if beginning is None:
        with asyncio.Runner() as runner:
            return serve(settings, console, Beginning(runner, Nursery(), EarlySignals()))
    beginning.imported()
    configure(settings.server.log_level, settings.server.log_format)
    beginning.signals.raise_()  # there is something to remove
    with run_folder() as runtime_dir:
        remotes = Remotes(settings, runtime_dir / "remote")
        found = find_first(remotes)
        addresses = [
            Address(settings.server.host, settings.server.port),
            *map(Address.parse, settings.server.listen),
        ]
        addresses = [address.resolve() for address in addresses]
        check_socket_path(runtime_dir / CONTROL_NAME)
        for one in found:
            socket_path(runtime_dir, one.name, one.version, _INCARNATIONS)
        with claimed(addresses) as let_go:
            supervisor = Supervisor(
                remotes, found, addresses, runtime_dir, console, beginning, on_listening=let_go
            )
            beginning.signals.remember()
            return beginning.runner.run(supervisor.run())


class Supervisor:
    """Starts, watches, restarts and drains the engines and the receivers."""

    def __init__(
        self,
        remotes: Remotes,
        found: Sequence[FoundVersion],
        addresses: Sequence[Address],
        runtime_dir: Path,
        console: Console,
        beginning: Beginning,
        *,
        on_listening: Callable[[], None],
    ) -> None:
        settings = self._settings = remotes.settings
        self._remotes = remotes
        self._nursery, self._signals = beginning.nursery, beginning.signals
        self._awaited = bool(remotes.mirrors)  # what may be there to serve is not all known
        self._found = tuple(found)
        self._runtime_dir = runtime_dir
        self._console = console
        self._log = structlog.get_logger("headrace")
        self._voices = Voices(Listener(self._greet, self._hear, self._left))
        self._gathering = Gathering(self._voices)
        self._receivers = Receivers(
            settings.server, addresses, runtime_dir, on_listening=self._listens
        )
        self._on_listening = on_listening
        self._fleet = Fleet(
            settings.server,
            runtime_dir,
            tell=self._tell,
            audience=Audience(
                on_serving=partial(show_loaded, console),
                on_state=self._note,
                on_progress=self._progress,
            ),
            begin=self._nursery.engine,
        )
        self._memory = EngineMemory(self._fleet.pids, self._voices.tell, self._fleet.sizes)
        self._orders = Orders(settings, self._fleet, remotes)
        self._ordered: set[asyncio.Task[None]] = set()
        self._announced = False
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._started_s = time.monotonic()

    async def run(self) -> int:
        """Start, serve, drain: the three phases, and the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        # Ignored they are in the background of a script, and under nohup.
        for number, take in ((signal.SIGINT, self._stop), (signal.SIGHUP, self._hang_up)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, take)
        if self._signals.status is not None:  # came before the loop took them
            self._stop()
        control = self._voices.listen(self._runtime_dir / CONTROL_NAME)
        async with control, asyncio.TaskGroup() as group:
            self._group = group
            self._fleet.start(group, self._found)
            scribes = ScribeProcesses(self._settings.server, self._runtime_dir)
            decoding = group.create_task(scribes.run())
            receiving = group.create_task(self._receivers.run())
            self._ordered.add(group.create_task(self._memory.run()))
            self._ordered.add(group.create_task(self._tell_late()))
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
            await self._nursery.end()  # first: an engine may be waiting to be born
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
            self._voices.tell(Complete())
            self._note()

    def _stop(self) -> None:
        """Take a signal to end: drain; the second time: at once."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    def _hang_up(self) -> None:
        """Take SIGHUP, which may come twice: drain, and say no more to a terminal that closed."""
        for stream in (sys.stdout, sys.stderr):
            try:
                os.write(stream.fileno(), b"")
            except OSError:
                with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor
                    os.dup2(nowhere.fileno(), stream.fileno())
        self._stopping.set()

    # -- the receivers -----------------------------------------------------------------------------

    def _greet(self, voice: Voice) -> None:
        """Tell a new receiver all there is."""
        self._fleet.joined(voice)
        serving = list(self._fleet.serving.values())
        voice.tell(
            Configure(
                server=self._settings.server,
                models=tuple(self._fleet.states.values()),
                moves=tuple((*move, count) for move, count in self._fleet.moves.items()),
                serving=len(serving),
                was_ready=self._announced,
                awaited=self._awaited,
            )
        )
        for one in serving:
            voice.tell(one)
        for name, versions in self._fleet.labels.items():
            voice.tell(Labels(name=name, versions=versions))
        self._memory.tell_again(voice.tell)
        if self._stopping.is_set():
            voice.tell(Drain())

    def _listens(self) -> None:
        self._on_listening()
        self._announce()

    def _tell(self, message: Message) -> None:
        """Tell all of a version; what it means for their counts, it means for those of the dead."""
        self._gathering.told(message)
        self._voices.tell(message)

    def _left(self, voice: Voice) -> None:
        self._gathering.left(voice)
        self._fleet.left(voice)

    def _hear(self, message: Words, voice: Voice) -> None:
        """Take what a receiver says."""
        match message:
            case ReceiverReady():
                self._fleet.confirm((message.name, message.version), message.socket_path, voice)
                self._announce()
            case NotServed():
                key = message.name, message.version
                self._fleet.refuse(key, message.socket_path, message.reason)
            case Emptied():
                self._fleet.emptied(message.socket_path, voice)
            case Recalled():
                self._fleet.recalled(message)
            case Used():
                self._fleet.residents.used(message)
            case Seen():
                self._fleet.sees(message)
            case Gather():
                self._begin(self._gathered(message, voice), ordered=False)
            case _ if self._group is None or self._stopping.is_set():
                voice.tell(_too_late(message))
            case _:
                self._begin(self._carry_out(message, voice))

    def _begin(self, work: Coroutine[None, None, None], *, ordered: bool = True) -> None:
        """Do what a receiver has asked for; the group owns it, and the drain ends an order."""
        if self._group is None:  # before it runs nobody can ask
            work.close()
            return
        task = self._group.create_task(work)
        if ordered:
            self._ordered.add(task)
            task.add_done_callback(self._ordered.discard)

    async def _gathered(self, asked: Gather, voice: Voice) -> None:
        text = await self._gathering.of(asked.topic)
        voice.tell(Gathered(question=asked.question, text=text))

    async def _carry_out(self, order: Order, voice: Voice) -> None:
        try:
            done = await self._orders.carry_out(order, voice)
            if len(self._voices) > 1:  # whoever asks next may ask any of them
                await self._voices.ask(Topic.NOTHING)
        except asyncio.CancelledError:  # whoever waits for it must not hold up the drain
            voice.tell(_too_late(order))
            raise
        voice.tell(done)

    # -- the engines -------------------------------------------------------------------------------

    def _note(self, _: ModelState | None = None) -> None:
        self._announce()
        if self._nothing_left() and not self._may_mend and not self._stopping.is_set():
            self._console.print("no model is left to serve; the log says why")
            self._stopping.set()

    async def _tell_late(self) -> None:
        """Say what a start still waits for, while that takes long: else nothing would be said."""
        await asyncio.sleep(_LATE_S)
        while not self._announced:
            late, more = still_loading(self._fleet.states.values(), time.time())
            if late and self._console.is_terminal:
                show_late(self._console, late, more)
            elif late:
                told = [one._asdict() for one in late]
                self._log.info("still_loading", models=told, more=more)
            await asyncio.sleep(_LATER_S)

    def _progress(self, name: str, version: int, step: str) -> None:
        self._log.debug("model_loading", model=name, version=version, step=step)

    @property
    def _polls(self) -> bool:
        """Whether the folders are watched."""
        return self._settings.server.model_control is ModelControl.POLL

    @property
    def _may_mend(self) -> bool:
        """Whether what failed may yet be mended: in its folder or, if it was ready, by an order."""
        control = self._settings.server.model_control
        return self._polls or (control is ModelControl.EXPLICIT and self._announced)

    def _nothing_left(self) -> bool:
        """Whether all that there was to serve has failed."""
        states = self._fleet.states.values()
        if self._awaited or not (states or (self._remotes.mirrors and not self._polls)):
            return False
        return all(state.state == "failed" for state in states)

    # -- ready, and the end ------------------------------------------------------------------------

    def _announce(self) -> None:
        """Say once that everything which can serve does, and where."""
        if self._announced or not self._receivers.all_listen or self._nothing_left():
            return
        if self._awaited or self._fleet.waiting():
            return
        self._announced = self._fleet.ready = True
        listed = {one.name for one in self._fleet.states.values() if one.state == "listed"}
        urls = [address.url for address in self._receivers.addresses]
        show_ready(self._console, urls, len(listed), time.monotonic() - self._started_s)

    async def _drain(self) -> bool:
        """Not ready, listeners drain, in-flight requests end; True when none was cut off."""
        self._voices.tell(Drain())
        limit_s = self._settings.server.drain_timeout_s
        self._log.info("draining", limit_s=limit_s, pid=os.getpid())
        clean = await self._receivers.drain(limit_s, self._hurrying)
        if not clean:
            self._log.error("requests_cut_off", limit_s=limit_s)
        return clean


def _too_late(order: Order) -> Done:
    return Done(order=order.order, code=Draining.code, message="the server is shutting down")
