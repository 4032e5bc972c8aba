"""What stands for each version: its post is made, its engine run, waited for and ended.

Which of them is started, replaced or retired, and in which order, is ``fleet``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from headrace.control import ModelServing, ModelState
from headrace.cores import usable_cores
from headrace.errors import OperatorError
from headrace.loader.allotment import Allotment
from headrace.loader.aside import aside
from headrace.loader.engine_process import EngineProcess, socket_paths, start_engine
from headrace.loader.keeper import Audience, EngineKeeper, Surroundings
from headrace.loader.lifecycle import State
from headrace.loader.memory import Sizes
from headrace.loader.post import Key, Post
from headrace.loader.residents import Residents
from headrace.loader.roster import Roster
from headrace.loader.several import check_models
from headrace.loader.stamps import Stamp, own_bytes, stamp
from headrace.loader.store import FoundVersion
from headrace.loader.tokenizers import copy_tokenizers
from headrace.loader.told import Told
from headrace.message import Message
from headrace.server_settings import ServerSettings

_ENGINE_STOP_TIMEOUT_S = 5.0
# What waits for an engine that leaves while the server runs has at least so long: nobody is in a
# hurry. A server that ends is, and waits for none of this.
_FINISH_S = 30.0
# A file system that is not there may never answer.
_LOOK_S = 5.0
# Engines that load at once, on machines of few cores: some of their time is reading files.
_LEAST_PLACES = 4


class Crew(Roster):
    """The engines of all versions; for the supervisor's event loop.

    ``tell`` sends to every receiver, and the audience hears what it is told of engines. ``begin``
    begins an engine's process, see ``Surroundings``.
    """

    def __init__(
        self,
        server: ServerSettings,
        runtime_dir: Path,
        *,
        tell: Callable[[Message], None],
        audience: Audience,
        begin: Callable[[str], Awaitable[EngineProcess]] = start_engine,
    ) -> None:
        super().__init__(Told(tell, audience))
        self._server = server
        self._runtime_dir = runtime_dir
        self._audience = audience
        self._begin_process = begin
        self._keepers: set[EngineKeeper] = set()  # of these and of those that are on their way out
        self._sockets: dict[Key, Iterator[str]] = {}
        self._loading: set[Post] = set()  # they have a place, and have not served yet
        self._allotment = Allotment(server.receivers)
        self._places = max(_LEAST_PLACES, usable_cores())
        self.sizes = Sizes()
        self.residents = Residents(server, self._evict, self._news, self.sizes)
        self._group: asyncio.TaskGroup | None = None
        self.ready = False  # the server has said that it is; the supervisor tells

    async def stop(self, timeout_s: float) -> None:
        """End every engine: each within ``timeout_s``, or for certain."""
        await asyncio.gather(*(keeper.stop(timeout_s) for keeper in list(self._keepers)))

    def forget(self, key: Key) -> None:
        """Say nothing more of a version that has ended, nor of a model that has no others."""
        super().forget(key)
        self.residents.forget(key)

    # -- a post ------------------------------------------------------------------------------------

    async def _stamped(self, found: FoundVersion) -> Post:
        """A post with the stamp of its files, which may be many, and far away, and with copies.

        Raises:
            SettingsError: several receivers cannot serve it beside the others.
            OSError: its files cannot be looked at, or not be copied.
        """
        check_models(self._server, (*self.names(), found.name))
        look = await aside(partial(_look, found, self._runtime_dir))
        self.remark(found)
        return self._post(*look)

    def _post(self, found: FoundVersion, files: Stamp, size_bytes: int) -> Post:
        """A post that nobody has said anything of yet."""
        keeper = EngineKeeper(
            found,
            self._server,
            audience=Audience(
                on_serving=lambda serving: self._serves(post, serving),
                on_state=lambda state: self._moved(post, state),
                on_progress=self._audience.on_progress,
            ),
            surroundings=Surroundings(
                begin=self._begin_process,
                sockets=self._socket_paths(found),
                # Whoever was asked for does not stand back: clients wait for it. Nor does anybody
                # before the server is ready: other programs might keep it from a core.
                others_serve=lambda: self.ready and bool(self.serving) and not post.on_demand,
                samples=lambda: post.samples,
                have_changed=lambda: _has_changed(post),
                seen=lambda: self._seen.get(found.name, ()),
                cores=lambda: self._allotment.give(post, found.name, found.settings),
            ),
        )
        post = Post(found, keeper, files, size_bytes)
        return post

    def _socket_paths(self, found: FoundVersion) -> Iterator[str]:
        """The paths of its engines' sockets: no two of a version have the same."""
        key = found.name, found.version
        return self._sockets.setdefault(key, socket_paths(self._runtime_dir, *key))

    def _put(self, post: Post) -> None:
        """Let a post stand for its version."""
        self._stand(post)
        if post.on_demand:
            post.keeper.enlist()
        else:
            self._told.move(post, state_of(post, "found"))

    async def _replace(self, old: Post | None, post: Post, *, listed: bool) -> None:
        """Let a post stand for its version in place of one that has no engine."""
        post.on_demand = listed
        self._put(post)
        if old is not None:
            await self._retire(old)

    # -- its engine --------------------------------------------------------------------------------

    def _go(self, post: Post) -> None:
        self._keepers.add(post.keeper)
        self._tasks().create_task(self._run(post))

    async def _run(self, post: Post) -> None:
        """Keep an engine, from when there is a place to load it; whoever has ended needs none."""
        try:
            await self._news.until(lambda: bool(post.reason) or len(self._loading) < self._places)
            self._loading.add(post)
            await post.keeper.run()
        finally:
            self._loading.discard(post)
            self._keepers.discard(post.keeper)
            self._allotment.take_back(post)
            self.residents.leave(post)

    def _tasks(self) -> asyncio.TaskGroup:
        if self._group is None:
            raise RuntimeError("the fleet has not been started")
        return self._group

    def _serves(self, post: Post, serving: ModelServing) -> None:
        post.serving = serving
        self._loading.discard(post)
        self.residents.loaded(post)
        if self._posts.get(post.key) is post:
            self._told.engine(post)
        self._news.wake()

    def _moved(self, post: Post, state: ModelState) -> None:
        if state.state in {"failed", "unloaded"}:
            post.reason = state.reason or "it was stopped"
            self._put_back(post, state)
        elif state.state == "listed":
            post.serving, post.confirmed_s, post.wanted = None, None, False
        if self._posts.get(post.key) is post:
            self._told.move(post, state)
        self._news.wake()

    def _put_back(self, post: Post, state: ModelState) -> None:
        """Let what a failed post was to replace stand for its version, if no receiver has left it.

        What the supervisor itself stops is not failed: receivers have been told that it leaves.
        """
        old = post.replaces
        if old is None or post.keeper.state is not State.FAILED:
            return
        if old.listed:
            if post.serving is not None:  # receivers may have it
                self._told.move(post, state)
            self._stand(old)
            self._told.move(old, state_of(old, "listed"))
        elif old.serving is not None and self._heard.serves(old):
            self._heard.give_up(old.serving.socket_path)
            self._stand(old)
            self._told.back(old)
            self._told.move(old, state_of(old, "serving"))

    # -- its end -----------------------------------------------------------------------------------

    def _evict(self, post: Post) -> None:
        """Have an engine leave memory, when what it has taken is answered; its version stays."""
        post.on_demand = True
        self._heard.expect(post)
        post.keeper.evict()
        self._tasks().create_task(self._see_off(post))

    async def _retire(self, post: Post) -> None:
        """Let the receiver finish with an engine, then end it."""
        await self._finish(post)
        await post.keeper.stop(_ENGINE_STOP_TIMEOUT_S)

    async def _see_off(self, post: Post) -> None:
        """The same of one that will come back; it may have died meanwhile, and have come back."""
        await self._finish(post)
        if post.keeper.state is State.EVICTING:
            await post.keeper.stop(_ENGINE_STOP_TIMEOUT_S)

    async def _finish(self, post: Post) -> None:
        # Who waits for its memory waits no longer than a load may take.
        least_s = min(_FINISH_S, self._server.load_timeout_s / 2)
        limit_s = max(least_s, self._server.drain_timeout_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._news.until(lambda: not self._heard.uses(post))
        if post.serving is not None:
            self._heard.give_up(post.serving.socket_path)


def state_of(post: Post, state: str) -> ModelState:
    """What receivers are told of a version that stands there."""
    return ModelState(name=post.found.name, version=post.found.version, state=state)


def _look(found: FoundVersion, folder: Path) -> tuple[FoundVersion, Stamp, int]:
    """It with its copies, its stamp, and how many bytes of it are the model for certain."""
    files = stamp(found)  # first: what changes while it is copied is taken anew
    copies = copy_tokenizers(found.settings.accepts, folder)
    return replace(found, copies=copies), files, own_bytes(found, files)


def look_at_start(found: FoundVersion, folder: Path) -> tuple[FoundVersion, Stamp, int]:
    """The same, or a stamp that is like none, so that the next look or order takes it anew."""
    try:
        return _look(found, folder)
    except (OperatorError, OSError):
        return found, (), 0


async def _has_changed(post: Post) -> bool:
    """Whether its files are not those of its stamp, or cannot be looked at, as half of a copy."""
    try:
        async with asyncio.timeout(_LOOK_S):
            return await aside(partial(stamp, post.found)) != post.stamp
    except (OperatorError, OSError):
        return True
