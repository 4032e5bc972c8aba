"""The time a tuning may take, and the share of each step. Pure: what time it is comes in."""

from __future__ import annotations

from dataclasses import dataclass

# Of the whole, until when each step should be done; the race gets what is left.
_PROFILED, _GATED, _MIXED, _FORECAST = 0.35, 0.42, 0.48, 0.55
# Of the whole, until when everything should be compiled; each has the least of it in any case.
_BUILT, _BUILD = 0.3, 0.05
# Of what is left, the most that answering samples may take where fewer would decide nothing.
_MOST_GATED = 0.25
# Of what is left for the race, what measuring the highest rates at the end is kept.
_HIGHEST = 0.3
# The least of the whole that is kept for that.
_LAST = 0.08


@dataclass(frozen=True, slots=True)
class Budget:
    """From when on, and how long."""

    started_s: float
    total_s: float

    def left_s(self, now_s: float) -> float:
        """How long there is."""
        return max(self.started_s + self.total_s - now_s, 0.0)

    def spent_s(self, now_s: float) -> float:
        """How long it has been, though it be longer than allowed."""
        return now_s - self.started_s

    def may_profile(self, now_s: float) -> bool:
        """Whether there is time for another round in the labs."""
        return self._spent(now_s) < _PROFILED

    def build_s(self, now_s: float) -> float:
        """How long compiling a model one way may take."""
        left_s = _BUILT * self.total_s - (now_s - self.started_s)
        return max(left_s, _BUILD * self.total_s)

    def may_forecast(self, now_s: float) -> bool:
        """Whether there is time to play another candidate."""
        return self._spent(now_s) < _FORECAST

    def gate_s(self, now_s: float) -> float:
        """How long answering samples may take."""
        return max(_GATED * self.total_s - (now_s - self.started_s), 0.05 * self.total_s)

    def most_gate_s(self, now_s: float) -> float:
        """How long it may take where fewer samples would decide nothing: from the race's time."""
        return max(_MOST_GATED * self.left_s(now_s), self.gate_s(now_s))

    def may_mix(self, now_s: float) -> bool:
        """Whether there is time to try another number of layers in f32."""
        return self._spent(now_s) < _MIXED

    def may_race(self, now_s: float) -> bool:
        """Whether there is time for another slice."""
        return self.left_s(now_s) > _LAST * self.total_s

    def race_s(self, now_s: float) -> float:
        """How long candidates may be raced, with what follows."""
        return (1 - _HIGHEST) * self.left_s(now_s)

    def _spent(self, now_s: float) -> float:
        return (now_s - self.started_s) / self.total_s
