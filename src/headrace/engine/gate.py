"""How many of the lanes take batches at a time; the others wait, until more are wanted."""

from __future__ import annotations

import threading


class Gate:
    """Lets so many in at a time, at first all; for the threads of the lanes.

    What is wanted is counted in instances, of ``stages`` lanes each.
    """

    def __init__(self, lanes: int, stages: int = 1) -> None:
        self._changed = threading.Condition()
        self._most = lanes
        self._stages = stages
        self._inside = 0

    def enter(self) -> None:
        """Wait until another may take a batch."""
        with self._changed:
            while self._inside >= self._most:
                self._changed.wait()
            self._inside += 1

    def leave(self) -> None:
        """Let another in."""
        with self._changed:
            self._inside -= 1
            self._changed.notify()

    def resize(self, lanes: int) -> None:
        """Let so many instances in from now on; who is inside ends what it does."""
        with self._changed:
            self._most = max(lanes, 1) * self._stages
            self._changed.notify_all()
