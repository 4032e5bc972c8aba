"""Keeps one version's engine alive: starts the process, hears its reports, restarts it, stops it.

An engine that cannot load the first time will not load the second: the version fails at once, with
the reason. One that dies after it has served is replaced, after a back-off, until it has died too
often; so is one that is killed while it brings back what had left memory, for what was loaded once
can be. A successor that does not take the files that somebody is writing over has not died: others
are tried until they are whole. ``lifecycle`` is asked before every move.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from pydantic import ValidationError

from headrace.control import ModelServing, ModelState
from headrace.engine_control import (
    EngineFailed,
    EngineLoading,
    EngineReady,
    ItemShapes,
    Profile,
    engine_report,
)
from headrace.errors import OperatorError
from headrace.loader.aside import aside
from headrace.loader.engine_process import (
    LINE_LIMIT_BYTES,
    EngineProcess,
    NotStarted,
    end,
    end_of,
    remove,
    reports,
    was_killed,
    write,
)
from headrace.loader.lifecycle import Backoff, Deaths, Event, State, Tries, can_move, move
from headrace.loader.specification import specify
from headrace.loader.store import FoundVersion
from headrace.message import line
from headrace.priority import come_back, may_come_back, stand_back
from headrace.server_settings import ServerSettings
from headrace.tuned import edition

# The step of an EngineLoading that begins so belongs to the warm-up.
_WARMING = "warming"
_LEAVING = {State.EVICTING, State.DRAINING, State.UNLOADED, State.FAILED}
# A load stands back for this part of the time that it may take, and then no more; nor longer than
# this, for many clients that order one give up after a minute.
_PATIENCE, _PATIENCE_S = 4, 45.0
# So often, and so long after the first, a successor is tried that refuses files which have changed
# since they served: somebody may be writing over them.
_TRIES, _TRIES_S = 12, 120.0
# So often what comes back to memory may be killed meanwhile, as by want of it, however slowly.
_VAIN = 4
# A file system that is not there may never answer.
_LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears of engines."""

    on_serving: Callable[[ModelServing], None]
    """Whenever an engine is ready, before the state says so."""
    on_state: Callable[[ModelState], None]
    """After every move."""
    on_progress: Callable[[str, int, str], None]
    """While one loads: the name, the version, and the step it is at."""


async def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a keeper is told by those around it, whenever it starts an engine."""

    begin: Callable[[str], Awaitable[EngineProcess]]
    """Begins an engine's process, which is called so; or raises OSError."""
    sockets: Iterator[str]
    """Paths for the engines' sockets; two keepers of one version at a time share them."""
    others_serve: Callable[[], bool]
    """Whether there are engines that must not notice that one loads."""
    samples: Callable[[], Path | None]
    """A file of what the engine must agree with before it serves."""
    have_changed: Callable[[], Awaitable[bool]] = _never
    """Whether its files are no longer those that it was first to be loaded from."""
    seen: Callable[[], tuple[ItemShapes, ...]] = tuple
    """The shapes that clients have sent."""
    cores: Callable[[], tuple[tuple[int, ...], ...]] = tuple
    """The cores of each of its instances; none: any."""


