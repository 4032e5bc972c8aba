from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.plan.compare import Beside, Compared, Measured
from headrace.plan.estimate import Estimate
from headrace.plan.others import cores_in_use
from headrace.plan.play import Played

PREDICTED = Played(
    rate_rps=100.0,
    answered_rps=100.0,
    mean_s=Estimate(0.011, None),
    p50_s=Estimate(0.010, None),
    p99_s=Estimate(0.020, None),
    batch=Estimate(4.0, None),
    busy=Estimate(0.9, None),
    in_time=Estimate(1.0, None),
    refused={},
)
MEASURED = Measured(
    rate_rps=101.0,
    p50_s=0.010,
    p99_s=0.020,
    batch=4.0,
    busy=0.9,
    in_time=1.0,
    stretch=1.2,
    spoiled=None,
)


def compared(**measured: Any) -> Compared:
    return Compared(0.6, PREDICTED, replace(MEASURED, **measured), 1.2)


@pytest.mark.parametrize(
    ("p50_ms", "p99_ms", "trusted"),
    [(10, 20, True), (8.8, 16.1, True), (8.6, 20, False), (11.7, 26.6, True), (10, 26.8, False)],
)
def test_a_prediction_is_trusted_within_15_and_25_per_cent(
    p50_ms: float, p99_ms: float, trusted: bool
) -> None:
    assert compared(p50_s=p50_ms / 1e3, p99_s=p99_ms / 1e3).trusted is trusted


@pytest.mark.parametrize("missing", [{"p50_s": None}, {"p99_s": None}, {"spoiled": "late"}])
def test_what_could_not_be_measured_has_no_verdict(missing: dict[str, str | None]) -> None:
    one = compared(**missing)
    assert one.trusted is None
    assert Beside((one,)).in_words()[0].startswith("Nothing could be measured")
    assert not Beside((one,)).off


def test_what_else_is_off_is_named() -> None:
    assert compared(stretch=1.5, batch=6.0).causes() == [
        "runs took 1.25 times as long as predicted of their sizes",
        "batches had 1.50 times as many rows",
    ]
    assert "before or after" in compared(p50_s=0.02).causes()[0]
    assert compared(spoiled="the sender was late").causes() == ["the sender was late"]


def test_the_verdict_counts_those_that_are_off() -> None:
    good, bad = compared(), compared(p50_s=0.02)
    assert "can be trusted" in Beside((good, good)).in_words()[0]
    assert "1 of 2 loads" in Beside((good, bad)).in_words()[0]
    assert Beside((good, bad)).off
    assert Beside().in_words() == ()


def test_others_on_the_machine_are_named() -> None:
    quiet = Beside((compared(),), (0.1, 0.15), cores=2)
    assert not quiet.disturbed
    assert len(quiet.in_words()) == 1
    loud = Beside((compared(),), (0.1, 1.4), cores=2)
    assert "Others used 0.1 and 1.4 of this machine's cores" in loud.in_words()[1]


def test_lanes_that_were_turned_off_are_told() -> None:
    (cause,) = compared(lanes_on=0.75, p50_s=0.02).causes()
    assert cause.startswith("the server let its lanes take batches for 75% of their time")


def test_cores_in_use_are_those_of_the_window(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 0 5 1000 20 0 0 0 0 0\ncpu0 1 2\n")
    assert cores_in_use(stat, 0.01) == 0
    stat.write_text("no numbers\n")
    assert cores_in_use(stat, 0.01) is None
    assert cores_in_use(tmp_path / "nowhere", 0.01) is None


def test_this_system_says_how_many_cores_are_used() -> None:
    used = cores_in_use(window_s=0.05)
    assert used is None or 0 <= used <= 4096
