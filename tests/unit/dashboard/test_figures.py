from __future__ import annotations

import math
from typing import Any

from headrace.dashboard import figures
from headrace.dashboard.counts import Counts
from headrace.dashboard.figures import LIGHT, View
from headrace.dashboard.history import Bin
from headrace.dashboard.window import SHOWN_PHASES, Step

VIEW = View(LIGHT, now_s=100.0, shift_s=1000.0)
INF = math.inf


def step(ok: float = 10, **outcomes: float) -> Step:
    """A second in which requests took 1 to 2 s each."""
    total = Counts((1.0, 2.0, INF), (0, ok, 0), 1.5 * ok)
    rows = Counts((1.0, 2.0, 4.0, 8.0, INF), (0, 1, 3, 0, 0), 14)
    return Step(1.0, {"ok": ok, **outcomes}, {"total": total}, rows)


def values(options: Any, name: str) -> list[Any]:
    """The values of a line."""
    (line,) = [one for one in options["series"] if one["name"] == name]
    return [value for _, value in line["data"]]


BINS = [Bin(90.0, step(shed=5), 2.0), Bin(95.0, None, None), Bin(100.0, step(0), 0.0)]


def test_a_gap_is_a_gap_in_every_chart() -> None:
    for options in (
        figures.requests(BINS, None, VIEW),
        figures.latency(BINS, None, VIEW),
        figures.phases(BINS, VIEW),
        figures.waiting(BINS, VIEW),
        figures.used(BINS, 2, 8, VIEW),
    ):
        for line in options["series"]:
            assert line["data"][1] == [1_095_000, None]


def test_what_nothing_came_of_has_a_rate_of_0_and_no_latency() -> None:
    assert values(figures.requests(BINS, None, VIEW), "ok") == [10, None, 0]
    assert values(figures.requests(BINS, None, VIEW), "shed") == [5, None, 0]
    assert values(figures.latency(BINS, None, VIEW), "p50") == [1500, None, None]


def test_phases_come_in_their_order_and_end_with_what_is_left() -> None:
    options = figures.phases(BINS, VIEW)
    assert [line["name"] for line in options["series"]] == list(SHOWN_PHASES)
    assert values(options, "other")[0] == 1500


def test_outcomes_of_errors_keep_their_colours_apart_from_that_of_ok() -> None:
    many = Bin(99.0, step(**{f"code_{place}": 1 for place in range(9)}), 0)
    options = figures.requests([many], None, VIEW)
    assert [line["color"] for line in options["series"]].count(figures.BLUE) == 1


def test_levels_are_marked() -> None:
    options = figures.latency(BINS, 50.0, VIEW)
    assert options["series"][0]["markLine"]["data"] == [{"yAxis": 50.0}]
    assert "markLine" not in figures.requests(BINS, None, VIEW)["series"][0]


def test_batches_are_shares_by_their_sizes() -> None:
    options = figures.batches(step(), LIGHT)
    assert options["xAxis"]["data"] == ["1", "2", "3-4"]
    assert options["series"][0]["data"] == [0, 25, 75]
    assert figures.batches(None, LIGHT)["series"][0]["data"] == []


def test_nothing_that_a_server_says_becomes_a_key() -> None:
    """NiceGUI runs what stands behind a key with a colon."""
    options = figures.requests([Bin(99.0, step(**{":x": 1}), 0)], 5.0, VIEW)

    def keys(node: Any) -> set[str]:
        if isinstance(node, dict):
            return set(node).union(*(keys(value) for value in node.values()))
        return set().union(*(keys(one) for one in node)) if isinstance(node, list) else set()

    assert {key for key in keys(options) if key.startswith(":")} <= {":valueFormatter", ":max"}
