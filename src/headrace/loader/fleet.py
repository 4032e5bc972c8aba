"""The engines of all versions: one is started, replaced by another of its version, or retired.

Nothing here decides which versions to serve; ``orders`` and the settings do. The receiver is told
of every change, and what it tells back (``confirm``, ``emptied``) ends each step: a version is
loaded when the receiver serves it, and an engine is stopped when nothing of it is left there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import structlog

from headrace.control import ModelServing, ModelState, Recalled
from headrace.errors import ModelDiffers, ModelLoadError, OperatorError
from headrace.loader.aside import aside
from headrace.loader.cores import usable_cores
from headrace.loader.engine_process import ENGINE, socket_paths
from headrace.loader.keeper import Audience, EngineKeeper, Surroundings
from headrace.loader.post import Key, Post
from headrace.loader.shadow import Shadow
from headrace.loader.spare import Spare
from headrace.loader.stamps import Stamp, stamp
from headrace.loader.store import FoundVersion
from headrace.loader.told import Told
from headrace.message import Message
from headrace.settings import ServerSettings

_ENGINE_STOP_TIMEOUT_S = 5.0
# Engines that load at once, on machines of few cores: some of their time is reading files.
_LEAST_PLACES = 4


class Fleet:
    """Starts, replaces and retires engines; for the supervisor's event loop.

    ``tell`` sends to the receiver, and the audience hears what it is told of engines. The first is
    the ``spare`` process, where there is one.
    """

    def __init__(
        self,
        server: ServerSettings,
        runtime_dir: Path,
        *,
        tell: Callable[[Message], None],
        audience: Audience,
        spare: Spare | None = None,
        command: Sequence[str] = ENGINE,
    ) -> None:
        self._told = Told(tell, audience)
        self.states, self.serving = self._told.states, self._told.serving
        self.labels = self._told.labels
        self._server = server
        self._runtime_dir = runtime_dir
        self._audience = audience
        self._spare = spare or Spare(None)
        self._command = command
        self._posts: dict[Key, Post] = {}  # those that are, or will be, what the receiver serves
        self._keepers: set[EngineKeeper] = set()  # of these and of those that are on their way out
        self._sockets: dict[Key, Iterator[str]] = {}
        self._shadow = Shadow(runtime_dir, tell)
        self._loading: set[Post] = set()  # they have a place, and have not served yet
        self._places = max(_LEAST_PLACES, usable_cores())
        self._confirmed: dict[Key, str] = {}
        self._full: set[str] = set()  # sockets of retired engines that have something left to do
        self._remarked: dict[str, tuple[str, ...]] = {}  # what has been logged, of each model
        self._log = structlog.get_logger("headrace.loader")
        self._news = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    def start(self, group: asyncio.TaskGroup, found: Sequence[FoundVersion]) -> None:
        """Start an engine for each of these, or list it; the group owns their tasks."""
        self._group = group
        for one in found:
            if one.settings.version_labels:
                self.labels[one.name] = dict(one.settings.version_labels)
            self._put(self._post(one, _stamp_of(one)))
        for post in list(self._posts.values()):
            if not post.listed:
                self._go(post)

    async def stop(self, timeout_s: float) -> None:
        """End every engine: each within ``timeout_s``, or for certain."""
        await asyncio.gather(*(keeper.stop(timeout_s) for keeper in list(self._keepers)))

    def posts(self) -> dict[Key, Post]:
        """Every version's post, also of those that have failed."""
        return dict(self._posts)

    def versions(self, name: str) -> dict[int, Post]:
        """The versions of a model that serve or are on their way to."""
        return {
            version: post
            for (model, version), post in self._posts.items()
            if model == name and self.states[model, version].state not in {"failed", "unloaded"}
        }

    def pids(self) -> dict[Key, int]:
        """The processes of the engines that serve."""
        found = {key: self._posts[key].keeper.pid for key in self.serving}
        return {key: pid for key, pid in found.items() if pid is not None}

    def names(self) -> list[str]:
        """The models of which a version serves or is on its way to."""
        return list(dict.fromkeys(name for name, _ in self._posts if self.versions(name)))

    # -- one step each -----------------------------------------------------------------------------

    async def load(self, found: FoundVersion) -> None:
        """Serve a version; when it serves already, this is what takes its place, unnoticed.

        Raises:
            ModelLoadError: it cannot be loaded; what served goes on.
            ModelDiffers: it does not answer as what serves, which goes on.
            OSError: its files cannot be looked at.
        """
        post = await self._stamped(found)
        old = self.versions(found.name).get(found.version)
        if old is None or old.listed:
            await self._replace(old, post)
            old = None
        await self._begin(post)
        if post.serving is not None and old is not None:
            self._expect(old)
            self._posts[post.key], post.replaces = post, True
            self._told.engine(post)
            self._told.move(post, _state(post, "serving"))
        await self._until(lambda: self._settled(post))
        post.replaces = False
        if old is not None and self._posts[post.key] is post:
            await self._retire(old)
        if post.reason:
            kind = ModelDiffers if post.keeper.refusal == ModelDiffers.code else ModelLoadError
            raise kind(f"model {found.name!r} version {found.version}: {post.reason}")

    async def take(self, found: FoundVersion) -> None:
        """Serve a version as its settings say: now, or from the first request for it on.

        Raises:
            ModelLoadError: it cannot be loaded; what served goes on.
            ModelDiffers: it does not answer as what serves, which goes on.
            OSError: its files cannot be looked at.
        """
        old = self.versions(found.name).get(found.version)
        if found.settings.preload or (old is not None and not old.listed):
            await self.load(found)
        else:
            await self._replace(old, await self._stamped(found))

    async def bring(self, key: Key) -> None:
        """Load a listed version for those who wait for it; its state says how that ended."""
        post = self._posts.get(key)
        if post is None:
            return
        if post.listed and not post.wanted:
            await self._begin(post)
        await self._until(lambda: self._posts.get(key) is not post or self._settled(post))

    async def unload(self, key: Key) -> None:
        """Stop serving a version, when what it has taken is answered."""
        post = self._posts.get(key)
        if post is not None:
            self._expect(post)
            post.keeper.drain()
            await self._retire(post)

    def forget(self, key: Key) -> None:
        """Say nothing more of a version that has ended, nor of a model that has no others."""
        self._posts.pop(key, None)
        self._confirmed.pop(key, None)
        self._told.forget(key)

    def ended(self) -> list[Key]:
        """The versions that have failed or been unloaded."""
        return [key for key, one in self.states.items() if one.state in {"failed", "unloaded"}]

    def label(self, name: str, versions: dict[str, int]) -> None:
        """Set the version labels of a model."""
        self._told.label(name, versions)

    def remark(self, found: FoundVersion) -> None:
        """Log what of its configuration was not taken: once a model, while that is the same."""
        if found.remarks and self._remarked.get(found.name) != found.remarks:
            self._remarked[found.name] = found.remarks
            self._log.warning(
                "config_not_all_mapped", model=found.name, remarks=list(found.remarks)
            )

    # -- what the receiver says --------------------------------------------------------------------

    def confirm(self, key: Key, socket_path: str) -> None:
        """The receiver serves this version with the engine that listens there."""
        self._confirmed[key] = socket_path
        self._wake()

    def emptied(self, socket_path: str) -> None:
        """The receiver has nothing left for the engine that listens there."""
        self._full.discard(socket_path)
        self._wake()

    def recalled(self, answer: Recalled) -> None:
        """The receiver has written down what it had kept of a version."""
        self._shadow.answer(answer)

    def alone(self) -> None:
        """The receiver has gone: it confirms nothing any more, and has nothing for any engine."""
        self._confirmed.clear()
        self._full.clear()
        self._shadow.alone()
        self._wake()

    def waiting(self) -> list[Key]:
        """The versions that the receiver does not serve yet, and is to without being asked."""
        return [
            key
            for key, state in self.states.items()
            if state.state not in {"failed", "unloaded"}
            and not state.on_demand
            and (
                key not in self.serving or self._confirmed.get(key) != self.serving[key].socket_path
            )
        ]

    # -- posts -------------------------------------------------------------------------------------

    def _post(self, found: FoundVersion, files: Stamp) -> Post:
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
                sockets=self._socket_paths(found),
                others_serve=lambda: bool(self.serving),
                samples=lambda: post.samples,
                spare=self._spare.take,
            ),
            command=self._command,
        )
        post = Post(found, keeper, files)
        self._keepers.add(keeper)
        return post

    async def _stamped(self, found: FoundVersion) -> Post:
        """A post with the stamp of its files, which may be many, and far away."""
        return self._post(found, await aside(partial(stamp, found)))

    def _put(self, post: Post) -> None:
        """Let a post stand for its version."""
        self._posts[post.key] = post
        post.on_demand = not post.found.settings.preload
        if post.on_demand:
            post.keeper.enlist()
        else:
            self._told.move(post, _state(post, "found"))

    async def _replace(self, old: Post | None, post: Post) -> None:
        """Let a post stand for its version in place of one that has no engine."""
        self._put(post)
        if old is not None:
            await self._retire(old)

    async def _begin(self, post: Post) -> None:
        """Start a post's engine; returns when that is ready, or has ended."""
        post.wanted = True
        serving = [version for name, version in self.serving if name == post.found.name]
        async with self._shadow.samples(post.found, serving) as post.samples:
            self._go(post)
            await self._until(lambda: post.serving is not None or bool(post.reason))
        post.samples = None  # an engine that is restarted has been compared

    def _socket_paths(self, found: FoundVersion) -> Iterator[str]:
        """The paths of its engines' sockets: no two of a version have the same."""
        key = found.name, found.version
        return self._sockets.setdefault(key, socket_paths(self._runtime_dir, *key))

    def _go(self, post: Post) -> None:
        if self._group is None:
            raise RuntimeError("the fleet has not been started")
        self._group.create_task(self._run(post))

    async def _run(self, post: Post) -> None:
        """Keep an engine, from when there is a place to load it; whoever has ended needs none."""
        try:
            await self._until(lambda: bool(post.reason) or len(self._loading) < self._places)
            self._loading.add(post)
            await post.keeper.run()
        finally:
            self._loading.discard(post)
            self._keepers.discard(post.keeper)
            self._wake()

    def _serves(self, post: Post, serving: ModelServing) -> None:
        post.serving = serving
        self._loading.discard(post)
        if self._posts.get(post.key) is post:
            self._told.engine(post)
        self._wake()

    def _moved(self, post: Post, state: ModelState) -> None:
        if state.state in {"failed", "unloaded"}:
            post.reason = state.reason or "it was stopped"
        if self._posts.get(post.key) is post:
            self._told.move(post, state)
        self._wake()

    def _expect(self, post: Post) -> None:
        """Await word from the receiver that it has nothing left for an engine."""
        if post.serving is not None and self._confirmed.get(post.key) == post.serving.socket_path:
            self._full.add(post.serving.socket_path)

    async def _retire(self, post: Post) -> None:
        """Let the receiver finish with an engine, then end it."""
        path = "" if post.serving is None else post.serving.socket_path
        if path in self._full:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._server.drain_timeout_s):
                    await self._until(lambda: path not in self._full)
            self._full.discard(path)
        await post.keeper.stop(_ENGINE_STOP_TIMEOUT_S)
        self._keepers.discard(post.keeper)  # one that never ran has no task that would

    def _settled(self, post: Post) -> bool:
        if post.reason:
            return True
        serving = post.serving
        return serving is not None and self._confirmed.get(post.key) == serving.socket_path

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _state(post: Post, state: str) -> ModelState:
    return ModelState(name=post.found.name, version=post.found.version, state=state)


def _stamp_of(found: FoundVersion) -> Stamp:
    """Its stamp, or one that is like none, so that the next look or order takes it anew."""
    try:
        return stamp(found)
    except (OperatorError, OSError):
        return ()
