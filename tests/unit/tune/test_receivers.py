"""Several receivers: when they are worth a race, and how the race goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from headrace.errors import StartError
from headrace.load.command.drive import Screen
from headrace.tune import race as module
from headrace.tune.budget import Budget
from headrace.tune.contestant import OVER, Contestant, Entry, Slice
from headrace.tune.document import document
from headrace.tune.forecast import Setting, machine
from headrace.tune.journal import Journal
from headrace.tune.progress import Progress
from headrace.tune.race import Race
from headrace.tune.raced import Raced
from headrace.tune.reasons import reasons
from headrace.tune.receivers import Shared, worth_trying
from headrace.tune.wanted import Objective, Wanted
from tests.unit.tune.made import F32, candidate, forecast, measured, tuning

ONE = candidate(F32, 1, 8)
BUSY = replace(forecast(ONE, 600), front_busy=0.9)
OBJECTIVE = Objective(0.05)
ALONE_RPS = 100.0


@pytest.mark.parametrize(
    ("cores", "front_busy", "count"),
    # The lanes of ONE do 444 requests/s, and with one receiver 180.
    [(2, 0.9, 2), (1, 0.9, 1), (2, 0.5, 1), (8, 0.9, 3)],
)
def test_several_are_tried_where_one_limits_and_cores_are_left(
    cores: int, front_busy: float, count: int
) -> None:
    here = machine(measured(), ONE, Setting(OBJECTIVE, cores))
    assert worth_trying(here, replace(forecast(ONE, 180), front_busy=front_busy)) == count


def test_what_is_not_clearly_more_does_not_pay() -> None:
    alone = (100.0, 101.0, 99.0)
    assert Shared(2, alone, (150.0, 152.0, 149.0)).pays
    assert not Shared(2, alone, (101.0, 100.0, 100.0)).pays
    assert not Shared(2, alone, (80.0, 81.0, 79.0)).pays


class Simulated(Contestant):
    """One whose server is not there: it answers by its receivers. ``made`` are all there were."""

    made: list[Simulated]
    broken = False
    alone_rps = ALONE_RPS

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.hoped_rps = self.rate_rps / OVER
        self.closed = False
        self.made.append(self)

    def start(self) -> None:
        if self.broken and self.receivers > 1:
            raise StartError("a core short")

    def _drive(self, rate_rps: float, length_s: float, number: Sequence[object]) -> Slice:
        del length_s, number
        self.start()
        good_rps = min(rate_rps, self.alone_rps * (1 + 0.5 * (self.receivers - 1)))
        return Slice(rate_rps, good_rps, good_rps / rate_rps, 0.02, late=False)

    def memory_bytes(self) -> int:
        return 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def contestants(monkeypatch: pytest.MonkeyPatch) -> list[Simulated]:
    monkeypatch.setattr(Simulated, "made", [], raising=False)
    monkeypatch.setattr(module, "Contestant", Simulated)
    return Simulated.made


def run(receivers: int, *, left_s: float = 1000.0) -> Raced:
    progress = Progress(
        Screen(Console(quiet=True), None), Budget(0.0, 1000.0), lambda: 1000.0 - left_s
    )
    wanted = Wanted(OBJECTIVE, 0.005, 1000.0)
    entry = Entry("x.fake", "x", OBJECTIVE, ())
    with Journal(None) as journal:
        return Race([], BUSY, entry, wanted, {ONE: receivers}).run(journal, progress)


def test_the_winner_is_raced_with_several_beside_itself(
    contestants: list[Simulated],
) -> None:
    shared = run(2).shared
    assert shared == Shared(2, (100.0,) * 3, (150.0,) * 3)
    assert contestants[-1].receivers == 2
    assert contestants[-1].hoped_rps == 2 * ALONE_RPS
    assert all(one.closed for one in contestants)


def test_it_is_not_where_one_is_enough(contestants: list[Simulated]) -> None:
    assert run(1).shared is None
    assert [one.receivers for one in contestants] == [1]


def test_it_is_not_where_no_time_is_left(contestants: list[Simulated]) -> None:
    assert run(2, left_s=1.0).shared is None
    assert [one.receivers for one in contestants] == [1]


def test_it_is_not_where_the_senders_are_what_limits(
    contestants: list[Simulated], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Simulated, "alone_rps", 1e6)
    assert run(2).shared is None
    assert [one.receivers for one in contestants] == [1]


@pytest.mark.usefixtures("contestants")
def test_several_that_do_not_start_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Simulated, "broken", True)
    found = run(2)
    assert found.shared is None
    assert [(one.what, one.why) for one in found.failed] == [("2 receivers", "a core short")]


@pytest.mark.parametrize(
    ("rates", "words"),
    [((150.0, 151.0, 149.0), "does more: 150"), ((101.0, 99.0, 100.0), "does no more")],
)
def test_what_came_of_it_is_said(rates: tuple[float, ...], words: str) -> None:
    raced = Raced({}, {}, {}, None, (), frozenset(), 5000.0, (), cut_short=True)
    here = tuning(
        replace(raced, shared=Shared(2, (100.0, 101.0, 99.0), rates)),
        [forecast(candidate(), 100), BUSY],
        ONE,
    )
    said = " ".join(reasons(here))
    assert f"`server.receivers: 2` {words}" in said
    written = json.loads(json.dumps(document(here)))["receivers"]
    assert written["count"] == 2
    assert written["shared_rps"] == list(rates)
