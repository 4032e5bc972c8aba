"""What the receiver has been told of the versions, kept so that the next one can hear it too."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import structlog

from headrace.control import Forget, Labels, ModelServing, ModelState
from headrace.loader.keeper import Audience
from headrace.loader.post import Key, Post, log_move
from headrace.message import Message


class Told:
    """States, engines and labels, as they were last told; the audience hears of the first two.

    ``moves`` counts how often a version of a model came to a state, as receivers do.
    """

    def __init__(self, tell: Callable[[Message], None], audience: Audience) -> None:
        self.states: dict[Key, ModelState] = {}
        self.serving: dict[Key, ModelServing] = {}
        self.labels: dict[str, dict[str, int]] = {}
        self.moves: Counter[tuple[str, str]] = Counter()
        self._tell = tell
        self._audience = audience
        self._log = structlog.get_logger("headrace.loader")

    def move(self, post: Post, state: ModelState) -> None:
        """Tell where a version is in its life now."""
        before = self.states.get(post.key)
        changes = {"since_unix_s": time.time(), "on_demand": post.on_demand}
        state = self.states[post.key] = state.model_copy(update=changes)
        if before is None or before.state != state.state:
            self.moves[state.name, state.state] += 1
        log_move(self._log, before, state)
        if state.state != "serving":
            self.serving.pop(post.key, None)
        self._tell(state)
        self._audience.on_state(state)

    def engine(self, post: Post) -> None:
        """Tell of a post's engine, if it has one; a receiver that comes later replaces nothing."""
        if post.serving is not None:
            self.serving[post.key] = post.serving
            self._audience.on_serving(post.serving)
            replaces = post.replaces is not None and not post.replaces.listed
            self._tell(post.serving.model_copy(update={"replaces": replaces}))

    def back(self, post: Post) -> None:
        """Receivers that come later hear of a post again which those that are here never left."""
        if post.serving is not None:
            self.serving[post.key] = post.serving

    def label(self, name: str, versions: dict[str, int]) -> None:
        """Tell the version labels of a model."""
        self.labels[name] = dict(versions)
        self._tell(Labels(name=name, versions=versions))

    def forget(self, key: Key) -> None:
        """Say nothing more of a version that has ended, nor of a model that has no others."""
        self.states.pop(key, None)
        if all(name != key[0] for name, _ in self.states):
            self.labels.pop(key[0], None)
        self._tell(Forget(name=key[0], version=key[1]))
