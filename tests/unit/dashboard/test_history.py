from __future__ import annotations

from collections import Counter

from headrace.dashboard.history import History, Look
from headrace.dashboard.scrape import Process, ProcessUse, Snapshot, Version, read
from headrace.observe.metrics import ModelMetrics
from tests.unit.dashboard.pages_of import metrics_page, served

KEY = ("m", 1)


def look(at_s: float, ok: float, **refused: float) -> Look:
    """A server that has answered so many so far."""
    return Look(at_s, Snapshot({KEY: Version(outcomes={"ok": ok})}, refused), ())


def test_a_server_that_was_never_asked_is_not_up() -> None:
    history = History()
    assert not history.up
    assert history.recent(KEY) is None
    assert history.bins(KEY) == []


def test_a_first_look_knows_no_rate() -> None:
    history = History()
    history.saw(look(0, 1000))
    assert history.up
    assert history.recent(KEY) is None


def test_rates_are_of_the_last_seconds() -> None:
    history = History()
    for second, ok in enumerate([0, 1000, *range(1010, 1110, 10)]):
        history.saw(look(second, ok, route_not_found=second))
    recent = history.recent(KEY)
    assert recent is not None
    assert recent.rate_rps == 10
    assert history.refused_rps() == 1


def test_a_version_of_which_nothing_came_is_idle_and_not_unknown() -> None:
    history = History()
    history.saw(look(0, 7))
    history.saw(look(1, 7))
    recent = history.recent(KEY)
    assert recent is not None
    assert recent.idle
    assert recent.seconds == 1


def test_a_dead_server_is_down_and_leaves_a_gap() -> None:
    history = History()
    history.saw(look(0, 0))
    history.saw(look(1, 10))
    history.missed("nobody answers", 2)
    assert (history.up, history.problem, history.since_s) == (False, "nobody answers", 2)
    assert history.recent(KEY) is None
    history.missed("still nobody", 3)
    assert history.since_s == 2
    history.saw(look(10, 500))  # another one, or the same: what came meanwhile is no rate
    assert (history.up, history.problem, history.since_s) == (True, "", 10)
    history.saw(look(11, 505))
    recent = history.recent(KEY, last_s=5)
    assert recent is not None
    assert recent.requests == 5


def test_points_are_of_a_few_seconds_and_gaps_have_none() -> None:
    history = History()
    for second in range(5):
        history.saw(look(second, 10 * second))
    for second in range(5, 10):
        history.missed("down", second)
    for second in range(10, 12):
        history.saw(look(second, 100))
    first, gap, last = history.bins(KEY, width_s=5)
    assert first.step is not None
    assert first.step.rate_rps == 10
    assert gap.step is None
    assert last.step is not None
    assert last.step.idle


def test_only_the_last_minutes_are_kept_whatever_comes() -> None:
    history = History(kept_s=60)
    for second in range(100):
        history.saw(look(second, second))
    assert history.moments[0].at_s == 39
    hasty = History()
    for step in range(10_000):
        hasty.saw(look(step / 1000, step))
    assert len(hasty.moments) == 600


def test_gauges_are_those_of_the_last_look() -> None:
    metrics, history = ModelMetrics("m", 1), History()
    metrics.gauges["queue_length"] = lambda: 4
    served(metrics, 0.1)
    history.saw(Look(0, read(metrics_page([metrics], Counter())), ()))
    assert history.gauge(KEY, "queue_length") == 4
    assert history.gauge(("other", 1), "queue_length") is None
    assert history.bins(KEY)[0].queued == 4
    history.missed("down", 1)
    assert history.gauge(KEY, "queue_length") is None


def test_processes_take_what_their_counters_rose_by() -> None:
    engine, history = Process("engine", "m", "1"), History()
    # It was started again: how much of that time is of this step is not known.
    for second, cpu_s in enumerate([100.0, 100.5, 101.5, 0.5]):
        processes = {engine: ProcessUse(cpu_s, 2**20)}
        history.saw(Look(second, Snapshot({}, {}, processes), ()))
    assert history.taken() == [(engine, 0.5, 2**20)]
    assert history.cores(KEY) == 0.5
    assert history.cores(("m", 2)) is None
    history.missed("down", 4)
    assert history.taken() == []
    assert history.cores(KEY) is None


def test_an_engine_that_was_there_beside_the_one_that_left_is_not_all_new() -> None:
    engine, history = Process("engine", "m", "1"), History()
    for second, cpu_s in enumerate([100.0, 100.0 + 30.0, 30.5]):  # both, then the new one alone
        history.saw(Look(second, Snapshot({}, {}, {engine: ProcessUse(cpu_s)}), ()))
    assert history.cores(KEY) == 15
