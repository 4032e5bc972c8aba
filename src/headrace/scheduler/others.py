"""What other receivers have handed over to the lanes of the same engine. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Others(NamedTuple):
    """What they have there now, as the engine's board shows it.

    ``running``: of each of their runs since when it runs and how long it should take ·
    ``waiting``: how many batches of theirs no lane has taken yet, ``waiting_s`` how long those
    should take together · ``receivers``: how many of them have anything there · ``mine``: how many
    batches run that are the asker's own.
    """

    running: tuple[tuple[float, float], ...] = ()
    waiting: int = 0
    waiting_s: float = 0.0
    receivers: int = 0
    mine: int = 0

    @property
    def held(self) -> int:
        """How many batches the lanes hold for them."""
        return len(self.running) + self.waiting


NOBODY = Others()
"""No receiver but one, or none that has anything there."""
