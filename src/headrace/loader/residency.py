"""Which models leave memory so that another may come: pure.

Time is an argument, in seconds on one monotonic clock. The least recently used leave first; pinned
models and those that are held stay. What is loading or leaving counts until it is done: room that
comes by itself is waited for, not made twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import Enum

# An engine without a model: Python, NumPy and one backend.
_ENGINE_BYTES = 64 * 2**20
# Weights are read, and then laid out anew for the processor.
_FILE_FACTOR = 2.0


class Tie(Enum):
    """What keeps a resident model where it is."""

    NONE = "none"
    """Nothing: it may leave."""
    BRIEF = "brief"
    """It loads, or has only just come: it may leave soon."""
    HELD = "held"
    """Somebody's sequence lives in it: nobody can say for how long."""
    PINNED = "pinned"
    """The settings say that it stays."""
    LEAVING = "leaving"
    """It is on its way out."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory, or on its way in or out: what it takes, and when it was last used."""

    key: Hashable
    size_bytes: int
    used_s: float
    tie: Tie = Tie.NONE


@dataclass(frozen=True, slots=True)
class Budget:
    """What resident models may take together; None: any amount.

    ``count`` is of those that are not pinned.
    """

    size_bytes: int | None = None
    count: int | None = None


class Prospect(Enum):
    """Whether a model may be loaded."""

    NOW = "now"
    """Once those that are to leave, and those that are on their way out, have left."""
    SOON = "soon"
    """What loads or leaves must be done first; then ask again."""
    LATER = "later"
    """What is held fills the budget."""
    NEVER = "never"
    """It does not fit, whatever leaves."""


@dataclass(frozen=True, slots=True)
class Room:
    """The answer: whether there is room, and who is to leave for it, the least recently used first.

    Only ``NOW`` makes anybody leave.
    """

    prospect: Prospect
    leave: tuple[Hashable, ...] = ()


def guess_bytes(file_bytes: int) -> int:
    """Guess what a model that has never been loaded will take, from the size of its files."""
    return _ENGINE_BYTES + round(_FILE_FACTOR * file_bytes)


def make_room(
    size_bytes: int, residents: Iterable[Resident], budget: Budget, *, pinned: bool = False
) -> Room:
    """Decide who leaves so that a model of this size may come; ``pinned``: it will be."""
    there = tuple(residents)
    use = _Use(budget, size_bytes, 0 if pinned else 1)
    if not use.fits(_tied(there, Tie.PINNED)):
        return Room(Prospect.NEVER)
    if not use.fits(_tied(there, Tie.PINNED, Tie.HELD)):
        return Room(Prospect.LATER)
    if use.fits(there):
        return Room(Prospect.NOW)
    staying = [one for one in there if one.tie is not Tie.LEAVING]
    if use.fits(staying):
        return Room(Prospect.SOON)
    leave: list[Hashable] = []
    for one in sorted(_tied(there, Tie.NONE), key=lambda one: one.used_s):
        staying.remove(one)
        if use.helps(one):
            leave.append(one.key)
        else:
            staying.append(one)
        if use.fits(staying):
            return Room(Prospect.NOW, tuple(leave))
    return Room(Prospect.SOON)


def surplus(residents: Iterable[Resident], budget: Budget) -> tuple[Hashable, ...]:
    """Who leaves when those that are there take more than they may together.

    First those that would not fit if they were alone, so that they do not drive out all others.
    """
    there = tuple(residents)
    pinned = _tied(there, Tie.PINNED)
    large = [
        one for one in _tied(there, Tie.NONE) if not _Use(budget, one.size_bytes, 0).fits(pinned)
    ]
    rest = [one for one in there if one not in large]
    return (*(one.key for one in large), *make_room(0, rest, budget, pinned=True).leave)


@dataclass(frozen=True, slots=True)
class _Use:
    """What a newcomer needs of a budget."""

    budget: Budget
    size_bytes: int
    places: int

    def fits(self, others: Iterable[Resident]) -> bool:
        """Whether it fits beside these."""
        there = tuple(others)
        most_bytes, most = self.budget.size_bytes, self.budget.count
        if most_bytes is not None:
            taken_bytes = sum(one.size_bytes for one in there)
            if taken_bytes + self.size_bytes > most_bytes:
                return False
        if most is None or not self.places:
            return True
        return sum(one.tie is not Tie.PINNED for one in there) + self.places <= most

    def helps(self, one: Resident) -> bool:
        """Whether anything is won when this one leaves."""
        return one.size_bytes > 0 or (self.budget.count is not None and self.places > 0)


def _tied(residents: Iterable[Resident], *ties: Tie) -> list[Resident]:
    return [one for one in residents if one.tie in ties]
