"""How many of the lanes take batches at a time, the others wait until more are wanted; and which.

Whoever is let in waits for a batch; on which lane it runs is said when it is there, for only then
is it known which instances are idle.
"""

from __future__ import annotations

import threading

from headrace.engine.spread import Spread


class Gate:
    """Lets so many in at a time, at first all; for the threads of the lanes.

    What is wanted is counted in instances, of ``stages`` lanes each.
    """

    def __init__(self, lanes: int, stages: int = 1) -> None:
        self._changed = threading.Condition()
        self._most = lanes
        self._stages = stages
        self._inside = 0
        # Else each thread keeps to its own lane, and nothing is to be decided.
        self._spread = Spread(lanes, stages) if lanes > stages > 1 else None

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

    def take(self, own: int) -> int:
        """Say which lane runs the batch that has come to the thread of ``own``."""
        if self._spread is None:
            return own
        with self._changed:
            return self._spread.take(own)

    def end(self, lane: int) -> None:
        """It has run."""
        if self._spread is not None:
            with self._changed:
                self._spread.end(lane)

    def resize(self, lanes: int) -> None:
        """Let so many instances in from now on; who is inside ends what it does."""
        with self._changed:
            self._most = max(lanes, 1) * self._stages
            if self._spread is not None:
                self._spread.open = max(lanes, 1)
            self._changed.notify_all()
