"""The engines of all versions: one is started, replaced by another of its version, or retired.

Nothing here decides which versions to serve; ``orders`` and the settings do. The receiver is told
of every change, and what it tells back (``confirm``, ``emptied``) ends each step: a version is
loaded when the receiver serves it, and an engine is stopped when nothing of it is left there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from headrace.control import ModelServing, ModelState, Recalled
from headrace.cores import usable_cores
from headrace.errors import ModelDiffers, ModelLoadError, ModelTooLarge, NoRoom, OperatorError
from headrace.loader.allotment import Allotment
from headrace.loader.aside import aside
from headrace.loader.engine_process import EngineProcess, socket_paths, start_engine
from headrace.loader.heard import ONLY
from headrace.loader.keeper import Audience, EngineKeeper, Surroundings
from headrace.loader.lifecycle import State
from headrace.loader.memory import Sizes
from headrace.loader.post import Key, Post
from headrace.loader.residents import Residents
from headrace.loader.roster import Roster
from headrace.loader.several import check_models
from headrace.loader.shadow import Shadow
from headrace.loader.stamps import Stamp, own_bytes, stamp
from headrace.loader.store import FoundVersion
from headrace.loader.told import Told
from headrace.message import Message
from headrace.server_settings import ServerSettings

_ENGINE_STOP_TIMEOUT_S = 5.0
# A receiver that serves takes up an engine in seconds, with the files that its model names.
_TAKE_UP_S = 30.0
# A file system that is not there may never answer.
_LOOK_S = 5.0
_COMING = {State.FOUND, State.LOADING, State.WARMING, State.RECOVERING}
_AWAY = {State.LISTED, State.EVICTING}
# Engines that load at once, on machines of few cores: some of their time is reading files.
_LEAST_PLACES = 4


class Fleet(Roster):
    """Starts, replaces and retires engines; for the supervisor's event loop.

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
        self._shadow = Shadow(runtime_dir, tell, lambda: len(self._heard))
        self._loading: set[Post] = set()  # they have a place, and have not served yet
        self._allotment = Allotment(server.receivers)
        self._places = max(_LEAST_PLACES, usable_cores())
        self._log = structlog.get_logger("headrace.loader")
        self.sizes = Sizes()
        self.residents = Residents(server, self._evict, self._news, self.sizes)
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._group: asyncio.TaskGroup | None = None
        self.ready = False  # the server has said that it is; the supervisor tells

    def start(self, group: asyncio.TaskGroup, found: Sequence[FoundVersion]) -> None:
        """Start an engine for each of these, or list it; the group owns their tasks."""
        self._group = group
        for one in found:
            if one.settings.version_labels:
                self.labels[one.name] = dict(one.settings.version_labels)
        posts = [self._post(one, *_look_at_start(one)) for one in found]
        for post in sorted(posts, key=lambda post: not post.found.settings.pinned):
            wanted = post.found.settings.preload
            post.on_demand = not (wanted and self.residents.try_enter(post))
            if wanted and post.on_demand:
                self._log.info("no_room_to_preload", model=post.key[0], version=post.key[1])
        for post in posts:
            self._put(post)
        for post in posts:
            if not post.on_demand:
                self._go(post)

    async def stop(self, timeout_s: float) -> None:
        """End every engine: each within ``timeout_s``, or for certain."""
        await asyncio.gather(*(keeper.stop(timeout_s) for keeper in list(self._keepers)))

    # -- one step each -----------------------------------------------------------------------------

    async def load(self, found: FoundVersion) -> None:
        """Serve a version; when it serves already, this is what takes its place, unnoticed.

        Raises:
            NoRoom, ModelTooLarge: others cannot leave memory for it.
            ModelLoadError: it cannot be loaded; what served goes on.
            ModelDiffers: it does not answer as what serves, which goes on.
            OSError: its files cannot be looked at.
        """
        async with self._turn(found):
            await self._load(await self._stamped(found))

    async def _load(self, post: Post) -> None:
        found = post.found
        async with self._samples(post):  # before what serves may have to leave memory
            await self.residents.enter(post)
            old = await self._present(found)
            if old is None or old.listed:
                listed = self._starts_listed(found) if old is None else old.on_demand
                await self._replace(old, post, listed=listed)
                old = None
            await self._begin(post)
        if post.serving is not None and old is not None:
            self._heard.expect(old)
            self._stand(post)
            post.replaces = old
            self._told.engine(post)
            self._told.move(post, _state(post, "serving"))
        await self._follow(post, lambda: self._settled(post))
        post.replaces = None
        if old is not None and self._posts[post.key] is post:
            await self._retire(old)
        if post.reason:
            kind = ModelDiffers if post.keeper.refusal == ModelDiffers.code else ModelLoadError
            raise kind(f"model {found.name!r} version {found.version}: {post.reason}")

    async def settle(self, post: Post) -> None:
        """Wait until a version that is on its way serves, or another has taken its place.

        Receivers that do not answer are waited for as long as in ``load``.

        Raises:
            ModelLoadError: it cannot be loaded.
        """

        def gone() -> bool:
            return self._posts.get(post.key) is not post or post.keeper.state in _AWAY

        await self._news.until(lambda: gone() or post.keeper.state not in _COMING)
        await self._follow(post, lambda: gone() or self._settled(post))
        if post.keeper.state is State.FAILED:
            found = post.found
            raise ModelLoadError(f"model {found.name!r} version {found.version}: {post.reason}")

    async def take(self, found: FoundVersion) -> None:
        """Serve a version as its settings say: now, or from the first request for it on.

        It is loaded now, too, where another of its model is in memory: that may leave for it, and
        requests go to the newest, so that it must be known to load. What is to be loaded now and
        finds no room waits for its first request, too.

        Raises:
            HeadraceError, OSError: as ``load``.
        """
        async with self._turn(found):
            post = await self._stamped(found)
            old = await self._present(found)
            # As it is at this moment: while the files were looked at, others may have come.
            if old.listed if old is not None else self._starts_listed(found):
                await self._replace(old, post, listed=True)
                return
            try:
                await self._load(post)
            except (NoRoom, ModelTooLarge):
                if old is not None or self._has_in_memory(found.name):
                    raise
                self._log.info("no_room_to_preload", model=found.name, version=found.version)
                await self._replace(None, post, listed=True)

    async def bring(self, key: Key, who: object = ONLY) -> None:
        """Load a listed version for those who wait for it; its state says how that ended.

        They wait at one receiver; whether others serve it too is nothing to them.

        Raises:
            NoRoom, ModelTooLarge: others cannot leave memory for it.
        """
        post = self._posts.get(key)
        if post is None:
            return
        await self._news.until(lambda: post.keeper.state is not State.EVICTING)
        if self._posts.get(key) is post and post.listed and not post.wanted:
            await self._bring(post)

        def ended() -> bool:
            return self._posts.get(key) is not post or bool(post.reason) or not post.wanted

        await self._news.until(lambda: ended() or post.serving is not None)
        await self._follow(post, lambda: ended() or self._heard.serves_at(post, who))

    async def unload(self, key: Key) -> None:
        """Stop serving a version, when what it has taken is answered."""
        post = self._posts.get(key)
        if post is not None:
            if post.keeper.state is not State.EVICTING:  # else the word is awaited, or has come
                self._heard.expect(post)
            post.keeper.drain()
            await self._retire(post)

    def forget(self, key: Key) -> None:
        """Say nothing more of a version that has ended, nor of a model that has no others."""
        super().forget(key)
        self.residents.forget(key)

    # -- what the receiver says --------------------------------------------------------------------

    def recalled(self, answer: Recalled) -> None:
        """A receiver has written down what it had kept of a version."""
        self._shadow.answer(answer)

    def left(self, who: object = ONLY) -> None:
        """A receiver has gone: it confirms nothing any more, and has nothing for any engine."""
        self._heard.left(who)
        if not len(self._heard):
            self._shadow.alone()
            self.residents.alone()
        self._news.wake()

    # -- posts -------------------------------------------------------------------------------------

    def _turn(self, found: FoundVersion) -> asyncio.Lock:
        """Whoever loads a version holds this: of two at once, one's engine would be nobody's."""
        return self._turns.setdefault((found.name, found.version), asyncio.Lock())

    def _post(self, found: FoundVersion, files: Stamp, size_bytes: int) -> Post:
        self.remark(found)
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

    async def _stamped(self, found: FoundVersion) -> Post:
        """A post with the stamp of its files, which may be many, and far away.

        Raises:
            SettingsError: several receivers cannot serve it beside the others.
            OSError: its files cannot be looked at.
        """
        check_models(self._server, (*self.names(), found.name))
        return self._post(found, *await aside(partial(_look, found)))

    def _put(self, post: Post) -> None:
        """Let a post stand for its version."""
        self._stand(post)
        if post.on_demand:
            post.keeper.enlist()
        else:
            self._told.move(post, _state(post, "found"))

    async def _replace(self, old: Post | None, post: Post, *, listed: bool) -> None:
        """Let a post stand for its version in place of one that has no engine."""
        post.on_demand = listed
        self._put(post)
        if old is not None:
            await self._retire(old)

    def _starts_listed(self, found: FoundVersion) -> bool:
        return not (found.settings.preload or self._has_in_memory(found.name))

    def _has_in_memory(self, name: str) -> bool:
        """Whether a version of it is there, or on its way there."""
        return any(post.wanted or not post.listed for post in self.versions(name).values())

    async def _present(self, found: FoundVersion) -> Post | None:
        """What serves as this version or is to; what is just leaving memory has left."""
        post = self.versions(found.name).get(found.version)
        if post is not None:
            await self._news.until(lambda: post.keeper.state is not State.EVICTING)
        return post

    async def _bring(self, post: Post) -> None:
        post.wanted = True
        async with self._samples(post):
            try:
                await self.residents.enter(post)
            except BaseException:
                post.wanted = False
                self._news.wake()
                raise
            await self._begin(post)
        self.residents.trim()

    def _evict(self, post: Post) -> None:
        """Have an engine leave memory, when what it has taken is answered; its version stays."""
        post.on_demand = True
        self._heard.expect(post)
        post.keeper.evict()
        self._tasks().create_task(self._see_off(post))

    async def _begin(self, post: Post) -> None:
        """Start a post's engine; returns when that is ready, or has ended."""
        post.wanted = True
        self._go(post)
        await self._news.until(lambda: post.serving is not None or bool(post.reason))

    @contextlib.asynccontextmanager
    async def _samples(self, post: Post) -> AsyncIterator[None]:
        """Have what a post must agree with, until it is ready."""
        name = post.found.name
        serving = [version for called, version in self.serving if called == name]
        content = post.found, post.stamp
        there = self.versions(name).items()
        others = [version for version, one in there if (one.found, one.stamp) != content]
        async with self._shadow.samples(post.found, serving, others) as path:
            post.samples = path
            try:
                yield
            finally:
                post.samples = None  # an engine that is restarted has been compared

    def _socket_paths(self, found: FoundVersion) -> Iterator[str]:
        """The paths of its engines' sockets: no two of a version have the same."""
        key = found.name, found.version
        return self._sockets.setdefault(key, socket_paths(self._runtime_dir, *key))

    def _go(self, post: Post) -> None:
        self._keepers.add(post.keeper)
        self._tasks().create_task(self._run(post))

    def _tasks(self) -> asyncio.TaskGroup:
        if self._group is None:
            raise RuntimeError("the fleet has not been started")
        return self._group

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
            self._put_back(post)
        elif state.state == "listed":
            post.serving, post.confirmed_s, post.wanted = None, None, False
        if self._posts.get(post.key) is post:
            self._told.move(post, state)
        self._news.wake()

    def _put_back(self, post: Post) -> None:
        """Let what a failed post was to replace stand for its version, if no receiver has left it.

        What the supervisor itself stops is not failed: receivers have been told that it leaves.
        """
        old = post.replaces
        if old is None or post.keeper.state is not State.FAILED or not self._heard.serves(old):
            return
        if old.serving is not None:
            self._heard.give_up(old.serving.socket_path)
        self._stand(old)
        self._told.back(old)
        self._told.move(old, _state(old, "serving"))

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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._server.drain_timeout_s):
                await self._news.until(lambda: not self._heard.uses(post))
        if post.serving is not None:
            self._heard.give_up(post.serving.socket_path)

    async def _follow(self, post: Post, condition: Callable[[], bool]) -> None:
        """Wait for receivers to take up an engine; one that does not answer holds nothing up."""
        limit_s = max(_TAKE_UP_S, self._server.drain_timeout_s)
        try:
            async with asyncio.timeout(limit_s):
                await self._news.until(condition)
        except TimeoutError:
            name, version = post.key
            self._log.warning("receiver_lags", model=name, version=version, waited_s=limit_s)

    def _settled(self, post: Post) -> bool:
        return bool(post.reason) or self._heard.serves(post)


def _state(post: Post, state: str) -> ModelState:
    return ModelState(name=post.found.name, version=post.found.version, state=state)


def _look(found: FoundVersion) -> tuple[Stamp, int]:
    """Its stamp, and how many bytes of it are the model for certain."""
    files = stamp(found)
    return files, own_bytes(found, files)


async def _has_changed(post: Post) -> bool:
    """Whether its files are not those of its stamp, or cannot be looked at, as half of a copy."""
    try:
        async with asyncio.timeout(_LOOK_S):
            return await aside(partial(stamp, post.found)) != post.stamp
    except (OperatorError, OSError):
        return True


def _look_at_start(found: FoundVersion) -> tuple[Stamp, int]:
    """The same, or a stamp that is like none, so that the next look or order takes it anew."""
    try:
        return _look(found)
    except (OperatorError, OSError):
        return (), 0
