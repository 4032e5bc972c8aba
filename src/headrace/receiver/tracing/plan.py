"""Which requests are traced: one of so many, and how many more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """What is traced of one request in ``rate``, and the file it goes to.

    ``log_frequency`` is how many traces one file has, 0 all. ``generation`` tells two uses of one
    file name apart: a new one starts the file again.
    """

    times: bool = False
    tensors: bool = False
    rate: int = 1000
    log_frequency: int = 0
    file: str = ""
    generation: int = 0


class Sampler:
    """Takes every ``rate``-th request while there are traces ``left``; None: no limit."""

    __slots__ = ("_seen", "left", "plan")

    def __init__(self, plan: Plan, left: int | None) -> None:
        self.plan = plan
        self.left = left
        self._seen = 0

    @property
    def on(self) -> bool:
        """Whether any request may still be taken."""
        return (self.plan.times or self.plan.tensors) and self.left != 0

    def take(self) -> bool:
        """Count a request; tell whether it is traced."""
        if not self.on:
            return False
        self._seen = (self._seen + 1) % self.plan.rate
        if self._seen:
            return False
        if self.left is not None:
            self.left -= 1
        return True
