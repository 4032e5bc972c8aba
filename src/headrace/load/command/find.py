"""The highest rate that keeps an objective: tries, one after the other, each told as it ends."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.console import Console

from headrace.errors import HeadraceError, SettingsError, StartError
from headrace.load import quiet
from headrace.load.arrivals import Arrivals, constant
from headrace.load.command import show_found, written
from headrace.load.command.drive import GiveUp, Screen, drive, screen
from headrace.load.command.once import tell, tell_all
from headrace.load.command.prepare import prepare
from headrace.load.command.tried import Found, Tried
from headrace.load.command.wanted import Wanted, arrivals_of_try, read
from headrace.load.objective import Objective
from headrace.load.plan import ClosedLoop, OpenLoop, Plan, Target
from headrace.load.result import Result
from headrace.load.rows import Rows
from headrace.load.search import Held, Search
from headrace.load.verdict import judge

# So that a p99 is more than one request by chance: at least so many requests, in at most so long.
_REQUESTS, _SHORTEST_S, _LONGEST_S = 1000, 5.0, 30.0
# A queue that grows all through a try and stays within the objective at its end would hold: beside
# a try of so many objectives it can have grown by no more than a twentieth of the rate.
_OBJECTIVES = 20
# Where nobody said where to begin: half of what so many callers get.
_CALLERS, _PROBE_S, _SHARE = 8, 2.0, 0.5
_LOWEST = 0.1
# One request after the other, to see what one takes alone; and until one takes no longer, for at
# most so long, as a server may go on with what was given up. They are waited for a while, for each
# that is given up is one more to do.
_ALONE_S, _QUIET_S, _PATIENCE_S = 1.0, 60.0, 10.0
# So often at most, for a server that fails at once is not to be hammered; and after so long it is
# looked at how they failed.
_ASKED_PER_S, _LOOK_S = 20.0, 5.0


def run_find(options: argparse.Namespace) -> int:
    """Do what the flags say, and return the exit status."""
    try:
        wanted = read(options)
        written.check(options.report)
        with screen(Console(stderr=True)) as shown:
            found = find(wanted, shown)
    except HeadraceError as error:
        return tell(error, as_json=options.json)
    document = show_found.document(wanted, found)
    unwritten = written.try_write(
        options.report, lambda: written.of_search(wanted, found, document)
    )
    return tell_all(
        document,
        lambda console: show_found.show(wanted, found, console),
        unwritten,
        as_json=options.json,
    )


def find(wanted: Wanted, shown: Screen) -> Found:
    """Search.

    Raises:
        OperatorError: the server is not there, or does not take what it would be sent.
    """
    if wanted.slo_s is None:
        raise SettingsError("--find-max needs an objective: --slo-ms")
    if wanted.duration_s is not None:
        wanted.warm_s(wanted.duration_s)  # what leaves nothing of a try is told before the first
    objective = Objective(wanted.slo_s)
    found = Found(Search(_LOWEST, lowest=_LOWEST), ())
    try:
        shown.show(f"asking {wanted.address.authority} about {wanted.model}")
        target = prepare(wanted)
        alone_s = quiet.limit_s(wanted.slo_s, _alone(target, shown))
        found = Found(Search(_first(wanted, target, shown), lowest=_LOWEST), ())
        while (rate := found.search.next_rate) is not None:
            if _has_failed(found) and (unrest := _wait_for_rest(target, alone_s, shown)):
                return replace(found, ended=unrest)
            shown.heading = f"try {len(found.tries) + 1}: {rate:,.4g}/s"
            tried = _try(wanted, target, objective, rate, len(found.tries), shown)
            if tried is None:
                return replace(found, interrupted=True)
            found = Found(found.search.after(rate, tried.held), (*found.tries, tried))
            shown.say(show_found.try_line(len(found.tries), tried))
            if tried.verdict.gone_s is not None:
                break
    except KeyboardInterrupt:  # between two runs: what was tried is told all the same
        return replace(found, interrupted=True)
    except (StartError, SettingsError) as error:  # no server, or no plan of the next rate
        if not found.tries:
            raise
        return replace(found, ended=error.message)
    return found


def _has_failed(found: Found) -> bool:
    return bool(found.tries) and found.tries[-1].held is not Held.YES


def _alone(target: Target, shown: Screen) -> Result:
    """Send one request after the other to a server that has nothing else to do."""
    shown.heading = "one request after the other"
    return _one_by_one(target, ClosedLoop(1, _ALONE_S), _PATIENCE_S, shown)


def _wait_for_rest(target: Target, alone_s: float, shown: Screen) -> str | None:
    """Send one request after the other until one is answered as soon as alone; None: one was.

    Otherwise what the server does instead.
    """
    shown.heading = "until the server has done what was sent before"
    plan = OpenLoop(constant(_ASKED_PER_S, _LOOK_S), max_outstanding=1)
    patience_s, asked_s = max(_PATIENCE_S, alone_s), 0.0
    while True:
        result = _one_by_one(
            target,
            plan,
            patience_s,
            shown,
            lambda senders, _: quiet.is_quiet_already(senders, alone_s),
        )
        if quiet.is_quiet(result, alone_s):
            return None
        asked_s += max(_LOOK_S, result.done_s.max(initial=0.0))
        if asked_s >= _QUIET_S or quiet.is_hopeless(result):
            return quiet.unrest(result)


def _one_by_one(
    target: Target, plan: Plan, timeout_s: float, shown: Screen, give_up: GiveUp | None = None
) -> Result:
    patient = replace(target, timeout_s=timeout_s, connections=1)
    result, interrupted = drive(plan, patient, 1, shown, give_up)
    if interrupted:
        raise KeyboardInterrupt
    return result


def _first(wanted: Wanted, target: Target, shown: Screen) -> float:
    """Where to begin."""
    if wanted.rate is not None:
        return max(wanted.rate, _LOWEST)
    callers = wanted.concurrency or _CALLERS
    shown.heading = f"{callers} callers, to see where to begin"
    result, interrupted = drive(ClosedLoop(callers, _PROBE_S), target, 1, shown)
    if interrupted:
        raise KeyboardInterrupt
    report = judge(result, warm_s=_PROBE_S / 10).report
    return max(_SHARE * (report.per_s if report else 0.0), 1.0)


def _try(
    wanted: Wanted, target: Target, objective: Objective, rate: float, number: int, shown: Screen
) -> Tried | None:
    """Try a rate; None: Ctrl-C ended it."""
    plan = _plan(wanted, rate, number)
    warm_s = wanted.warm_s(plan.duration_s)
    result, interrupted = drive(
        plan, target, wanted.senders, shown, _giving_up(objective, plan, warm_s)
    )
    if interrupted:
        return None
    given_up = result.duration_s < plan.duration_s
    held = Held.CLEARLY_NOT if given_up else objective.judge(result, warm_s)
    sender = held is not Held.YES and objective.was_the_sender(result, warm_s)
    verdict = judge(result, slo_s=wanted.slo_s, warm_s=warm_s, lag_limit_s=wanted.lag_limit_s)
    return Tried(
        rate=rate,
        held=held,
        kept=1 - objective.share_missed(result, warm_s),
        sender=sender,
        given_up=given_up,
        verdict=verdict,
    )


def _plan(wanted: Wanted, rate: float, number: int) -> OpenLoop:
    """The plan of a try; each has arrivals of its own, so that no single drawing decides."""
    counted_s = min(max(_REQUESTS / rate, _SHORTEST_S), _LONGEST_S)
    counted_s = max(counted_s, _OBJECTIVES * (wanted.slo_s or 0.0))
    duration_s = wanted.duration_s or counted_s + (wanted.warm_up_s or 0.0)
    other = replace(wanted, seed=wanted.seed + number)
    try:
        planned: Arrivals = arrivals_of_try(other, rate, duration_s)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return OpenLoop(planned)


def _giving_up(
    objective: Objective, plan: OpenLoop, warm_s: float
) -> Callable[[Sequence[Rows], float], bool]:
    counted = int((plan.arrivals.times_s >= warm_s).sum())
    return lambda senders, at_s: objective.is_lost(senders, counted, warm_s, at_s)
