"""To stay awake for an answer that should be here at once, in place of sleeping until it is.

To be woken takes a thread longer than a tiny model runs, on a virtual machine above all. Whoever
looks again and again meanwhile has the answer sooner, and takes that long from a core.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# Of what takes longer until its answer is here, being woken is a small part.
_SHORT_S = 0.001
# An answer may be late by so much.
_LATE_S = 0.0001
# After so many in a row in vain, only one of so many is stayed awake for: others want the cores.
_IN_VAIN, _RARELY = 8, 64


class Patience:
    """How long to stay awake for each of several answers, one after the other. Pure."""

    def __init__(self) -> None:
        self._in_vain = 0
        self._slept = 0

    def stay_s(self, expected_s: float) -> float:
        """How long for an answer that is expected in so many seconds; 0: not at all."""
        if expected_s > _SHORT_S:
            return 0.0
        if self._in_vain >= _IN_VAIN:
            self._slept += 1
            if self._slept < _RARELY:
                return 0.0
            self._slept = 0
        return expected_s + _LATE_S

    def note(self, *, came: bool) -> None:
        """The answer came meanwhile, or did not."""
        self._in_vain = 0 if came else self._in_vain + 1


class Awake:
    """Has the loop look for one answer between all else that it has to do."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._patience = Patience()
        self._awaited: int | None = None

    def wait_for(self, batch_id: int, expected_s: float, look: Callable[[], None]) -> None:
        """Stay awake for the answer of this batch, if that is worth it, and for no other.

        ``look`` reads what there is, if there is something, and never waits; whoever reads an
        answer, then or when it is woken, says so to ``heard``.
        """
        self._awaited = None
        stay_s = self._patience.stay_s(expected_s)
        if stay_s:
            self._awaited = batch_id
            self._loop.call_soon(self._again, batch_id, self._clock() + stay_s, look)

    def heard(self, batch_id: int) -> None:
        """The answer of a batch is here."""
        if batch_id == self._awaited:
            self._awaited = None
            self._patience.note(came=True)

    def sleep(self) -> None:
        """Stay awake for nothing."""
        self._awaited = None

    def _again(self, batch_id: int, until_s: float, look: Callable[[], None]) -> None:
        if self._awaited == batch_id:
            look()
        if self._awaited != batch_id:  # it was heard, or another batch was handed over
            return
        if self._clock() < until_s:
            self._loop.call_soon(self._again, batch_id, until_s, look)
        else:
            self._awaited = None
            self._patience.note(came=False)
