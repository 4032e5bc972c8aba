"""What receivers have said of engines: which they serve versions with, which they still use.

``who`` is a receiver, whatever the supervisor knows it by. A version is served when all serve it,
and an engine is used as long as one uses it.
"""

from __future__ import annotations

from headrace.loader.post import Key, Post

ONLY = None
"""Who it is where there is one."""


class Heard:
    """Their words, each as long as it lives."""

    def __init__(self) -> None:
        self._confirmed: dict[object, dict[Key, str]] = {}
        self._full: set[tuple[object, str]] = set()  # of retired engines, who still uses which

    def __len__(self) -> int:
        """How many there are."""
        return len(self._confirmed)

    def joined(self, who: object) -> None:
        """Another is here, and serves nothing yet."""
        self._confirmed.setdefault(who, {})

    def confirm(self, key: Key, socket_path: str, who: object = ONLY) -> None:
        """It serves this version with the engine that listens there."""
        self._confirmed.setdefault(who, {})[key] = socket_path

    def emptied(self, socket_path: str, who: object = ONLY) -> None:
        """It has nothing left for the engine that listens there."""
        self._full.discard((who, socket_path))

    def give_up(self, socket_path: str) -> None:
        """Nobody is waited for any more who has something left for that engine."""
        self._full = {one for one in self._full if one[1] != socket_path}

    def left(self, who: object = ONLY) -> None:
        """It has gone: it serves nothing any more, and has nothing for any engine."""
        self._confirmed.pop(who, None)
        self._full = {one for one in self._full if one[0] != who}

    def forget(self, key: Key) -> None:
        """The version is no more."""
        for confirmed in self._confirmed.values():
            confirmed.pop(key, None)

    def serves(self, post: Post) -> bool:
        """Whether all serve a version with this post's engine."""
        serving = post.serving
        return (
            serving is not None
            and bool(self._confirmed)
            and all(one.get(post.key) == serving.socket_path for one in self._confirmed.values())
        )

    def serves_at(self, post: Post, who: object) -> bool:
        """Whether one serves a version with this post's engine."""
        serving = post.serving
        there = self._confirmed.get(who, {})
        return serving is not None and there.get(post.key) == serving.socket_path

    def expect(self, post: Post) -> None:
        """Await the word of those that serve with an engine that nothing is left for it."""
        if post.serving is not None:
            path = post.serving.socket_path
            self._full |= {
                (who, path) for who, one in self._confirmed.items() if one.get(post.key) == path
            }

    def uses(self, post: Post) -> bool:
        """Whether the word of one is still to come."""
        if post.serving is None:
            return False
        return any(path == post.serving.socket_path for _, path in self._full)
