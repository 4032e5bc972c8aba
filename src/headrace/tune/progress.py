"""What somebody who waits sees: what is done now, and early results that stay."""

from __future__ import annotations

from collections.abc import Callable

from headrace.load.command.drive import Screen
from headrace.tune.budget import Budget

Clock = Callable[[], float]


class Progress:
    """Tells of a tuning while it goes on, and how much of its time is left."""

    def __init__(self, screen: Screen, budget: Budget, clock: Clock) -> None:
        self._screen = screen
        self._clock = clock
        self.budget = budget

    def step(self, words: str) -> None:
        """Show what is done now, in place of what was done before."""
        self._screen.heading = f"{self.spent_s():.0f} of {self.budget.total_s:.0f} s"
        self._screen.show(words)

    def tell(self, words: str) -> None:
        """Print what was found out."""
        self._screen.say(words)

    def left_s(self) -> float:
        """How long there still is."""
        return self.budget.left_s(self._clock())

    def spent_s(self) -> float:
        """How long it has been."""
        return self.budget.spent_s(self._clock())

    def may_profile(self) -> bool:
        """Whether there is time for another round in the labs."""
        return self.budget.may_profile(self._clock())

    def build_s(self) -> float:
        """How long compiling a model one way may take."""
        return self.budget.build_s(self._clock())

    def may_forecast(self) -> bool:
        """Whether there is time to play another candidate."""
        return self.budget.may_forecast(self._clock())

    def gate_s(self) -> float:
        """How long answering samples may take."""
        return self.budget.gate_s(self._clock())

    def most_gate_s(self) -> float:
        """How long it may take where fewer samples would decide nothing."""
        return self.budget.most_gate_s(self._clock())

    def may_mix(self) -> bool:
        """Whether there is time to try another number of layers in f32."""
        return self.budget.may_mix(self._clock())

    def may_race(self) -> bool:
        """Whether there is time for another slice."""
        return self.budget.may_race(self._clock())

    def race_s(self) -> float:
        """How long candidates may be raced."""
        return self.budget.race_s(self._clock())
