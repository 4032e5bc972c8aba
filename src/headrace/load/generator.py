"""The two ways to load a server: on a schedule, or with a number of callers.

On a schedule (open loop) a latency counts from the intended send time, so that neither a slow
server nor a slow sender can hide what a client would have waited.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from headrace.load import frames, http1, http2
from headrace.load.codec import Codec, Ended, Kept
from headrace.load.plan import ClosedLoop, OpenLoop, Plan, Protocol, Target, connections
from headrace.load.pool import Pool
from headrace.load.result import (
    CONNECTION_REFUSED,
    NOT_SENT,
    OK,
    TIMEOUT,
    Kind,
    Outcome,
    Result,
    kind,
)

_CONNECT_S = 10.0
# The first request is due this long after the start, when all is set up.
_LEAD_S = 0.02
# At least as often the sender looks around, for time-outs and lost connections.
_LOOK_S = 0.02
# More requests than one sender can send: memory that is never touched costs nothing.
_CLOSED_RATE = 200_000
# A caller who was refused waits before the next attempt, as any client does: refusals that are
# asked for again at once would be all that is measured.
_PAUSE_S = 0.05


class Log:
    """The rows of a run while it goes on; times are seconds since the start, 0.0: not yet."""

    def __init__(self, capacity: int, start_s: float) -> None:
        self.start_s = start_s
        self.columns = [np.zeros(capacity) for _ in range(3)]
        self.outcome = np.zeros(capacity, np.uint16)
        self.outcomes: dict[Outcome, int] = {OK: 0}
        # Through a memoryview one element is read or written at a third of numpy's price.
        self.intended_s, self.sent_s, self.done_s = (
            column.data.cast("B").cast("d") for column in self.columns
        )
        self._outcome = self.outcome.data

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start_s

    def sent(self, written: list[int]) -> None:
        """Note that these requests went just now."""
        now_s = time.monotonic() - self.start_s
        for index in written:
            self.sent_s[index] = now_s

    def ended(self, moment_s: float, ended: list[Ended]) -> None:
        """Note how requests ended, at a moment of the clock."""
        done_s = moment_s - self.start_s
        for index, outcome in ended:
            self.done_s[index] = done_s
            if outcome is not OK:
                number = self.outcomes.setdefault(outcome, len(self.outcomes))
                self._outcome[index] = number


class Load:
    """One run of a plan against a target, in this thread."""

    def __init__(self, log: Log, pool: Pool, timeout_s: float) -> None:
        self.count = 0  # requests so far
        self._log = log
        self._pool = pool
        self._timeout_s = timeout_s
        self._oldest = 0  # requests before it have ended

    def on_schedule(self, plan: OpenLoop) -> None:
        """Send at the planned times, then wait for the last answers."""
        log, pool, due_s = self._log, self._pool, self._log.intended_s
        total = len(due_s)
        log.columns[0][:] = plan.arrivals.times_s
        while self.count < total or pool.outstanding:
            now_s = log.now()
            while self.count < total and due_s[self.count] <= now_s:
                if pool.outstanding < plan.max_outstanding:
                    pool.submit(self.count)
                else:
                    log.ended(log.start_s + now_s, [(self.count, NOT_SENT)])
                self.count += 1
            log.sent(pool.flush())
            left_s = due_s[self.count] - log.now() if self.count < total else _LOOK_S
            for moment_s, ended in pool.wait(min(left_s, _LOOK_S)):
                log.ended(moment_s, ended)
            self._expire()

    def with_callers(self, plan: ClosedLoop) -> None:
        """Keep the callers busy for the time of the plan, then wait for the last answers."""
        log, pool = self._log, self._pool
        free = plan.concurrency
        resting: deque[tuple[float, int]] = deque()
        while True:
            now_s = log.now()
            while resting and resting[0][0] <= now_s:
                free += resting.popleft()[1]
            if now_s >= plan.duration_s or self.count + free > len(log.outcome):
                if not pool.outstanding:
                    return
            elif free and now_s >= 0.0:
                self._call(free, now_s)
                free = 0
            log.sent(pool.flush())
            for moment_s, ended in pool.wait(_LOOK_S):
                log.ended(moment_s, ended)
                refused = sum(outcome is not OK and _is_refusal(outcome) for _, outcome in ended)
                free += len(ended) - refused
                if refused:
                    resting.append((now_s + _PAUSE_S, refused))
            free += self._expire()

    def _call(self, callers: int, now_s: float) -> None:
        for index in range(self.count, self.count + callers):
            self._log.intended_s[index] = now_s
            self._pool.submit(index)
        self.count += callers

    def _expire(self) -> int:
        """Give up what has waited for longer than the time-out; return how many."""
        log, expired = self._log, 0
        now_s = log.now()
        while self._oldest < self.count:
            if log.done_s[self._oldest] == 0.0:
                if log.intended_s[self._oldest] + self._timeout_s > now_s:
                    break
                if self._pool.cancel(self._oldest):
                    log.ended(log.start_s + now_s, [(self._oldest, TIMEOUT)])
                    expired += 1
            self._oldest += 1
        return expired


def _is_refusal(outcome: Outcome) -> bool:
    return outcome is CONNECTION_REFUSED or kind(outcome) is Kind.REFUSED


def generate(
    plan: Plan, target: Target, on_start: Callable[[float], None] = lambda _: None
) -> Result:
    """Run a plan against a target, here and now; to measure, let ``run`` do it in a process.

    ``on_start`` is told the start on the monotonic clock.

    Raises:
        StartError: the target does not answer.
    """
    kept = Kept(target.keep)
    pool = Pool(
        target.endpoint, _codecs(target, kept), connections(plan, target), clock=time.monotonic
    )
    try:
        pool.open(_CONNECT_S)
        return _run(plan, target, pool, kept, on_start)
    finally:
        pool.close()


def _codecs(target: Target, kept: Kept) -> Callable[[], Codec]:
    """Encode the messages once, for all connections."""
    if target.protocol is Protocol.GRPC:
        encoded = frames.encode(target)
        return lambda: http2.Http2(encoded, kept)
    pieces = http1.encode(target)
    return lambda: http1.Http1(pieces, kept)


def _run(
    plan: Plan, target: Target, pool: Pool, kept: Kept, on_start: Callable[[float], None]
) -> Result:
    log = Log(_capacity(plan), time.monotonic() + _LEAD_S)
    load = Load(log, pool, target.timeout_s)
    on_start(log.start_s)
    collecting = gc.isenabled()
    gc.disable()  # nothing here makes cycles, and a collection is a pause
    cpu_s = time.process_time()
    try:
        if isinstance(plan, OpenLoop):
            load.on_schedule(plan)
        else:
            load.with_callers(plan)
    finally:
        if collecting:
            gc.enable()
    cpu_s = time.process_time() - cpu_s
    intended_s, sent_s, done_s = (column[: load.count].copy() for column in log.columns)
    sent_s[sent_s == 0.0] = np.nan
    return Result(
        intended_s=intended_s,
        sent_s=sent_s,
        done_s=done_s,
        outcome=log.outcome[: load.count].copy(),
        outcomes=tuple(log.outcomes),
        answers=kept.answers,
        started_s=log.start_s,
        duration_s=plan.duration_s,
        cpu_s=cpu_s,
        concurrency=plan.concurrency if isinstance(plan, ClosedLoop) else None,
    )


def _capacity(plan: Plan) -> int:
    if isinstance(plan, OpenLoop):
        return len(plan.arrivals)
    return int(_CLOSED_RATE * plan.duration_s) + plan.concurrency
