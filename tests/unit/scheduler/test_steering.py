"""The scheduler and its controller against a neighbour: as good as the best fixed number of lanes.

Two lanes, runs of 20 ms and 2 ms a row, an objective of 200 ms. At 5 s somebody takes a core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from headrace.scheduler import Batch, Drop, Entry, LatencyModel, Policy, Scheduler
from headrace.scheduler.controller import PERIOD_S, Controller
from headrace.scheduler.notices import Change
from headrace.scheduler.simulate import Arrival, Pace, Player, Result, linear, simulate_together

pytestmark = pytest.mark.slow

SLO_S, LANES, SIZES = 0.200, 2, (1, 2, 4, 8, 16)
ALPHA_S, BETA_S = 0.020, 0.002
ONE_LANE_RPS = 16 / (ALPHA_S + BETA_S * 16)
COMES_S, ENDS_S, SETTLED_S = 5.0, 40.0, 15.0


class Steered:
    """A scheduler that a controller looks at, or one with a fixed number of lanes."""

    def __init__(self, fixed: int | None = None, slo_s: float = SLO_S) -> None:
        measured = [
            (1, rows, ALPHA_S + BETA_S * rows, 1.05 * (ALPHA_S + BETA_S * rows)) for rows in SIZES
        ]
        policy = Policy(slo_s, fixed or LANES, 2048, 16, results_s=0.0)
        self.scheduler = Scheduler(policy, LatencyModel(measured, sizes=SIZES, pads=False))
        self.controller = None if fixed else Controller(slo_s, LANES)
        self.now = 0.0
        self.look_s = PERIOD_S
        self.glance_ends_s = math.inf
        self.changes: list[tuple[float, Change]] = []

    @property
    def lanes(self) -> int:
        return self.scheduler.lanes

    def tick(self, now: float) -> None:
        self.now = now
        if self.controller is None:
            return
        if now >= self.glance_ends_s:
            self.scheduler.release_lanes(self.controller.lanes, now)
            self.glance_ends_s = math.inf
        if now < self.look_s:
            return
        self.look_s = now + PERIOD_S
        account = self.scheduler.close_account(now)
        made = self.controller.look(now, account, self.scheduler.state())
        self.changes += [(now, change) for change in made]
        glance = self.controller.glance
        if glance is not None:
            self.scheduler.hold_lanes(glance.lanes, now)
            self.glance_ends_s = now + glance.seconds
        elif self.controller.lanes != self.scheduler.lanes:
            self.scheduler.set_lanes(self.controller.lanes, now, self.controller.slower)

    def admit(self, entry: Entry, now: float) -> None:
        self.tick(now)
        self.scheduler.admit(entry, now)

    def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
        self.now = now
        return self.scheduler.cut(now)

    def finish(self, batch_id: int, now: float, infer_s: float | None) -> None:
        self.now = now
        self.scheduler.finish(batch_id, now, infer_s)

    def wake_at(self, now: float) -> float | None:
        return self.scheduler.wake_at(now)


def arrivals(load: float, slo_s: float = SLO_S, seed: int = 1) -> list[Arrival]:
    """Poisson, so many times what one lane can do."""
    gaps = np.random.default_rng(seed).exponential(
        1 / (load * ONE_LANE_RPS), int(1.2 * ENDS_S * load * ONE_LANE_RPS)
    )
    times = np.cumsum(gaps)
    return [Arrival(at_s, slo_s) for at_s in times[times < ENDS_S].tolist()]


def play(
    load: float,
    together: Sequence[float],
    fixed: int | None = None,
    settled_s: float = SETTLED_S,
    alone: Sequence[float] = (1.0, 1.0),
    slo_s: float = SLO_S,
) -> tuple[Result, Steered]:
    """``together``: how fast each of two lanes is before the neighbour comes, and after."""
    rule = Steered(fixed, slo_s)
    random = np.random.default_rng(7)
    ratios = [float(ratio) for ratio in random.uniform(0.95, 1.05, 4000)]

    def speed(running: int) -> float:
        return (alone if running == 1 else together)[rule.now >= COMES_S]

    service = linear(ALPHA_S, BETA_S, ratios)
    player = Player(rule, arrivals(load, slo_s), service, LANES, active=lambda: rule.lanes)
    (result,) = simulate_together([player], pace=Pace(speed), settled_s=settled_s)
    return result, rule


def ms(seconds: float | None) -> float:
    return math.nan if seconds is None else 1e3 * seconds


@pytest.mark.parametrize("load", [0.5, 0.9, 1.3, 2.0])
@pytest.mark.parametrize("after", [0.35, 0.5, 0.9])
def test_with_a_neighbour_it_does_as_well_as_the_best_fixed_number(
    load: float, after: float
) -> None:
    steered, _ = play(load, (0.9, after))
    best = max(
        (play(load, (0.9, after), fixed)[0] for fixed in (1, 2)), key=lambda r: r.goodput_rps
    )
    assert steered.goodput_rps >= 0.95 * best.goodput_rps
    assert ms(steered.p99_s) <= 1e3 * SLO_S


def test_lanes_that_slow_each_other_down_are_left_within_seconds_with_the_reason() -> None:
    result, rule = play(1.3, (0.9, 0.35))
    (tried_s, tried), (kept_s, kept), *_ = (
        (at_s, change) for at_s, change in rule.changes if change.what == "lanes"
    )
    assert COMES_S < tried_s <= COMES_S + 5
    assert "2 lanes do the work of" in tried.reason
    assert (kept.cause, kept.after) == ("kept", "1")
    assert kept_s <= COMES_S + 10
    assert result.in_time_share > 0


def test_lanes_that_just_keep_up_together_are_left_after_a_glance() -> None:
    """Nobody is refused, and a trial of one lane might be too long: a few runs tell."""
    steered, rule = play(0.45, (0.9, 0.41), slo_s=0.5)
    first, second, *more = (change for _, change in rule.changes if change.what == "lanes")
    assert (first.cause, second.cause, second.after) == ("glance", "slow_together", "1")
    # The only lane is always busy: when what was seen is old, two are tried again.
    assert [change.cause for change in more] == ["trial"]
    pair, _ = play(0.45, (0.9, 0.41), fixed=LANES, slo_s=0.5)
    assert steered.in_time_share == pytest.approx(1.0, abs=1e-3)
    assert ms(steered.p99_s) < 0.8 * ms(pair.p99_s)


def test_a_glance_that_shows_nothing_better_is_not_repeated_soon_and_costs_nobody_the_answer() -> (
    None
):
    """One lane alone is as slow as each of two: they have one core, and half of another's."""
    steered, rule = play(0.45, (0.9, 0.45), alone=(1.0, 0.45), settled_s=0.0, slo_s=0.5)
    told = [(at_s, change) for at_s, change in rule.changes if change.what == "lanes"]
    assert {change.cause for _, change in told} == {"glance"}
    assert 1 <= len(told) <= 3
    assert rule.lanes == LANES
    assert steered.in_time_share == 1.0


