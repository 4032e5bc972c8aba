"""The two ways to load a server: on a schedule, or with a number of callers.

On a schedule (open loop) a latency counts from the intended send time, so that neither a slow
server nor a slow sender can hide what a client would have waited.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable

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
from headrace.load.rows import KINDS, Rows

CONNECT_S = 10.0
# The first request is due this long after the start, when all is set up.
LEAD_S = 0.02
# At least as often the sender looks around, for time-outs and lost connections.
_LOOK_S = 0.02
# However many are due, they go out, and answers come in, after so many.
_AT_ONCE = 128
# More requests than one sender can send.
_CLOSED_RATE = 200_000
# A caller who was refused waits before the next attempt, as any client does: refusals that are
# asked for again at once would be all that is measured.
_PAUSE_S = 0.05


class Log:
    """Notes in the rows of a run what happens, and when."""

    def __init__(self, rows: Rows, start_s: float) -> None:
        self.start_s = start_s
        self.rows = rows
        self.outcomes: dict[Outcome, int] = {OK: 0}
        self._kinds = [KINDS.index(Kind.OK)]  # of each outcome, by its number
        self._sent_s, self._done_s = rows.sent_s, rows.done_s

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start_s

    def sent(self, written: list[int]) -> None:
        """Note that these requests went just now."""
        now_s = time.monotonic() - self.start_s
        for index in written:
            self._sent_s[index] = now_s

    def queued(self, placed: list[tuple[int, float]]) -> None:
        """Note how long these waited for a connection."""
        for index, waited_s in placed:
            self.rows.queued_s[index] += waited_s  # twice where the first server went away

    def ended(self, moment_s: float, ended: list[Ended]) -> None:
        """Note how requests ended, at a moment of the clock."""
        done_s = moment_s - self.start_s
        good = 0
        for index, outcome in ended:
            self._done_s[index] = done_s
            if outcome is OK:
                good += 1
            else:
                self._ended_otherwise(index, outcome)
        self.rows.ended(self._kinds[0], good)

    def _ended_otherwise(self, index: int, outcome: Outcome) -> None:
        number = self.outcomes.setdefault(outcome, len(self.outcomes))
        if number == len(self._kinds):
            self._kinds.append(KINDS.index(kind(outcome)))
        self.rows.outcome[index] = number
        self.rows.ended(self._kinds[number], 1)


class Load:
    """One run of a plan against a target, in this thread."""

    def __init__(self, log: Log, pool: Pool, timeout_s: float) -> None:
        self.count = 0  # requests so far
        self.stopped_s: float | None = None  # when it was told to send no more
        self._log = log
        self._rows = log.rows
        self._pool = pool
        self._timeout_s = timeout_s
        self._oldest = 0  # requests before it have ended

    def on_schedule(self, plan: OpenLoop) -> None:
        """Send at the planned times, then wait for the last answers."""
        log, pool, rows, due_s = self._log, self._pool, self._rows, self._rows.intended_s
        total = len(plan.arrivals)
        due_s[:total] = plan.arrivals.times_s.data
        while self.count < total or pool.outstanding:
            if rows.stopped:
                total = self._stop()
            now_s = log.now()
            last = min(total, self.count + _AT_ONCE)
            while self.count < last and due_s[self.count] <= now_s:
                if pool.outstanding < plan.max_outstanding:
                    pool.submit(self.count)
                else:
                    log.ended(log.start_s + now_s, [(self.count, NOT_SENT)])
                self.count += 1
            log.sent(pool.flush())
            rows.count = self.count
            left_s = due_s[self.count] - log.now() if self.count < total else _LOOK_S
            for moment_s, ended in pool.wait(min(left_s, _LOOK_S)):
                log.ended(moment_s, ended)
            log.queued(pool.queued)
            self._expire()

    def with_callers(self, plan: ClosedLoop) -> None:
        """Keep the callers busy for the time of the plan, then wait for the last answers."""
        log, pool, rows = self._log, self._pool, self._rows
        free = plan.concurrency
        resting: deque[tuple[float, int]] = deque()
        while True:
            if rows.stopped:
                self._stop()
            now_s = log.now()
            while resting and resting[0][0] <= now_s:
                free += resting.popleft()[1]
            if self._is_over(plan, free, now_s):
                if not pool.outstanding:
                    return
            elif free and now_s >= 0.0:
                self._call(free, now_s)
                free = 0
            log.sent(pool.flush())
            rows.count = self.count
            for moment_s, ended in pool.wait(_LOOK_S):
                log.ended(moment_s, ended)
                refused = sum(_is_refusal(outcome) for _, outcome in ended)
                free += len(ended) - refused
                if refused:
                    resting.append((now_s + _PAUSE_S, refused))
            free += self._expire()

    def _is_over(self, plan: ClosedLoop, free: int, now_s: float) -> bool:
        too_many = self.count + free > self._rows.capacity
        return self.stopped_s is not None or now_s >= plan.duration_s or too_many

    def _stop(self) -> int:
        """Note the end that somebody asked for; return how many requests there will be."""
        if self.stopped_s is None:
            self.stopped_s = max(self._log.now(), 0.0)
        return self.count

    def _call(self, callers: int, now_s: float) -> None:
        for index in range(self.count, self.count + callers):
            self._rows.intended_s[index] = now_s
            self._pool.submit(index)
        self.count += callers

    def _expire(self) -> int:
        """Give up what has waited for longer than the time-out; return how many."""
        log, rows, expired = self._log, self._rows, 0
        now_s = log.now()
        while self._oldest < self.count:
            if rows.done_s[self._oldest] == 0.0:
                if rows.intended_s[self._oldest] + self._timeout_s > now_s:
                    break
                if self._pool.cancel(self._oldest):
                    log.ended(log.start_s + now_s, [(self._oldest, TIMEOUT)])
                    expired += 1
            self._oldest += 1
        return expired


def _is_refusal(outcome: Outcome) -> bool:
    return outcome is CONNECTION_REFUSED or kind(outcome) is Kind.REFUSED


def soon() -> float:
    """Say when to start: as soon as all is set up, on the monotonic clock."""
    return time.monotonic() + LEAD_S


def generate(
    plan: Plan, target: Target, start: Callable[[], float] = soon, rows: Rows | None = None
) -> Result:
    """Run a plan against a target, here and now; to measure, let ``run`` do it in a process.

    ``start`` is called when all connections are open and says when to begin, on the monotonic
    clock. ``rows`` are there for who wants to look on.

    Raises:
        StartError: the target does not answer.
    """
    kept = Kept(target.keep)
    pool = _pool(target, kept, connections(plan, target))
    try:
        pool.open(CONNECT_S)
        log = Log(Rows.alone(capacity(plan)) if rows is None else rows, start())
        return _run(plan, target, pool, kept, log)
    finally:
        pool.close()


def make_pool(target: Target, callers: int) -> Pool:
    """Make the connections for so many callers who do not keep their answers."""
    return _pool(target, Kept(0), connections(ClosedLoop(min(callers, 256), 1.0), target))


def _pool(target: Target, kept: Kept, count: int) -> Pool:
    return Pool(target.endpoint, _codecs(target, kept), count, clock=time.monotonic)


def _codecs(target: Target, kept: Kept) -> Callable[[], Codec]:
    """Encode the messages once, for all connections."""
    if target.protocol is Protocol.GRPC:
        encoded = frames.encode(target)
        return lambda: http2.Http2(encoded, kept)
    pieces = http1.encode(target)
    return lambda: http1.Http1(pieces, kept)


def _run(plan: Plan, target: Target, pool: Pool, kept: Kept, log: Log) -> Result:
    load = Load(log, pool, target.timeout_s)
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
    intended_s, sent_s, done_s, outcome = log.rows.columns()
    return Result(
        intended_s=intended_s,
        sent_s=sent_s,
        done_s=done_s,
        outcome=outcome,
        outcomes=tuple(log.outcomes),
        answers=kept.answers,
        started_s=log.start_s,
        # Told to stop while the last answers were awaited, it had sent all of the plan.
        duration_s=plan.duration_s
        if load.stopped_s is None
        else min(load.stopped_s, plan.duration_s),
        cpu_s=cpu_s,
        concurrency=plan.concurrency if isinstance(plan, ClosedLoop) else None,
        queued_s=log.rows.queues_s(),
    )


def capacity(plan: Plan) -> int:
    """Return how many requests there may be."""
    if isinstance(plan, OpenLoop):
        return len(plan.arrivals)
    return int(_CLOSED_RATE * plan.duration_s) + plan.concurrency
