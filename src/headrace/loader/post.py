"""One engine's place in the fleet, and the log of how its version moves."""

from __future__ import annotations

from pathlib import Path

from structlog.typing import FilteringBoundLogger

from headrace.control import ModelServing, ModelState
from headrace.loader.keeper import EngineKeeper
from headrace.loader.lifecycle import State
from headrace.loader.stamps import Stamp
from headrace.loader.store import FoundVersion

Key = tuple[str, int]
"""Name and version."""


class Post:
    """One engine's place: what it runs, who keeps it alive, and what has been said of it."""

    __slots__ = (
        "confirmed_s",
        "found",
        "keeper",
        "on_demand",
        "own_bytes",
        "reason",
        "replaces",
        "samples",
        "serving",
        "stamp",
        "wanted",
    )

    def __init__(
        self, found: FoundVersion, keeper: EngineKeeper, files: Stamp, own_bytes: int = 0
    ) -> None:
        self.found = found
        self.keeper = keeper
        self.stamp = files
        self.own_bytes = own_bytes  # of its files, what is the model for certain
        self.serving: ModelServing | None = None
        self.replaces: Post | None = None  # of its version, until receivers serve this
        self.reason = ""  # why it has ended
        self.samples: Path | None = None  # what it must agree with, until it serves
        self.on_demand = False  # it has been listed
        self.wanted = False  # its engine has been asked for
        self.confirmed_s: float | None = None  # since when the receiver serves it

    @property
    def key(self) -> Key:
        """Name and version."""
        return self.found.name, self.found.version

    @property
    def listed(self) -> bool:
        """Whether it has no engine, and gets one when somebody wants it."""
        return self.keeper.state is State.LISTED


def log_move(log: FilteringBoundLogger, before: ModelState | None, now: ModelState) -> None:
    """Log a move, so that who asks why a model was away can be answered."""
    said: dict[str, object] = {"model": now.name, "version": now.version}
    if before is not None:
        said |= {"was": before.state, "for_s": round(now.since_unix_s - before.since_unix_s, 3)}
    if now.reason:
        said["reason"] = now.reason
    if now.state == "failed":
        log.error("model_failed", **said)
        return
    # What was ordered, found or printed is told there; that it is back, nowhere else.
    back = before is not None and (before.state, now.state) == ("recovering", "serving")
    tell = log.info if back else log.debug
    tell("model_state", state=now.state, **said)
