"""Which sequences of one model there are, what each remembers, and whose turn it is.

Pure: time is an argument. Of a sequence, one request runs at a time and the others wait in the
order they came in; what it remembers changes only when a request has been answered. A request that
fails leaves it as it was, so that the client may send it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from headrace.errors import QueueFull, SequenceNotStarted, TooManySequences
from headrace.values import Array, SequenceCall

State = Mapping[str, Array]
"""What a sequence remembers, by input."""

MOST_WAITING = 1024
"""Requests of one sequence that may wait for those before them."""


class Limits(NamedTuple):
    """How long a sequence is kept without a request, and how much of all there may be.

    ``max_rows`` is of all sequences together, for each row has a state of its own.
    """

    idle_s: float
    max_rows: int
    max_waiting: int


class Turn:
    """One request of a sequence: ``running`` once those before it have ended.

    ``rows`` are its own, ``payload`` is the caller's, to be told by. Compared by identity.
    """

    __slots__ = ("call", "kept", "payload", "rows", "rows_before", "running")

    def __init__(self, call: SequenceCall, payload: Any = None) -> None:
        self.call = call
        self.payload = payload
        self.rows = 1
        self.rows_before = 0  # of its sequence, to which a start that fails returns
        self.running = False
        self.kept: Kept | None = None


class Kept:
    """A sequence; ``state`` is None before its first answer, and after its last.

    ``rows`` are what it has, or takes if it is being started anew with more.
    """

    __slots__ = ("id", "rows", "running", "state", "used_s", "waiting")

    def __init__(self, identity: str) -> None:
        self.id = identity
        self.rows = 0
        self.state: State | None = None
        self.used_s = 0.0
        self.running: Turn | None = None
        self.waiting: deque[Turn] = deque()


class SequenceTable:
    """The sequences of one version of a model.

    ``on_gone`` is called with the id of each that ends or is forgotten.
    """

    def __init__(self, model: str, limits: Limits, on_gone: Callable[[str], None]) -> None:
        self._model = model
        self._limits = limits
        self._on_gone = on_gone
        self._kept: dict[str, Kept] = {}
        self._idle: dict[str, Kept] = {}  # least recently used first
        self.expired = 0
        self.waiting = 0
        self.rows = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, identity: object) -> bool:
        return identity in self._kept

    def enter(self, turn: Turn, now_s: float) -> None:
        """Take a request in: it runs at once, or waits for those before it.

        Raises:
            SequenceNotStarted: its sequence is not known, and it does not start one.
            TooManySequences: there are as many rows as there may be.
            QueueFull: too many wait.
        """
        self.expire(now_s)
        kept = self._kept.get(turn.call.id)
        if kept is None:
            kept = self._start(turn)
        elif kept.running is not None:
            self._queue(kept, turn)
            return
        self._idle.pop(kept.id, None)
        turn.kept, turn.running, kept.running = kept, True, turn

    def begin(self, turn: Turn) -> State | None:
        """What a request whose turn has come goes on from; None: from the beginning.

        Raises:
            SequenceNotStarted: the one before it ended the sequence, or failed to start it.
            TooManySequences: it starts it anew with more rows than there is room for.
        """
        kept = turn.kept
        if turn.call.start:
            if kept is not None:  # what it has is kept until the new beginning is answered
                turn.rows_before = kept.rows
                self._resize(kept, max(kept.rows, turn.rows))
            return None
        if kept is None or kept.state is None:
            raise self._unknown(turn.call.id)
        return kept.state

    def finish(self, turn: Turn, state: State, now_s: float) -> Turn | None:
        """Note a request as answered, and what is remembered now; return whose turn it is next."""
        kept = turn.kept
        if kept is None:
            return None
        kept.state = None if turn.call.end else state
        if self._kept.get(kept.id) is kept:
            self._resize(kept, turn.rows)
        return self._advance(kept, now_s)

    def abandon(self, turn: Turn, now_s: float) -> Turn | None:
        """Let a request go, unanswered; nothing changes. Return whose turn it is next."""
        kept = turn.kept
        if kept is None:
            return None
        if turn.running:
            if turn.rows_before and self._kept.get(kept.id) is kept:
                self._resize(kept, turn.rows_before)
            return self._advance(kept, now_s)
        if turn in kept.waiting:
            kept.waiting.remove(turn)
            self.waiting -= 1
        return None

    def expire(self, now_s: float) -> None:
        """Forget the sequences that had no request for too long."""
        while (at := self.next_expiry()) is not None and at <= now_s:
            self._forget(next(iter(self._idle.values())))
            self.expired += 1

    def next_expiry(self) -> float | None:
        """When the next sequence will be forgotten, if nothing comes for it."""
        for kept in self._idle.values():
            return kept.used_s + self._limits.idle_s
        return None

    def clear(self) -> list[Turn]:
        """Forget everything; return the requests that waited."""
        waited = [turn for kept in self._kept.values() for turn in kept.waiting]
        for kept in list(self._kept.values()):
            kept.waiting.clear()
            self._forget(kept)
        self.waiting = 0
        return waited

    def _start(self, turn: Turn) -> Kept:
        identity = turn.call.id
        if not turn.call.start:
            raise self._unknown(identity)
        kept = Kept(identity)
        self._resize(kept, turn.rows)
        self._kept[identity] = kept
        return kept

    def _resize(self, kept: Kept, rows: int) -> None:
        """Count a sequence with so many rows."""
        counted = self.rows - kept.rows + rows
        if counted > self._limits.max_rows and rows > kept.rows:
            raise TooManySequences(
                f"model {self._model!r} keeps {len(self._kept)} sequences already, of {self.rows} "
                f"rows, and may keep {self._limits.max_rows} rows: end some with sequence_end, or "
                "raise sequence.max_streams",
                retry_after_s=1.0,
            )
        self.rows, kept.rows = counted, rows

    def _queue(self, kept: Kept, turn: Turn) -> None:
        if len(kept.waiting) >= MOST_WAITING or self.waiting >= self._limits.max_waiting:
            raise QueueFull(
                f"{len(kept.waiting)} requests of sequence {kept.id} wait already, of all "
                f"sequences {self.waiting}: wait for answers before sending more",
                retry_after_s=1.0,
            )
        kept.waiting.append(turn)
        turn.kept = kept
        self.waiting += 1

    def _advance(self, kept: Kept, now_s: float) -> Turn | None:
        if self._kept.get(kept.id) is not kept:
            return None  # forgotten while this request ran
        kept.running, kept.used_s = None, now_s
        if kept.waiting:
            following = kept.running = kept.waiting.popleft()
            following.running = True
            self.waiting -= 1
            return following
        if kept.state is None:
            self._forget(kept)
        else:
            self._idle[kept.id] = kept
        return None

    def _forget(self, kept: Kept) -> None:
        del self._kept[kept.id]
        self.rows -= kept.rows
        self._idle.pop(kept.id, None)
        self._on_gone(kept.id)

    def _unknown(self, identity: str) -> SequenceNotStarted:
        return SequenceNotStarted(
            f"inference request for sequence {identity} to model {self._model!r} must specify the "
            "START flag on the first request of the sequence: it was never started, has ended, was "
            f"idle for {self._limits.idle_s:g} s, or its version has gone"
        )