def test_without_a_neighbour_nothing_changes_and_nothing_is_lost() -> None:
    steered, rule = play(1.2, (0.9, 0.9), settled_s=0.0)
    fixed, _ = play(1.2, (0.9, 0.9), LANES, settled_s=0.0)
    assert [change for _, change in rule.changes if change.what == "lanes"] == []
    assert steered.goodput_rps == pytest.approx(fixed.goodput_rps, rel=1e-3)


def test_when_the_neighbour_has_gone_all_lanes_come_back() -> None:
    """Together they are slow at first, and two lanes' worth from 5 s on."""
    _, rule = play(1.6, (0.35, 0.95))
    assert rule.lanes == LANES
    assert any(change.cause == "kept" and change.after == "2" for _, change in rule.changes)


def test_they_do_so_too_where_nobody_is_refused() -> None:
    """As where clients wait for their answers: they send no more than one lane can do."""
    result, rule = play(0.8, (0.35, 0.95), slo_s=0.3)
    assert [c.after for _, c in rule.changes if c.what == "lanes"] == ["1", "1", "2", "2"]
    assert [c.after for _, c in rule.changes if c.what == "admission"] == ["refusing", "open"]
    tried = next(c for _, c in rule.changes if (c.cause, c.after) == ("trial", "2"))
    assert "busy for" in tried.reason
    assert "refused" not in tried.reason
    assert result.in_time_share == 1.0
