from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dashboard.counts import Counts
from headrace.dashboard.scrape import Version
from headrace.dashboard.window import SHOWN_PHASES, Step, between, join
from headrace.observe.histogram import Histogram
from headrace.observe.metrics import ModelMetrics
from tests.unit.dashboard.pages_of import served

requests = st.lists(
    st.tuples(st.floats(1e-4, 10), st.sampled_from(["ok", "shed", "expired"])), max_size=5
)
# Looks: what came before each of them, and whether the receiver was restarted before that.
looks = st.lists(st.tuples(requests, st.booleans()), min_size=1, max_size=6)


def _so_far(metrics: ModelMetrics) -> Version:
    """What a page would say."""
    of_all = {**metrics.requests.phases, "infer": metrics.infer}
    phases = {name: _counts(of_all[name]) for name in ("total", "infer", "queue")}
    return Version(dict(metrics.outcomes), phases, _counts(metrics.rows))


def _counts(histogram: Histogram) -> Counts:
    cumulative = {float(bound): count for bound, count in histogram.cumulative()}
    return Counts.of(cumulative, histogram.total)


def _seen(lives: list[tuple[list[tuple[float, str]], bool]]) -> list[Version]:
    metrics, found = ModelMetrics("m", 1), []
    for came, restarted in lives:
        if restarted:
            metrics = ModelMetrics("m", 1)
        for seconds, outcome in came:
            served(metrics, seconds, outcome=outcome)
        found.append(_so_far(metrics))
    return found


@pytest.mark.slow
@settings(deadline=None)  # it is about counts, whoever has the core meanwhile
@given(looks)
def test_no_restart_makes_a_rate_negative(
    lives: list[tuple[list[tuple[float, str]], bool]],
) -> None:
    seen = _seen(lives)
    steps = [between(a, b, 1.0) for a, b in zip([None, *seen], seen, strict=False)]
    came = sum(len(part) for part, _ in lives)
    for step in [*steps, join(steps)]:
        assert min(step.outcomes.values(), default=0) >= 0
        assert all(min(counts.counts) >= 0 <= counts.total for counts in step.phases.values())
        assert step.rate_rps >= 0 <= step.busy_lanes
    # A restart that more requests followed than came before it is not seen: fewer, never more.
    assert join(steps).requests <= came
    if not any(restarted for _, restarted in lives):
        assert join(steps).requests == came


@pytest.mark.slow
@settings(deadline=None)  # it is about counts, whoever has the core meanwhile
@given(looks)
def test_steps_together_are_the_whole(lives: list[tuple[list[tuple[float, str]], bool]]) -> None:
    seen = _seen([(came, False) for came, _ in lives])
    steps = [between(a, b, 2.0) for a, b in zip([None, *seen], seen, strict=False)]
    whole = between(None, seen[-1], 2.0 * len(seen))
    together = join(steps)
    assert together.seconds == whole.seconds
    assert {k: v for k, v in together.outcomes.items() if v} == whole.outcomes
    assert together.phases["total"].counts == whole.phases["total"].counts
    assert together.busy_lanes == pytest.approx(whole.busy_lanes)
    assert together.quantile_s(0.9) == whole.quantile_s(0.9)


def test_one_counter_that_fell_means_that_all_began_anew() -> None:
    before = Version(outcomes={"ok": 10, "shed": 1})
    after = Version(outcomes={"ok": 12})
    assert between(before, after, 1.0).outcomes == {"ok": 12}


def test_rates_are_of_the_time_that_passed() -> None:
    step = Step(4.0, {"ok": 6, "shed": 2})
    assert step.rate_rps == 2
    assert step.failed_rps == 0.5
    assert Step().rate_rps == 0


def test_phases_add_up_to_the_whole_time() -> None:
    bounds = (1.0, math.inf)
    phases = {
        "total": Counts(bounds, (2, 0), 0.5),
        "queue": Counts(bounds, (2, 0), 0.1),
        "load": Counts(bounds, (1, 0), 0.02),  # one of both waited for it
        "infer": Counts(bounds, (1, 0), 0.15),
    }
    means_s = Step(1.0, {"ok": 2}, phases).phase_means_s()
    assert tuple(means_s) == SHOWN_PHASES
    assert sum(means_s.values()) == pytest.approx(0.25)
    assert means_s["queue"] == 0.05
    assert means_s["load"] == 0.01
    assert means_s["other"] == pytest.approx(0.04)
    assert Step().phase_means_s() == {}


def test_phases_of_those_that_were_refused_are_not_put_on_those_that_were_answered() -> None:
    bounds = (1.0, math.inf)
    phases = {
        "total": Counts(bounds, (1, 0), 0.1),
        "receive": Counts(bounds, (20, 0), 0.2),
        "decode": Counts(bounds, (20, 0), 0.4),
        "infer": Counts(bounds, (1, 0), 0.05),
    }
    means_s = Step(1.0, {"ok": 1, "predicted_miss": 19}, phases).phase_means_s()
    assert (means_s["receive"], means_s["decode"]) == (0.01, 0.02)
    assert means_s["other"] == pytest.approx(0.02)


def test_padding_is_a_share_of_all_that_ran() -> None:
    before = Version(elements={"asked": 10, "padding": 10})
    after = Version(elements={"asked": 40, "padding": 20})
    assert between(before, after, 1.0).padded == 0.25
    assert Step().padded is None


def test_outcomes_that_are_told_and_have_not_come_are_none_of_a_step() -> None:
    before, after = Version({"ok": 1.0, "shed": 0.0}), Version({"ok": 3.0, "shed": 0.0})
    assert between(before, after, 1.0).outcomes == {"ok": 2.0}
