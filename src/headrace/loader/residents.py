"""The models in memory: what they take, when they were used, and who leaves when another comes.

``residency`` decides. A post counts from when it was given room until its engine has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import structlog

from headrace.control import Used
from headrace.errors import ModelTooLarge, NoRoom
from headrace.loader.lifecycle import State
from headrace.loader.memory import Sizes
from headrace.loader.news import News
from headrace.loader.post import Key, Post
from headrace.loader.residency import (
    Budget,
    Prospect,
    Resident,
    Room,
    Tie,
    guess_bytes,
    make_room,
    surplus,
)
from headrace.loader.stamps import Stamp
from headrace.server_settings import ServerSettings

_MIB = 2**20
# Whoever has come may first answer those it was loaded for, so that two do not drive each other
# out; for so long, when nobody asks it anything.
_BRIEF_S = 1.0
_AGAIN_S = 0.1
# Engines take more as they serve; it is looked this often whether they still fit.
_LOOK_S = 2.0
_LEAVING = {State.EVICTING, State.DRAINING, State.UNLOADED, State.FAILED}


class Residents:
    """Gives room to posts; ``evict`` has one leave: it says so at once, and the rest follows."""

    def __init__(
        self, server: ServerSettings, evict: Callable[[Post], None], news: News, sizes: Sizes
    ) -> None:
        budget_mib = server.memory_budget_mib
        self._server = server
        self._budget = Budget(
            None if budget_mib is None else int(budget_mib * _MIB), server.max_resident
        )
        self._evict = evict
        self._news = news
        self._taken = sizes
        self._there: dict[Post, None] = {}
        self._loaded: dict[Key, tuple[Stamp, int]] = {}  # what a load took, before any request
        self._last: dict[Key, tuple[Stamp, int]] = {}  # what it took last, with them
        self._used_s: dict[Key, float] = {}
        self._held: set[Key] = set()
        self._turn = asyncio.Lock()
        self._log = structlog.get_logger("headrace.loader")

    # -- in and out --------------------------------------------------------------------------------

    def try_enter(self, post: Post) -> bool:
        """Take room for a post if there is some; nobody leaves for it."""
        room = self._ask(post)
        if room.prospect is Prospect.NOW and not room.leave:
            self._there[post] = None
            return True
        return False

    async def enter(self, post: Post) -> None:
        """Take room for a post; returns when those that leave for it have left.

        Raises:
            ModelTooLarge: it does not fit, whoever leaves.
            NoRoom: those that stay fill the budget now.
        """
        limit_s = self._server.load_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                async with self._turn:  # whoever asks first is first
                    gone = await self._reserve(post)
                await self._news.until(lambda: not any(one in self._there for one in gone))
        except BaseException as error:
            self.leave(post)
            if isinstance(error, TimeoutError):
                raise NoRoom(f"{_name(post)}: nobody made room for it in {limit_s:g} s") from error
            raise

    def loaded(self, post: Post) -> None:
        """Its engine is ready, and has been asked nothing yet."""
        pid = post.keeper.pid
        if pid is not None and self._budget.size_bytes is not None:
            self._loaded[post.key] = post.stamp, self._taken.of(pid)
            self._last.pop(post.key, None)

    def leave(self, post: Post) -> None:
        """Its engine has ended, or will not be started."""
        self._there.pop(post, None)
        self._news.wake()

    def trim(self) -> None:
        """Have others leave when those that are there take more than they may."""
        if self._budget.size_bytes is not None:
            self._leave_all(surplus(self._residents(), self._budget))

    async def watch(self) -> None:
        """See to it that they stay within the budget, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.trim()

    # -- what the receiver says --------------------------------------------------------------------

    def used(self, used: Used) -> None:
        """Note when models were last used, and which have sequences."""
        for one in used.models:
            key = one.name, one.version
            self._used_s[key] = max(one.used_s, self._used_s.get(key, 0.0))  # of any receiver
            if one.sequences:
                self._held.add(key)
            else:
                self._held.discard(key)
        self._news.wake()

    def alone(self) -> None:
        """The receiver has gone, and every sequence with it."""
        self._held.clear()

    def forget(self, key: Key) -> None:
        """A version is no more."""
        self._loaded.pop(key, None)
        self._last.pop(key, None)
        self._used_s.pop(key, None)
        self._held.discard(key)

    # -- decisions ---------------------------------------------------------------------------------

    async def _reserve(self, post: Post) -> list[Post]:
        """Take room for a post, and say who must have left before it is free.

        One that has been unloaded or replaced meanwhile gets none, and waits for nobody.
        """
        while (room := self._ask(post)).prospect is Prospect.SOON and not post.reason:
            await self._news.some(_AGAIN_S)
        if post.reason:
            return []
        if room.prospect is Prospect.NEVER:
            raise ModelTooLarge(self._too_large(post))
        if room.prospect is Prospect.LATER:
            raise NoRoom(
                f"{_name(post)}: there is no room for it now: sequences live in the models that "
                "are in memory, or the rest is pinned"
            )
        self._there[post] = None
        if not room.leave:
            return []
        self._leave_all(room.leave)
        return [one for one in self._there if one.keeper.state in _LEAVING]

    def _leave_all(self, posts: Iterable[object]) -> None:
        for one in list(self._there):
            if one in posts:
                self._log.info("model_leaves_memory", model=one.key[0], version=one.key[1])
                self._evict(one)

    def _ask(self, post: Post) -> Room:
        if self._budget == Budget():
            return Room(Prospect.NOW)
        pinned = post.found.settings.pinned
        room = Room(Prospect.NEVER)
        # What it replaces leaves first where there is no room for both, though it is pinned.
        for others in (self._residents(), self._residents(replaced=post.key)):
            for size_bytes in (self._expected(post), self._least(post)):  # a guess may be too large
                room = make_room(size_bytes, others, self._budget, pinned=pinned)
                if room.prospect is not Prospect.NEVER:
                    return room
        return room

    def _residents(self, replaced: Key | None = None) -> list[Resident]:
        now_s = time.monotonic()
        return [
            Resident(
                post,
                self._size(post),
                self._last_s(post),
                self._tie(post, now_s, pinned=post.found.settings.pinned and post.key != replaced),
            )
            for post in self._there
        ]

    def _tie(self, post: Post, now_s: float, *, pinned: bool) -> Tie:
        if post.keeper.state in _LEAVING:
            return Tie.LEAVING
        if pinned:
            return Tie.PINNED
        if post.keeper.state is not State.SERVING or self._has_just_come(post, now_s):
            return Tie.BRIEF
        return Tie.HELD if post.key in self._held else Tie.NONE

    def _has_just_come(self, post: Post, now_s: float) -> bool:
        """Whether those it was loaded for have still to ask it."""
        since_s = post.confirmed_s
        if since_s is None:
            return True
        return now_s - since_s < _BRIEF_S and self._used_s.get(post.key, 0.0) < since_s

    def _last_s(self, post: Post) -> float:
        return max(self._used_s.get(post.key, 0.0), post.confirmed_s or 0.0)

    # -- sizes -------------------------------------------------------------------------------------

    def _size(self, post: Post) -> int:
        """What it takes now; while it loads, what it is expected to, if that is more."""
        pid = post.keeper.pid
        now_bytes = 0 if pid is None else self._taken.of(pid)
        if post.serving is None:
            return max(now_bytes, self._expected(post))
        if now_bytes:
            self._last[post.key] = post.stamp, now_bytes
        return now_bytes

    def _expected(self, post: Post) -> int:
        last_bytes, most_bytes = _of(post, self._last), self._budget.size_bytes
        if last_bytes and (most_bytes is None or last_bytes <= most_bytes):
            return last_bytes
        # What one large request has left it with, it comes back without.
        return _of(post, self._loaded) or guess_bytes(_file_bytes(post))

    def _least(self, post: Post) -> int:
        """What it certainly takes: other files of its folder may have nothing to do with it."""
        return _of(post, self._loaded) or post.own_bytes

    def _too_large(self, post: Post) -> str:
        budget_mib = self._server.memory_budget_mib or 0
        what = "takes" if _of(post, self._loaded) else "takes at least, by its files,"
        return (
            f"{_name(post)} {what} {self._least(post) / _MIB:.0f} MiB, which does not fit into "
            f"{budget_mib:g} MiB (server.memory_budget_mib) beside the pinned models"
        )


def _of(post: Post, known: Mapping[Key, tuple[Stamp, int]]) -> int:
    """What is known of its size, if its files are the same; else 0."""
    stamp, size_bytes = known.get(post.key, ((), 0))
    return size_bytes if stamp == post.stamp else 0


def _file_bytes(post: Post) -> int:
    return sum(size_bytes for _, size_bytes, *_ in post.stamp)


def _name(post: Post) -> str:
    return f"model {post.key[0]!r} version {post.key[1]}"
