"""A real load against the server: short ones to calibrate, then each load beside its plan."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from headrace.errors import MalformedAnswer, StartError
from headrace.load.arrivals import Arrivals, Times, constant
from headrace.load.plan import ClosedLoop, OpenLoop, Plan, Target
from headrace.load.report import make_report
from headrace.load.result import Kind, Result
from headrace.load.run import run
from headrace.models.ask import ServerModels
from headrace.plan.calibration import Calibration, Driven, calibrate
from headrace.plan.compare import Compared, Measured
from headrace.plan.machine import Machine
from headrace.plan.others import cores_in_use
from headrace.plan.play import Played, play_sent, send_times, sum_up
from headrace.plan.profile import ModelProfile, read_answer
from headrace.plan.question import Question
from headrace.plan.seen import Between, Seen

# Of each load that long, or until so many requests: of fewer a 99th percentile says nothing.
_LEAST_S, _MOST_S, _WANTED = 10.0, 60.0, 3000
_WARM_SHARE = 0.15
_FIRST_S, _QUIET_S, _BUSY_S, _MIDDLE_S = 2.0, 8.0, 6.0, 20.0
# A quiet server has this part of the time something to do, and so many requests a second at most.
_QUIET, _QUIET_RPS = 0.3, 200.0
# So few requests tell something; slow models get more time for them, but not for ever.
_TELLING, _LONGEST_S = 40, 12.0
# Of what the server does with many callers: where lanes often run alone, and others often come.
_MIDDLE = 0.45
# Callers that keep all lanes busy: two full batches for each. More than so many only wait.
_ROUNDS, _MOST_CALLERS = 2, 256
# Other seeds than those of the plan: what is compared must not have been looked at before.
_SEED = 1000


@dataclass(frozen=True, slots=True)
class Rig:
    """A server to be driven: how it is asked what it has seen, and where requests go."""

    server: ServerModels
    url: str
    profile: ModelProfile
    target: Target
    say: Callable[[str], None]

    def seen(self) -> Seen:
        """Ask what has run so far.

        Raises:
            MalformedAnswer: an older server does not tell.
        """
        profile = read_answer(
            self.server.profile(self.profile.name, self.profile.version), self.url
        )
        if profile.seen is None:
            raise MalformedAnswer(f"{self.url} does not tell what has run: it is an older Headrace")
        return profile.seen

    def others(self) -> tuple[float, ...]:
        """The cores that are used while nothing of ours is sent; () where that is not known."""
        if not on_this_machine(self.url):
            return ()
        self.say("looking whether others use this machine")
        used = cores_in_use()
        return () if used is None else (used,)

    def drive(self, plan: Plan) -> tuple[Result, Between, Seen]:
        """Run a load; what came of it, what the server saw meanwhile, and how it was at the end.

        Raises:
            StartError: the server went away, or the sender could not run.
        """
        before = self.seen()
        result = run(plan, self.target)
        after = self.seen()
        try:
            return result, Between.of(before, after), after
        except ValueError as error:
            raise StartError(str(error)) from error


def calibrated(rig: Rig, machine: Machine, question: Question) -> Calibration:
    """Drive one request after the other, with pauses; then many callers; then some by chance.

    Raises:
        StartError: the server does not answer.
    """
    rig.say("calibrating: one caller")
    first = _driven(rig, ClosedLoop(1, _FIRST_S), _FIRST_S)
    rate_rps = min(_QUIET / first.mean_s, _QUIET_RPS)
    duration_s = _long_enough(rate_rps, _QUIET_S)
    rig.say(f"calibrating: {rate_rps:,.1f} requests/s, one after the other")
    quiet = _driven(rig, OpenLoop(constant(rate_rps, duration_s)), duration_s)
    callers = min(_ROUNDS * machine.lanes * machine.largest(), _MOST_CALLERS)
    rig.say(f"calibrating: {callers} callers")
    busy = _driven(rig, ClosedLoop(max(callers, _ROUNDS * machine.lanes), _BUSY_S), _BUSY_S)
    try:
        found = calibrate(machine, quiet, busy)
    except ValueError as error:
        raise StartError(str(error)) from error
    return _with_middle(rig, machine, question, found, busy.rate_rps)


def _with_middle(
    rig: Rig, machine: Machine, question: Question, found: Calibration, full_rps: float
) -> Calibration:
    rig.say(f"calibrating: {_MIDDLE:.0%} of that")
    rate_rps = _MIDDLE * full_rps
    sent = send_times(question, rate_rps, _long_enough(rate_rps, _MIDDLE_S), _SEED - 1)
    if not len(sent):  # by chance, of a model that takes seconds
        return found
    result, ran, seen = rig.drive(OpenLoop(sent))
    reckoned = _reckoned(found.applied(machine), question, sent).busy.mean
    busy = ran.infer_s / (machine.lanes * sent.duration_s)
    if not busy or not reckoned:
        return found
    latency = machine.known.latency()
    ratios = ran.unlike(lambda rows: latency.expect(machine.elements, rows))
    found = found.with_middle(sent.rate, full_rps, busy / reckoned, seen.tail_ratio, ratios)
    p50_s = _reckoned(found.applied(machine), question, sent).p50_s
    took_s = _taken(result)
    if p50_s is None or not len(took_s):
        return found
    return found.with_middle_way(float(np.median(took_s)) - p50_s.mean)


def _reckoned(machine: Machine, question: Question, sent: Arrivals, warm_s: float = 0.0) -> Played:
    plays = [play_sent(machine, question, sent, warm_s, seed) for seed in range(question.seeds)]
    return sum_up(sent.rate, plays)


def _taken(result: Result) -> Times:
    """What each request that was answered took, in the order of the answers."""
    ok = result.is_kind(Kind.OK)
    order = np.argsort(result.done_s[ok], kind="stable")
    return (result.done_s - result.intended_s)[ok][order]


def _long_enough(rate_rps: float, least_s: float) -> float:
    return max(least_s, min(_TELLING / rate_rps, _LONGEST_S))


def _driven(rig: Rig, plan: Plan, duration_s: float) -> Driven:
    result, ran, seen = rig.drive(plan)
    took_s = _taken(result)
    answered = len(took_s)
    if not answered:
        raise StartError(f"no request was answered: {result.outcomes[-1]}")
    taken_s = result.cpu_s / len(result) if on_this_machine(rig.url) else 0.0
    return Driven(
        answered / duration_s,
        float(np.mean(took_s)),
        taken_s,
        ran,
        seen.tail_ratio,
        seen.handover_s,
        tuple(took_s.tolist()),
    )


def compare(rig: Rig, machine: Machine, question: Question, limit_rps: float) -> Iterator[Compared]:
    """Predict each load, then drive it: the same requests at the same times.

    None where no rate is inside the objective: there is nothing that such loads would be shares of.
    Nor one of which nothing is sent: a load lasts a minute, and a model may take that long.
    """
    if limit_rps <= 0:
        return
    for number, share in enumerate(question.loads):
        rate_rps = share * limit_rps
        duration_s = min(max(_WANTED / rate_rps, _LEAST_S), _MOST_S)
        sent = send_times(question, rate_rps, duration_s, _SEED + number)
        warm_s = _WARM_SHARE * duration_s
        if not np.any(sent.times_s >= warm_s):
            continue
        rig.say(f"{share:.0%} of the limit: {rate_rps:,.1f} requests/s for {duration_s:.0f} s")
        predicted = _reckoned(machine, question, sent, warm_s)
        measured = _measured(rig, machine, question, sent, warm_s)
        speed = machine.speed_at(sent.rate)(machine.lanes)
        yield Compared(share, predicted, measured, machine.stretch / speed)


def _measured(
    rig: Rig, machine: Machine, question: Question, sent: Arrivals, warm_s: float
) -> Measured:
    result, ran, _ = rig.drive(OpenLoop(sent))
    report = make_report(result, slo_s=question.slo_s, warm_s=warm_s)
    latency, known = report.latency, machine.known.latency()
    good = report.goodput_per_s
    return Measured(
        report.offered_per_s,
        None if latency is None else latency.p50_s,
        None if latency is None else latency.p99_s,
        ran.mean_batch,
        ran.infer_s / (machine.lanes * sent.duration_s),
        None if good is None or not report.offered_per_s else good / report.offered_per_s,
        ran.stretch(lambda rows: known.expect(machine.elements, rows)),
        report.spoiled,
    )


def on_this_machine(url: str) -> bool:
    """Whether a server is where we are, by its address."""
    host = urlsplit(url if "://" in url else f"http://{url}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
