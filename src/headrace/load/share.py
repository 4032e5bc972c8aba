"""One plan for several senders, and one result of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headrace.load.arrivals import Arrivals
from headrace.load.plan import ClosedLoop, OpenLoop, Plan
from headrace.load.result import Outcome, Result


def divide(plan: Plan, senders: int) -> list[Plan]:
    """Give each sender its part; together they send what one would.

    Of an open loop with fewer requests than senders each sends one, and the others are not needed.

    Raises:
        ValueError: there is not one caller for each.
    """
    if isinstance(plan, ClosedLoop):
        parts = [plan.concurrency // senders] * senders
        for number in range(plan.concurrency % senders):
            parts[number] += 1
        return [replace(plan, concurrency=part) for part in parts]
    senders = max(min(senders, len(plan.arrivals)), 1)
    most = -(-plan.max_outstanding // senders)
    times_s, duration_s = plan.arrivals.times_s, plan.arrivals.duration_s
    return [
        OpenLoop(Arrivals(times_s[number::senders], duration_s), most) for number in range(senders)
    ]


def unite(results: Sequence[Result]) -> Result:
    """Make one result of those of senders that started together: rows in the order of their times.

    Of answers only those of the first sender are kept.
    """
    first, *others = results
    if not others:
        return first
    outcomes: dict[Outcome, int] = {}
    for result in results:
        for outcome in result.outcomes:
            outcomes.setdefault(outcome, len(outcomes))
    tables = [
        np.array([outcomes[outcome] for outcome in result.outcomes], np.uint16)
        for result in results
    ]
    order = np.argsort(np.concatenate([one.intended_s for one in results]), kind="stable")
    numbers = [table[one.outcome] for table, one in zip(tables, results, strict=True)]
    places = np.argsort(order)  # where each row went; the first sender's rows come first
    concurrency = [one.concurrency for one in results if one.concurrency is not None]
    return Result(
        intended_s=np.concatenate([one.intended_s for one in results])[order],
        sent_s=np.concatenate([one.sent_s for one in results])[order],
        done_s=np.concatenate([one.done_s for one in results])[order],
        outcome=np.concatenate(numbers)[order],
        outcomes=tuple(outcomes),
        answers={int(places[index]): answer for index, answer in first.answers.items()},
        started_s=first.started_s,
        duration_s=max(one.duration_s for one in results),
        cpu_s=sum(one.cpu_s for one in results),
        concurrency=sum(concurrency) if concurrency else None,
        queued_s=np.concatenate([one.queues_s for one in results])[order],
    )
