"""The board of an engine: what each receiver has handed over and what each lane runs, to be seen.

Shared memory of which every number has one writer at a time, so that nobody waits: a receiver
counts what it hands over, the lanes what they take and run. So a receiver that looks at it before
it cuts a batch knows when lanes are free that others use, too. Times are of the monotonic clock,
which all processes of a machine share. There is none where there is one receiver.
"""

from __future__ import annotations

import mmap
import os
import threading

from headrace.scheduler.others import NOBODY, Others

# Receivers that are being replaced may still have their seat for a moment.
_SPARE_SEATS = 8


def seats_for(receivers: int) -> int:
    """How many seats there should be for so many receivers."""
    return receivers + _SPARE_SEATS


class Board:
    """One mapped board: for each seat four sums, for each lane its run."""

    def __init__(self, descriptor: int, seats: int, lanes: int) -> None:
        self.seats = seats
        self.lanes = lanes
        self._cells = memoryview(mmap.mmap(descriptor, _size_bytes(seats, lanes))).cast("d")
        # The sums of each seat begin at: batches handed over, their seconds, those taken, theirs.
        self._handed, self._handed_s, self._taken, self._taken_s = range(0, 4 * seats, seats)
        self._runs = 4 * seats  # of each lane: since when (0: not), for how long, whose
        self._turn = threading.Lock()  # between lanes, which are threads of one process
        self._read: list[float] = []
        self._found = NOBODY

    @classmethod
    def create(cls, seats: int, lanes: int) -> tuple[Board, int]:
        """Make one; the descriptor is to be passed on."""
        descriptor = os.memfd_create("headrace-board")
        os.ftruncate(descriptor, _size_bytes(seats, lanes))
        return cls(descriptor, seats, lanes), descriptor

    # -- a receiver --------------------------------------------------------------------------------

    def hand(self, seat: int, expected_s: float, batches: int = 1) -> None:
        """Count a batch, before it is handed over; less than none, when it could not be."""
        self._cells[self._handed + seat] += batches
        self._cells[self._handed_s + seat] += expected_s

    def others(self, seat: int) -> Others:
        """What is there of those in other seats; always asked by the same one."""
        read: list[float] = self._cells.tolist()  # type: ignore[assignment] # of format "d"
        if read != self._read:
            self._read, self._found = read, self._look(read, seat)
        return self._found

    def _look(self, read: list[float], seat: int) -> Others:
        waiting, waiting_s, who = 0, 0.0, set[int]()
        for one in range(self.seats):
            batches = read[self._handed + one] - read[self._taken + one]
            if one != seat and batches > 0:
                who.add(one)
                waiting += round(batches)
                waiting_s += max(read[self._handed_s + one] - read[self._taken_s + one], 0.0)
        running, mine = [], 0
        for at in range(self._runs, len(read), 3):
            since_s, expected_s, whose = read[at : at + 3]
            if not since_s:
                continue
            if whose == seat:
                mine += 1
            else:
                who.add(int(whose))
                running.append((since_s, expected_s))
        return Others(tuple(running), waiting, waiting_s, len(who), mine)

    # -- the lanes ---------------------------------------------------------------------------------

    def take(self, lane: int, seat: int, now: float, expected_s: float) -> None:
        """A lane begins to run a batch of a seat."""
        at = self._runs + 3 * lane
        self._cells[at + 1], self._cells[at + 2] = expected_s, seat
        self._cells[at] = now
        with self._turn:
            self._cells[self._taken + seat] += 1
            self._cells[self._taken_s + seat] += expected_s

    def end(self, lane: int) -> None:
        """It has ended."""
        self._cells[self._runs + 3 * lane] = 0.0

    def clear(self, seat: int) -> None:
        """Whoever sat there has gone, with what no lane had taken."""
        with self._turn:
            for handed, taken in ((self._handed, self._taken), (self._handed_s, self._taken_s)):
                self._cells[handed + seat] = self._cells[taken + seat]


def _size_bytes(seats: int, lanes: int) -> int:
    return 8 * (4 * seats + 3 * lanes)
