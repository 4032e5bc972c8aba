"""Models that take turns at a device: whoever's turn it is looks for a batch.

Whose that is decides ``scheduler.fairness``; this knows whom to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from headrace.device import CPU
from headrace.scheduler.fairness import Device, Turn

Look = Callable[[float], None]
"""Hand over what may be handed over now."""


class Place(NamedTuple):
    """One model's place among those that take turns."""

    turns: Turns
    turn: Turn

    def join(self, look: Look) -> None:
        """Take turns with the others from now on."""
        self.turns.join(self.turn, look)

    def leave(self) -> None:
        """Run nothing any more."""
        self.turns.leave(self.turn)

    def go_on(self, now_s: float) -> None:
        """Let others have their turn, where there are any."""
        if self.turn.shared:
            self.turns.go_on(now_s)


class Devices:
    """Each device that models take turns at: the cores of this machine, and GPUs, which are one."""

    def __init__(self, cores: int) -> None:
        self._turns = {CPU: Turns(cores)}

    def turns(self, device: str) -> Turns:
        """The turns at one of them."""
        return self._turns.setdefault(device, Turns(1))


class Turns:
    """The models on one device of so many cores; for the event loop's thread."""

    def __init__(self, cores: int) -> None:
        self._device = Device(cores)
        self._looks: dict[Turn, Look] = {}

    def place(self, weight: float, lanes: int, threads: int, slo_s: float | None) -> Place:
        """Make a place for a model, which has yet to join.

        All its lanes together count for no more cores than there are: who is given more of them
        does not compute on each all the time, and would wait for itself.
        """
        cores = min(float(threads), self._device.cores / lanes)
        return Place(self, Turn(self._device, weight=weight, cores=cores, slo_s=slo_s))

    def join(self, turn: Turn, look: Look) -> None:
        """A model serves."""
        if turn not in self._looks:
            self._looks[turn] = look
            self._device.join(turn)

    def leave(self, turn: Turn) -> None:
        """It does no more; whoever has waited for it may go on."""
        if self._looks.pop(turn, None) is None:
            return
        self._device.leave(turn)
        now_s = time.monotonic()
        for look in list(self._looks.values()):
            look(now_s)

    def go_on(self, now_s: float) -> None:
        """Something has begun or ended: let those run whose turn it is."""
        before: Turn | None = None
        while (turn := self._device.due(now_s)) is not before:
            if turn is None:
                return
            self._looks[turn](now_s)
            before = turn
