"""Which engine of a version is started, takes another's place, or is retired: a step each.

Nothing here decides which versions to serve; ``orders`` and the settings do. The receiver is told
of every change, and what it tells back (``confirm``, ``emptied``) ends each step: a version is
loaded when the receiver serves it, and an engine is stopped when nothing of it is left there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from headrace.control import Recalled
from headrace.errors import ModelDiffers, ModelLoadError, ModelTooLarge, NoRoom
from headrace.loader.crew import Crew, look_at_start, state_of
from headrace.loader.engine_process import EngineProcess, start_engine
from headrace.loader.heard import ONLY
from headrace.loader.keeper import Audience
from headrace.loader.lifecycle import State
from headrace.loader.post import Key, Post
from headrace.loader.shadow import Shadow
from headrace.loader.store import FoundVersion
from headrace.message import Message
from headrace.server_settings import ServerSettings

# A receiver that serves takes up an engine in seconds, with the files that its model names.
_TAKE_UP_S = 30.0
_COMING = {State.FOUND, State.LOADING, State.WARMING, State.RECOVERING}
_AWAY = {State.LISTED, State.EVICTING}


class Fleet(Crew):
    """Starts, replaces and retires engines; for the supervisor's event loop."""

    def __init__(
        self,
        server: ServerSettings,
        runtime_dir: Path,
        *,
        tell: Callable[[Message], None],
        audience: Audience,
        begin: Callable[[str], Awaitable[EngineProcess]] = start_engine,
    ) -> None:
        super().__init__(server, runtime_dir, tell=tell, audience=audience, begin=begin)
        self._shadow = Shadow(runtime_dir, tell, lambda: len(self._heard))
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def start(self, group: asyncio.TaskGroup, found: Sequence[FoundVersion]) -> None:
        """Start an engine for each of these, or list it; the group owns their tasks."""
        self._group = group
        for one in found:
            if one.settings.version_labels:
                self.labels[one.name] = dict(one.settings.version_labels)
            self.remark(one)
        posts = [self._post(*look_at_start(one, self._runtime_dir)) for one in found]
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

    # -- one step each -----------------------------------------------------------------------------

    async def load(self, found: FoundVersion) -> None:
        """Serve a version; when it serves already, this is what takes its place, unnoticed.

        Raises:
            NoRoom, ModelTooLarge: others cannot leave memory for it.
            ModelLoadError: it cannot be loaded; what served goes on, or is listed where it had to
                leave memory.
            ModelDiffers: the same of one that does not answer as what serves.
            OSError: its files cannot be looked at.
        """
        async with self._turn(found):
            await self._load(await self._stamped(found))

    async def _load(self, post: Post) -> None:
        found = post.found
        async with self._samples(post):  # before what serves may have to leave memory
            await self.residents.enter(post)
            old = await self._present(found)
            running = None if old is None or old.listed else old
            if running is None:
                post.on_demand = self._starts_listed(found) if old is None else old.on_demand
                self._put(post)
                post.replaces = old
                if old is not None and old.wanted:  # its engine is on its way: one is enough
                    post.replaces = self._listed_again(old)
                    await self._retire(old)
            await self._begin(post)
        if post.serving is not None and running is not None:
            self._heard.expect(running)
            self._stand(post)
            post.replaces = running
            self._told.engine(post)
            self._told.move(post, state_of(post, "serving"))
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

    # -- on the way --------------------------------------------------------------------------------

    def _turn(self, found: FoundVersion) -> asyncio.Lock:
        """Whoever loads a version holds this: of two at once, one's engine would be nobody's."""
        return self._turns.setdefault((found.name, found.version), asyncio.Lock())

    def _listed_again(self, old: Post) -> Post:
        """One like it that waits for its first request, and stands for nothing yet."""
        again = self._post(old.found, old.stamp, old.own_bytes)
        again.on_demand = True
        again.keeper.enlist()
        return again

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
