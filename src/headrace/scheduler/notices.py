"""What changes by itself while serving, and is told: refusals, and how large batches are. Pure.

Both follow from the table of run times and from what comes; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from headrace.scheduler.ledger import Account

# Refused when more than this share is, for two looks; open again after so many looks without any.
_REFUSED_SHARE, _OPEN_LOOKS = 0.01, 5
# A batch size has changed when it is this many times another, for so many looks.
_CAP_RATIO, _CAP_LOOKS = 1.5, 3
# Of so many sizes of a row it is remembered.
_CAPS_KEPT = 64


class Change(NamedTuple):
    """Something was changed; ``cause`` says why in a word for counting, ``reason`` in full."""

    what: str
    before: str
    after: str
    cause: str
    reason: str


class State(NamedTuple):
    """How the scheduler is: for rows of so many elements the largest batch, and what it takes."""

    elements: int
    batch_cap: int
    longest_s: float


class Notices:
    """Of one served version; ``refusing``: more comes than can be answered in time."""

    def __init__(self) -> None:
        self.refusing = False
        self._looks = 0
        self._caps: dict[int, tuple[int, int]] = {}  # by elements of a row: told, and looks since

    def look(self, account: Account, state: State) -> Iterator[Change]:
        """Take what has happened since the last look."""
        yield from self._admission(account)
        yield from self._batches(state)

    def _admission(self, account: Account) -> Iterator[Change]:
        asked = account.in_time + account.late + account.refused
        above = account.refused > _REFUSED_SHARE * asked
        if above == self.refusing:
            self._looks = 0
            return
        self._looks += 1
        if self._looks < (_OPEN_LOOKS if self.refusing else 2):
            return
        self.refusing, self._looks = above, 0
        rate_rps = account.in_time / account.seconds
        if above:
            share = account.refused / asked
            yield Change(
                "admission",
                "open",
                "refusing",
                "overload",
                f"{share:.0%} of what is asked is refused, for it would be late: {rate_rps:,.0f} "
                "rows/s are answered in time, and more come",
            )
        else:
            yield Change(
                "admission", "refusing", "open", "room", "what comes can be answered in time again"
            )

    def _batches(self, state: State) -> Iterator[Change]:
        if len(self._caps) >= _CAPS_KEPT:
            self._caps.clear()
        cap, looks = self._caps.get(state.elements, (state.batch_cap, 0))
        ratio = max(cap, state.batch_cap) / min(cap, state.batch_cap)
        looks = looks + 1 if ratio >= _CAP_RATIO else 0
        if looks < _CAP_LOOKS:
            self._caps[state.elements] = cap, looks
            return
        self._caps[state.elements] = state.batch_cap, 0
        pay = "pay now" if state.batch_cap > cap else "do not pay any more"
        yield Change(
            "batch_cap",
            str(cap),
            str(state.batch_cap),
            "run_times",
            f"by the run times of late larger batches {pay}: one of {state.batch_cap} takes up to "
            f"{state.longest_s * 1e3:.1f} ms",
        )
