"""What batches did, by their size; written once a batch, never once a request."""

from __future__ import annotations

from array import array

# Of so many one in a hundred is twenty.
_RECENT = 2048


class Tally:
    """Batches of one size: how many were assembled and ended, and how long that took."""

    __slots__ = ("assemble_s", "assembled", "ended", "infer_s")

    def __init__(self) -> None:
        self.assembled = 0
        self.assemble_s = 0.0
        self.ended = 0
        self.infer_s = 0.0


class Recent:
    """The last batches, in the order in which they ended."""

    __slots__ = ("_ended_s", "_infer_s", "_next", "_rows")

    def __init__(self) -> None:
        self._ended_s = array("d")
        self._rows = array("I")
        self._infer_s = array("f")
        self._next = 0  # the oldest, where all places are taken

    def add(self, rows: int, infer_s: float, now_s: float) -> None:
        """One has ended."""
        if len(self._rows) < _RECENT:
            self._ended_s.append(now_s)
            self._rows.append(rows)
            self._infer_s.append(infer_s)
            return
        at = self._next
        self._ended_s[at], self._rows[at], self._infer_s[at] = now_s, rows, infer_s
        self._next = (at + 1) % _RECENT

    def columns(self) -> dict[str, list[float] | list[int]]:
        """When each ended, its rows and how long it ran, the oldest first.

        Of each a list, for JSON: 2,048 objects would hold a receiver up for 2 ms.
        """
        at = self._next
        return {
            "ended_s": (self._ended_s[at:] + self._ended_s[:at]).tolist(),
            "rows": (self._rows[at:] + self._rows[:at]).tolist(),
            "infer_s": (self._infer_s[at:] + self._infer_s[:at]).tolist(),
        }


class Runs:
    """The batches of one version.

    ``entries`` and the times beside it count each batch once for every request in it, as Triton's
    statistics do; ``sizes`` count it once, ``recent`` are the last ones. ``last_s`` is when the
    last one ended, on the receiver's monotonic clock.
    """

    __slots__ = (
        "assemble_s", "assembled_entries", "entries", "infer_s", "last_s", "recent", "sizes"
    )  # fmt: skip

    def __init__(self) -> None:
        self.sizes: dict[int, Tally] = {}
        self.assembled_entries = 0
        self.assemble_s = 0.0
        self.entries = 0
        self.infer_s = 0.0
        self.last_s: float | None = None
        self.recent = Recent()

    def assembled(self, rows: int, entries: int, assemble_s: float) -> None:
        """Count a batch that was handed to the engine."""
        tally = self.sizes.get(rows)
        if tally is None:
            tally = self.sizes[rows] = Tally()
        tally.assembled += 1
        tally.assemble_s += assemble_s
        self.assembled_entries += entries
        self.assemble_s += assemble_s * entries

    def ended(self, rows: int, entries: int, infer_s: float, now_s: float) -> None:
        """Count a batch that the engine has answered."""
        tally = self.sizes[rows]
        tally.ended += 1
        tally.infer_s += infer_s
        self.entries += entries
        self.infer_s += infer_s * entries
        self.last_s = now_s
        self.recent.add(rows, infer_s, now_s)
