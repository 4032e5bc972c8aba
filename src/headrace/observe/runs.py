"""What batches did, by their size; written once a batch, never once a request."""

from __future__ import annotations


class Tally:
    """Batches of one size: how many were assembled and ended, and how long that took."""

    __slots__ = ("assemble_s", "assembled", "ended", "infer_s")

    def __init__(self) -> None:
        self.assembled = 0
        self.assemble_s = 0.0
        self.ended = 0
        self.infer_s = 0.0


class Runs:
    """The batches of one version.

    ``entries`` and the times beside it count each batch once for every request in it, as Triton's
    statistics do; ``sizes`` count it once. ``last_s`` is when the last one ended, on the
    receiver's monotonic clock.
    """

    __slots__ = ("assemble_s", "assembled_entries", "entries", "infer_s", "last_s", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[int, Tally] = {}
        self.assembled_entries = 0
        self.assemble_s = 0.0
        self.entries = 0
        self.infer_s = 0.0
        self.last_s: float | None = None

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
