"""What a batch takes beyond its run, on its way to the engine and back. Pure."""

from __future__ import annotations

# It is followed by this step; a batch that took longer than this had a hiccup.
_STEP = 0.05
_MOST_S = 0.05
# Only who has not waited for a lane shows it, and the longer it is taken to be, the further ahead
# batches are cut, and wait. When so many in a row have, each more lets this share of it go: what a
# second of trouble has left would stay else.
_BLIND_RUNS = 512
_FADE = 0.02


class Handover:
    """Of one served version."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._blind_runs = 0  # since one showed it

    def follow(self, extra_s: float, *, waited: bool) -> None:
        """A batch took so long beyond its run, the wait for a lane included."""
        if not waited:
            self._blind_runs = 0
            self.seconds += _STEP * (min(max(extra_s, 0.0), _MOST_S) - self.seconds)
            return
        self._blind_runs += 1
        if self._blind_runs > _BLIND_RUNS:
            self.seconds -= _FADE * self.seconds
