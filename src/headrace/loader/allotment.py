"""Who has which cores: given to an engine when it starts, taken back when its version has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable

import structlog

from headrace.cores import usable_cores
from headrace.loader.placement import Claim, place
from headrace.settings import ModelSettings, Placement
from headrace.topology import SYSTEM, Machine, listed, read


def here() -> Machine:
    """This machine as it is now: what a process may use of it can be changed from outside."""
    return read(SYSTEM, os.sched_getaffinity(0), usable_cores())


class Allotment:
    """The claims of all models; for the supervisor's event loop."""

    def __init__(self, receivers: int, machine: Callable[[], Machine] = here) -> None:
        self._receivers = receivers
        self._machine = machine
        self._claims: dict[Hashable, Claim] = {}
        self._log = structlog.get_logger("headrace.loader")

    def give(
        self, owner: Hashable, name: str, settings: ModelSettings
    ) -> tuple[tuple[int, ...], ...]:
        """The cores of each instance; none where it is not placed. What it had before is free."""
        self.take_back(owner)
        if settings.placement is Placement.NONE:
            return ()
        claim = place(self._machine(), self._claims.values(), settings, self._receivers)
        if claim is None:  # there was room when its settings were read
            self._log.warning("not_placed", model=name, reason="the machine has fewer cores now")
            return ()
        shared = _own(claim) & frozenset().union(*map(_own, self._claims.values()))
        if shared:
            self._log.warning("cores_shared", model=name, cores=listed(shared))
        self._claims[owner] = claim
        return claim.cores

    def take_back(self, owner: Hashable) -> None:
        """Its cores are free, if it had any."""
        self._claims.pop(owner, None)


def _own(claim: Claim) -> frozenset[int]:
    return frozenset(n for its in claim.cores for n in its) if claim.own else frozenset()