class EngineKeeper:
    """Owns the engine processes of one version, one after the other.

    ``run`` belongs in the caller's task group; it returns when the version has failed or ``stop``
    was called.
    """

    def __init__(
        self,
        found: FoundVersion,
        server: ServerSettings,
        *,
        audience: Audience,
        surroundings: Surroundings,
    ) -> None:
        self.state = State.FOUND
        self.refusal = ""  # the code of the error with which an engine has not loaded
        self._found = found
        self._server = server
        self._audience = audience
        self._surroundings = surroundings
        self._log = structlog.get_logger("headrace.loader").bind(
            model=found.name, version=found.version
        )
        self._backoff = Backoff(quiet_s=server.engine_restart_window_s)
        self._deaths = Deaths(server.engine_restart_limit, server.engine_restart_window_s)
        self._process: EngineProcess | None = None
        self._step = ""  # of the load, that the engine has told last
        self._edition = ""  # of the files that the engine loads
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._begun = False  # whether `run` was called
        self._has_served = False
        self._vain = 0  # how often it died in a row when it came back to memory
        self._refused = False  # whether the last engine has ended so
        self._tries = Tries(_TRIES, _TRIES_S)  # that have refused files that had changed
        self._may_pass = False  # whether what has ended the last engine is not the model's fault

    @property
    def pid(self) -> int | None:
        """The process id of the engine, while there is one."""
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Start the engine and keep it going, until it has failed or is stopped."""
        self._begun = True
        try:
            if can_move(self.state, Event.START):
                self._stopping.clear()  # of the engine before this one, if it was evicted
                self._ended.clear()
                self._move(Event.START)
            while not self._leaving():
                reason = await self._live()
                if not await self._goes_on(reason):
                    break
                await self._pause(reason)
            if can_move(self.state, Event.STOPPED):
                self._move(Event.STOPPED)
        finally:
            self._ended.set()

    def enlist(self) -> None:
        """Say that it is there, and has an engine only when ``run`` is called."""
        self._move(Event.LIST)

    def drain(self) -> None:
        """Say that it takes no more requests; its engine goes on until ``stop``."""
        if can_move(self.state, Event.DRAIN):
            self._move(Event.DRAIN)

    def evict(self) -> None:
        """Say that its engine leaves memory for now; it goes on until ``stop``."""
        self._move(Event.EVICT)

    def give_up(self, reason: str) -> None:
        """Say that it has failed, though its engine has not; ``run`` ends when that has ended."""
        if can_move(self.state, Event.GIVEN_UP):
            self._move(Event.GIVEN_UP, reason)
            self._hang_up()

    async def stop(self, timeout_s: float) -> None:
        """Let the engine end what it runs within ``timeout_s``, then end it; waits for ``run``."""
        self._stopping.set()
        if self.state is not State.EVICTING:
            self.drain()
        if not self._begun:
            return
        self._hang_up()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            if timeout_s > 0:
                self._log.warning("engine_ignores_stop", timeout_s=timeout_s)
            if self._process is not None:
                await end(self._process)
            await self._ended.wait()

    # -- one engine --------------------------------------------------------------------------------

    async def _live(self) -> str:
        """Run one engine from start to end; return why it ended."""
        socket_path = next(self._surroundings.sockets)
        self._may_pass = self._refused = False
        self._edition = await _edition(self._found.path)  # before: what changes later is another
        try:
            async with self._engine() as process:
                if self._stopping.is_set():  # while it was being started: it may not listen yet
                    return "it was stopped"
                profile = await self._load(process, socket_path)
                if isinstance(profile, str):
                    return profile
                self._serve(profile, socket_path)
                return f"the engine {end_of(await process.wait())}"
        except NotStarted as error:
            self._may_pass = True
            return f"the engine cannot be started: {error.__cause__}"
        finally:
            remove(socket_path)

    @contextlib.asynccontextmanager
    async def _engine(self) -> AsyncIterator[EngineProcess]:
        """A process that waits for its specification; it has ended when this is left."""
        try:
            process = await self._surroundings.begin(f"{self._found.name}/{self._found.version}")
        except OSError as error:
            raise NotStarted from error
        self._process = process
        try:
            yield process
        finally:
            await end(process)
            self._process = None

    async def _load(self, process: EngineProcess, socket_path: str) -> Profile | str:
        """Tell an engine what to load, and hear it until it is ready: its profile, or why not."""
        limit_s, self._step = self._server.load_timeout_s, "starting"
        spec = specify(
            self._found,
            self._server,
            socket_path=socket_path,
            beside=self._must_not_be_noticed(),
            samples=self._surroundings.samples(),
            seen=self._surroundings.seen(),
            cores=self._surroundings.cores(),
        )
        try:
            # It stands back before it is told, and has threads.
            async with asyncio.timeout(limit_s), self._standing_back(process.pid):
                write(process, line(spec))
                async for text in reports(process):
                    result = self._hear(text)
                    if result is not None:
                        return result
                status = await process.wait()
                self._may_pass = was_killed(status)
        except ValueError:  # of a StreamReader
            return f"the engine said more in one line than is heard: {LINE_LIMIT_BYTES} bytes"
        except TimeoutError:
            return (
                f"did not load and warm up within {limit_s:g} s (server.load_timeout_s); it was at "
                f"the step: {self._step}"
            )
        return (
            f"the engine {end_of(status)} while it loaded the model, at the step: {self._step}; "
            "what it printed is in the log"
        )

    def _must_not_be_noticed(self) -> bool:
        """Whether others serve; for the successor of a dead engine, clients wait already."""
        return self.state is not State.RECOVERING and self._surroundings.others_serve()

    @contextlib.asynccontextmanager
    async def _standing_back(self, pid: int) -> AsyncIterator[None]:
        """Let an engine yield to all that serve, for a while: a busy machine may never be idle."""
        if not (self._must_not_be_noticed() and may_come_back() and stand_back(pid)):
            yield
            return
        patience_s = min(self._server.load_timeout_s / _PATIENCE, _PATIENCE_S)
        timer = asyncio.get_running_loop().call_later(patience_s, come_back, pid)
        try:
            yield
        finally:
            timer.cancel()
            come_back(pid)

    def _hear(self, text: bytes) -> Profile | str | None:
        """Take one report: the profile, why there is none, or None to go on."""
        try:
            report = engine_report.validate_json(text)
        except ValidationError:
            # A library that prints to standard output before the engine could turn it away.
            self._log.warning("engine_said", text=text.decode(errors="replace").rstrip()[:500])
            return None
        match report:
            case EngineLoading(step=step):
                self._step = step
                self._audience.on_progress(self._found.name, self._found.version, step)
                if step.startswith(_WARMING) and can_move(self.state, Event.LOADED):
                    self._move(Event.LOADED)
                return None
            case EngineReady(profile=profile):
                return profile
            case EngineFailed(code=code, message=message):
                self.refusal, self._refused = code, True
                return message

    def _serve(self, profile: Profile, socket_path: str) -> None:
        if self._leaving():
            return
        serving = ModelServing(
            name=self._found.name,
            version=self._found.version,
            socket_path=socket_path,
            settings=self._found.settings,
            profile=profile,
            tokenizers=self._found.tokenizers,
            origins=dict(self._found.origins),
            tuned=self._found.tuned,
            edition=self._edition,
        )
        self._audience.on_serving(serving)
        self._has_served, self._vain = True, 0
        self._tries.clear()
        self._move(Event.READY)

    # -- between engines ---------------------------------------------------------------------------

    def _leaving(self) -> bool:
        return self._stopping.is_set() or self.state in _LEAVING

    async def _goes_on(self, reason: str) -> bool:
        """Take the end of an engine: False when no other follows."""
        refused = self._refused and self.state is State.RECOVERING
        half_written = refused and await self._surroundings.have_changed()
        if self._leaving():
            return False
        return self._may_try(reason) if half_written else self._may_restart(reason)

    def _may_try(self, reason: str) -> bool:
        """Take it that files which have changed were refused: False when that is for good."""
        if not self._tries.note(asyncio.get_running_loop().time()):
            said = "its files have changed since they served, and cannot be loaded"
            self._move(Event.GIVEN_UP, f"{said}: {reason}")
            return False
        self._move(Event.DIED, reason)
        return True

    def _may_restart(self, reason: str) -> bool:
        """Take the death of an engine: False when the version has failed with it."""
        comes_back = self._has_served and self._may_pass
        if can_move(self.state, Event.REFUSED) and not comes_back:
            self._move(Event.REFUSED, reason)
            return False
        if self._vain or can_move(self.state, Event.REFUSED):
            self._vain += 1
        if self._vain > _VAIN:  # orders and requests wait for it, maybe for minutes each time
            died = f"its engine died {self._vain} times as it came back"
            self._move(Event.GIVEN_UP, f"{died}; the last time {reason}")
            return False
        if self._deaths.note(asyncio.get_running_loop().time()):
            self._move(
                Event.GIVEN_UP,
                f"its engine died {self._server.engine_restart_limit} times within "
                f"{self._server.engine_restart_window_s:g} s; the last time {reason}",
            )
            return False
        self._move(Event.DIED, reason)
        return True

    async def _pause(self, reason: str) -> None:
        """Wait out the back-off, or until ``stop``."""
        delay_s = self._backoff.after_death(asyncio.get_running_loop().time())
        self._log.error("engine_died", reason=reason, restart_in_s=delay_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    def _move(self, event: Event, reason: str = "") -> None:
        self.state = move(self.state, event)
        self._audience.on_state(
            ModelState(
                name=self._found.name,
                version=self._found.version,
                state=self.state.value,
                reason=reason,
            )
        )

    def _hang_up(self) -> None:
        """Close the engine's standard input, which asks it to finish and end."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


async def _edition(path: Path) -> str:
    try:
        async with asyncio.timeout(_LOOK_S):
            return await aside(partial(edition, path))
    except (OperatorError, OSError):  # who loads it says why it cannot be read
        return ""
