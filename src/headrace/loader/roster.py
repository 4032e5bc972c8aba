"""The versions there are: what stands for each, and what has been told and heard of it.

Nothing is started or ended here; that is ``crew``'s, when ``fleet`` says so.
"""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from headrace.control import Seen
from headrace.engine_control import ItemShapes
from headrace.loader.heard import ONLY, Heard
from headrace.loader.news import News
from headrace.loader.post import Key, Post
from headrace.loader.store import FoundVersion
from headrace.loader.told import Told

_ENDED = {"failed", "unloaded"}


class Roster:
    """Versions by name and number; for the supervisor's event loop."""

    def __init__(self, told: Told) -> None:
        self.states, self.serving, self.labels = told.states, told.serving, told.labels
        self.moves = told.moves
        self._told = told
        self._heard = Heard()
        self._news = News()
        self._posts: dict[Key, Post] = {}  # those that are, or will be, what the receiver serves
        self._by_name: dict[str, dict[int, Post]] = {}  # the same
        self._seen: dict[str, tuple[ItemShapes, ...]] = {}  # in the traffic of each model
        self._remarked: dict[str, tuple[str, ...]] = {}  # what has been logged, of each model
        self._aside: dict[str, str] = {}  # the same, of tuned cards
        self._log = structlog.get_logger("headrace.loader")

    def posts(self) -> dict[Key, Post]:
        """Every version's post, also of those that have failed."""
        return dict(self._posts)

    def paths(self) -> list[Path]:
        """The files of all that serves, or may have to again."""
        posts = [post for name in self.names() for post in self.versions(name).values()]
        replaced = [post.replaces for post in posts if post.replaces is not None]
        return [post.found.path for post in (*posts, *replaced)]

    def versions(self, name: str) -> dict[int, Post]:
        """The versions of a model that serve or are on their way to."""
        return {
            version: post
            for version, post in self._by_name.get(name, {}).items()
            if self.states[name, version].state not in _ENDED
        }

    def pids(self) -> dict[Key, int]:
        """The processes of the engines that serve."""
        found = {key: self._posts[key].keeper.pid for key in self.serving}
        return {key: pid for key, pid in found.items() if pid is not None}

    def names(self) -> list[str]:
        """The models of which a version serves or is on its way to."""
        return [name for name in self._by_name if self.versions(name)]

    def waiting(self) -> list[Key]:
        """The versions that not all receivers serve yet, and are to without being asked."""
        return [
            key
            for key, state in self.states.items()
            if state.state not in _ENDED
            and not state.on_demand
            and not (key in self.serving and self._heard.serves(self._posts[key]))
        ]

    def forget(self, key: Key) -> None:
        """Say nothing more of a version that has ended, nor of a model that has no others."""
        self._posts.pop(key, None)
        there = self._by_name.get(key[0], {})
        there.pop(key[1], None)
        if not there:
            self._by_name.pop(key[0], None)
        self._heard.forget(key)
        self._told.forget(key)
        if not self.versions(key[0]):
            self._seen.pop(key[0], None)

    def _stand(self, post: Post) -> None:
        """Let a post stand for its version, in place of any other."""
        self._posts[post.key] = post
        self._by_name.setdefault(post.key[0], {})[post.key[1]] = post

    def joined(self, who: object) -> None:
        """A receiver is here, and serves nothing yet."""
        self._heard.joined(who)

    def confirm(self, key: Key, socket_path: str, who: object = ONLY) -> None:
        """A receiver serves this version with the engine that listens there."""
        self._heard.confirm(key, socket_path, who)
        if key in self._posts:
            self._posts[key].confirmed_s = time.monotonic()
        self._news.wake()

    def refuse(self, key: Key, socket_path: str, reason: str) -> None:
        """A receiver cannot serve this version with the engine that listens there: it fails."""
        post = self._posts.get(key)
        serving = None if post is None else post.serving
        if post is not None and serving is not None and serving.socket_path == socket_path:
            post.keeper.give_up(reason)

    def emptied(self, socket_path: str, who: object = ONLY) -> None:
        """A receiver has nothing left for the engine that listens there."""
        self._heard.emptied(socket_path, who)
        self._news.wake()

    def sees(self, seen: Seen) -> None:
        """A receiver tells which shapes are common in the traffic of a model."""
        self._seen[seen.name] = seen.shapes
        self._log.debug("shapes_seen", model=seen.name, shapes=list(seen.shapes))

    def ended(self) -> list[Key]:
        """The versions that have failed or been unloaded."""
        return [key for key, one in self.states.items() if one.state in _ENDED]

    def label(self, name: str, versions: dict[str, int]) -> None:
        """Set the version labels of a model."""
        self._told.label(name, versions)

    def label_new(self, found: FoundVersion) -> None:
        """Set the labels that the settings give, of a model that has none yet."""
        if found.settings.version_labels and found.name not in self.labels:
            self.label(found.name, dict(found.settings.version_labels))

    def remark(self, found: FoundVersion) -> None:
        """Log what of its configuration was not taken: once a model, while that is the same."""
        if found.aside and self._aside.get(found.name) != found.aside:
            self._aside[found.name] = found.aside
            self._log.warning("tuned_card_left_aside", model=found.name, reason=found.aside)
        if found.remarks and self._remarked.get(found.name) != found.remarks:
            self._remarked[found.name] = found.remarks
            self._log.warning(
                "config_not_all_mapped", model=found.name, remarks=list(found.remarks)
            )
