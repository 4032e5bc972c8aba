"""Real loads against the server, in turns with short ones that calibrate.

The speed of a machine changes within minutes, of a virtual one by half. So no load is driven at
once, but a part of each in every round, between short ones: what the plan is made with, and what
is put beside it, have met the same machine. And loads follow it: what they are shares of is looked
for again as the rounds go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.errors import StartError
from headrace.load.arrivals import Arrivals, Times, constant
from headrace.load.join import join
from headrace.load.plan import ClosedLoop, OpenLoop
from headrace.load.plan import Plan as Load
from headrace.load.report import LAG_LIMIT_S, LAG_SHARE, make_report
from headrace.load.result import Kind, Result
from headrace.plan.calibration import Calibration, Driven, calibrate
from headrace.plan.compare import Compared, Measured
from headrace.plan.machine import Machine
from headrace.plan.pace import traced
from headrace.plan.play import play_sent, send_times, sum_up
from headrace.plan.question import Question
from headrace.plan.rig import Rig, on_this_machine
from headrace.plan.seen import Between
from headrace.scheduler.simulate import Result as Simulated

_ROUNDS = 20
# After so many of them the limit is looked for again.
_FOLLOW_ROUNDS = 4
# Of each load that long, or until so many requests: of fewer a 99th percentile says nothing.
_LEAST_S, _MOST_S, _WANTED = 60.0, 120.0, 3000
_WARM_SHARE = 0.15
_FIRST_S = 2.0
# A quiet server has this part of the time something to do, and so many requests a second at most.
_QUIET, _QUIET_RPS = 0.3, 200.0
# Of what the server does with many callers: where lanes often run alone, and others often come.
_MIDDLE = 0.45
# Callers that keep all lanes busy: two full batches for each. More than so many only wait.
_CALLED, _MOST_CALLERS = 2, 256
# Other seeds than those of the plan: what is compared must not have been looked at before.
_SEED, _SEEDS_APART = 1000, 100


class _Lengths(NamedTuple):
    """How long the short loads are; with slow models until so many are sent, or ``longest_s``."""

    quiet_s: float
    busy_s: float
    middle_s: float
    telling: int
    longest_s: float

    def long_enough(self, rate_rps: float, least_s: float) -> float:
        return max(least_s, min(self.telling / rate_rps, self.longest_s))


_AT_FIRST = _Lengths(8.0, 4.0, 20.0, 40, 12.0)
_IN_TURN = _Lengths(2.5, 0.8, 3.5, 4, 4.0)


@dataclass(frozen=True, slots=True)
class _Part:
    """Requests that were sent at planned times, and what the server saw meanwhile."""

    sent: Arrivals
    result: Result
    ran: Between
    tail_ratio: float

    def lasts(self, warm_s: float) -> bool:
        """Whether something was sent so long after its beginning."""
        return bool(np.any(self.sent.times_s >= warm_s))


class Measuring:
    """One server: what it is like, and what comes of each load of a plan.

    ``machine`` is as it is guessed without a load. Asked in this order: ``look``, ``go_round``, and
    then for the calibration and what is to be compared.
    """

    def __init__(self, rig: Rig, machine: Machine, question: Question) -> None:
        self._rig = rig
        self._machine = machine
        self._question = question
        self._quiet: list[Driven] = []
        self._busy: list[Driven] = []
        self._middle: list[_Part] = []
        self._loads: list[list[_Part]] = []
        self._quiet_rps = self._middle_rps = 0.0
        self._limits_rps: list[float] = []  # as they were when loads were shares of them
        self._outcome = ""  # of the last that was not answered

    def look(self) -> Calibration:
        """Drive one request after the other, with pauses; then many callers; then some by chance.

        Raises:
            StartError: the server does not answer.
        """
        self._rig.say("calibrating: one caller")
        first = self._driven(ClosedLoop(1, _FIRST_S))
        if first is None:
            raise self._unanswered()
        self._quiet_rps = min(_QUIET / first.mean_s, _QUIET_RPS)
        self._calibrate(_AT_FIRST, 0, "calibrating")
        return self.calibration()

    def go_round(self, find_limit: Callable[[], float]) -> None:
        """Drive a part of each load, and short ones between, several times over.

        ``find_limit`` says what they are shares of, by the calibration so far. Of a load that would
        send nothing no part is driven, nor any while no rate is inside the objective.

        Raises:
            StartError: the server does not answer any more.
        """
        limit_rps = find_limit()
        loads = self._question.loads
        self._loads, self._limits_rps = [[] for _ in loads], []
        self._quiet, self._busy, self._middle = [], [], []  # that was before any of the loads
        for number in range(1, _ROUNDS + 1):
            said = f"round {number} of {_ROUNDS}"
            self._calibrate(_IN_TURN, number, said)
            if not self._quiet and not self._busy:
                raise self._unanswered()
            if number % _FOLLOW_ROUNDS == 1 and number > 1:
                self._rig.say(f"{said}: the limit as it is now")
                limit_rps = find_limit()
            if limit_rps > 0:
                self._limits_rps.append(limit_rps)
                self._drive_loads(limit_rps, number, said)
        self._calibrate(_IN_TURN, _ROUNDS + 1, "calibrating once more")

    def calibration(self) -> Calibration:
        """What the short loads tell together: those between the others, once there are any.

        Raises:
            StartError: none of them was answered.
        """
        if not self._quiet or not self._busy:
            raise self._unanswered()
        busy, middle = Driven.together(self._busy), Between.together([p.ran for p in self._middle])
        try:
            found = calibrate(self._machine, Driven.together(self._quiet), busy, middle)
        except ValueError as error:
            raise StartError(str(error)) from error
        return self._with_middle(found, busy.rate_rps)

    def compared(self, machine: Machine, limit_rps: float) -> Iterator[Compared]:
        """Put each load beside what is predicted of it: the same requests at the same times.

        ``machine`` is as it was calibrated, ``limit_rps`` what it is planned to hold.
        """
        mean_rps = float(np.mean(self._limits_rps)) if self._limits_rps else 0.0
        for share, parts in zip(self._question.loads, self._loads, strict=False):
            warm_s = _WARM_SHARE * parts[0].sent.duration_s if parts else 0.0
            if not any(part.lasts(warm_s) for part in parts):
                continue
            # As it was to be: of a slow model there may be parts in which nothing was sent.
            rate_rps = share * mean_rps
            plays = self._plays(machine, parts, warm_s)
            speed = machine.speed_at(rate_rps)(machine.lanes)
            yield Compared(
                rate_rps / (limit_rps or mean_rps),
                sum_up(rate_rps, plays),
                self._measured(parts, machine, rate_rps, warm_s),
                machine.stretch / speed,
            )

    # -- short loads -------------------------------------------------------------------------------

    def _calibrate(self, lengths: _Lengths, number: int, said: str) -> None:
        say = self._rig.say
        say(f"{said}: {self._quiet_rps:,.1f} requests/s, one after the other")
        duration_s = lengths.long_enough(self._quiet_rps, lengths.quiet_s)
        quiet = self._driven(OpenLoop(constant(self._quiet_rps, duration_s)))
        self._quiet += [] if quiet is None else [quiet]
        machine = self._machine
        wanted = min(_CALLED * machine.lanes * machine.largest(), _MOST_CALLERS)
        callers = max(wanted, _CALLED * machine.lanes)
        say(f"{said}: {callers} callers")
        busy = self._driven(ClosedLoop(callers, lengths.busy_s))
        self._busy += [] if busy is None else [busy]
        if not self._middle_rps and busy is not None:
            self._middle_rps = _MIDDLE * busy.rate_rps
        if self._middle_rps:
            say(f"{said}: {_MIDDLE:.0%} of that")
            duration_s = lengths.long_enough(self._middle_rps, lengths.middle_s)
            self._middle += self._sent(self._middle_rps, duration_s, _SEED - 1 - number)

    def _with_middle(self, found: Calibration, full_rps: float) -> Calibration:
        parts, machine = self._middle, self._machine
        if not parts:  # by chance, of a model that takes seconds
            return found
        ran = Between.together([part.ran for part in parts])
        tail_ratio = float(np.mean([part.tail_ratio for part in parts]))
        latency = found.applied(machine).known.latency()
        trace = traced(ran.recent, lambda rows: latency.expect(machine.elements, rows), found.speed)
        # As they would run at the pace of the machine there, and then at what they did.
        as_fast = found.with_middle(self._middle_rps, full_rps, 1.0, tail_ratio, trace)
        plays = self._plays(as_fast.applied(machine), parts)
        reckoned_s = machine.lanes * np.mean([one.utilisation * one.duration_s for one in plays])
        if not ran.infer_s or not reckoned_s:
            return found
        slower = float(ran.infer_s / reckoned_s)
        found = found.with_middle(self._middle_rps, full_rps, slower, tail_ratio, trace)
        p50_s = sum_up(self._middle_rps, self._plays(found.applied(machine), parts)).p50_s
        took_s = np.concatenate([_taken(part.result) for part in parts])
        if p50_s is None or not len(took_s):
            return found
        return found.with_middle_way(float(np.median(took_s)) - p50_s.mean)

    def _plays(
        self, machine: Machine, parts: Sequence[_Part], warm_s: float = 0.0
    ) -> list[Simulated]:
        """Play what was sent with every seed: part by part, for each began with nothing."""
        question = self._question
        return [
            Simulated.together(
                [
                    play_sent(machine, question, part.sent, warm_s, question.seeds * place + seed)
                    for place, part in enumerate(parts)
                    if part.lasts(warm_s)
                ]
            )
            for seed in range(question.seeds)
        ]

    def _unanswered(self) -> StartError:
        return StartError(f"no request was answered: {self._outcome}")

    # -- one load ----------------------------------------------------------------------------------

    def _driven(self, load: Load) -> Driven | None:
        """Run a load; None: nobody was answered."""
        result, ran, seen = self._rig.drive(load)
        took_s = _taken(result)
        if not len(took_s) or not ran.answered:
            self._outcome = str(result.outcomes[-1])
            return None
        # Callers that wait for their answers end later than they were to.
        lasted_s = max(result.duration_s, float(result.done_s.max()))
        here = on_this_machine(self._rig.url)
        return Driven(
            len(took_s) / lasted_s,
            float(np.mean(took_s)),
            result.cpu_s / len(result) if here else 0.0,
            ran,
            seen.tail_ratio,
            seen.handover_s,
            _alone(took_s, ran, self._question.rows),
        )

    def _drive_loads(self, limit_rps: float, number: int, said: str) -> None:
        for place, share in enumerate(self._question.loads):
            rate_rps, seed = share * limit_rps, _SEED + _SEEDS_APART * number + place
            duration_s = min(max(_WANTED / rate_rps, _LEAST_S), _MOST_S) / _ROUNDS
            load = f"{share:.0%} of the limit, {rate_rps:,.1f} requests/s"
            self._rig.say(f"{said}: {load} for {duration_s:.0f} s")
            self._loads[place] += self._sent(rate_rps, duration_s, seed)

    def _sent(self, rate_rps: float, duration_s: float, seed: int) -> list[_Part]:
        """Send requests by chance; [] when none is to be sent in that time."""
        sent = send_times(self._question, rate_rps, duration_s, seed)
        if not len(sent):
            return []
        result, ran, seen = self._rig.drive(OpenLoop(sent))
        return [_Part(sent, result, ran, seen.tail_ratio)]

    def _measured(
        self, parts: Sequence[_Part], machine: Machine, rate_rps: float, warm_s: float
    ) -> Measured:
        result = join([part.result for part in parts], warm_s)
        ran = Between.together([part.ran for part in parts])
        report = make_report(
            result, slo_s=self._question.slo_s, lag_limit_s=_lag_limit_s(_taken(result))
        )
        latency, known = report.latency, machine.known.latency()
        good = report.goodput_per_s
        lasted_s = [part.sent.duration_s for part in parts]
        could_s = machine.lanes * sum(lasted_s)
        on = [min(part.ran.lanes or machine.lanes, machine.lanes) for part in parts]
        return Measured(
            rate_rps,
            None if latency is None else latency.p50_s,
            None if latency is None else latency.p99_s,
            ran.mean_batch,
            ran.infer_s / could_s,
            None if good is None or not report.offered_per_s else good / report.offered_per_s,
            ran.stretch(lambda rows: known.expect(machine.elements, rows)),
            report.spoiled,
            sum(lanes * s for lanes, s in zip(on, lasted_s, strict=True)) / could_s,
        )


def _alone(took_s: Times, ran: Between, rows: int) -> tuple[tuple[float, float], ...]:
    """What each request took that was alone in a run, and that; () where they cannot be paired."""
    runs = [(one.rows, one.infer_s) for one in ran.recent for _ in range(one.rows // rows)]
    if len(runs) != len(took_s):
        return ()
    pairs = zip(took_s.tolist(), runs, strict=True)
    return tuple((taken_s, infer_s) for taken_s, (size, infer_s) in pairs if size == rows)


def _lag_limit_s(took_s: Times) -> float:
    """How late the sender may be at p99: by so little no figure is taken past its bar."""
    return max(LAG_LIMIT_S, LAG_SHARE * float(np.quantile(took_s, 0.99)) if len(took_s) else 0.0)


def _taken(result: Result) -> Times:
    """What each request that was answered took, in the order of the answers."""
    ok = result.is_kind(Kind.OK)
    order = np.argsort(result.done_s[ok], kind="stable")
    return (result.done_s - result.intended_s)[ok][order]
