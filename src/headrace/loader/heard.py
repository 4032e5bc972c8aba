"""What the receiver has said of engines: which it serves versions with, which it still uses."""

from __future__ import annotations

from headrace.loader.post import Key, Post


class Heard:
    """Its words, as long as it lives."""

    def __init__(self) -> None:
        self._confirmed: dict[Key, str] = {}
        self._full: set[str] = set()  # sockets of retired engines that have something left to do

    def confirm(self, key: Key, socket_path: str) -> None:
        """It serves this version with the engine that listens there."""
        self._confirmed[key] = socket_path

    def emptied(self, socket_path: str) -> None:
        """It has nothing left for the engine that listens there."""
        self._full.discard(socket_path)

    def alone(self) -> None:
        """It has gone: it serves nothing any more, and has nothing for any engine."""
        self._confirmed.clear()
        self._full.clear()

    def forget(self, key: Key) -> None:
        """The version is no more."""
        self._confirmed.pop(key, None)

    def serves(self, post: Post) -> bool:
        """Whether it serves a version with this post's engine."""
        serving = post.serving
        return serving is not None and self._confirmed.get(post.key) == serving.socket_path

    def expect(self, post: Post) -> None:
        """Await its word that nothing is left for an engine."""
        if post.serving is not None and self.serves(post):
            self._full.add(post.serving.socket_path)

    def uses(self, post: Post) -> bool:
        """Whether that word is still to come."""
        return post.serving is not None and post.serving.socket_path in self._full
