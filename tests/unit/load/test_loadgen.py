"""What MLPerf's rules say of a run that LoadGen has driven."""

from __future__ import annotations

from dataclasses import replace

from headrace.load.loadgen import Order, Summary, faults
from headrace.load.scenario import SCENARIOS

ORDER = Order(SCENARIOS["single-stream"], 600.0, 1.0, 1.0, 0.001, 1)
TEXT = "Result is : VALID\n"


def test_a_short_run_is_not_valid_whatever_loadgen_says() -> None:
    found = faults(replace(ORDER, duration_s=2.0), 1, 5000)
    assert found == ("it lasted 2 s of at least 600",)
    assert not Summary(TEXT, 0, found).is_valid
    assert Summary(TEXT, 0, faults(ORDER, 1, 5000)).is_valid
    assert not Summary(TEXT, 1).is_valid


def test_too_few_samples_offline_and_other_rows_are_faults() -> None:
    offline = replace(ORDER, scenario=SCENARIOS["offline"])
    assert faults(offline, 1, 24_575) == ("24,575 samples are fewer than 24,576",)
    assert faults(offline, None, 24_576) == ()
    assert faults(replace(ORDER, scenario=SCENARIOS["multi-stream"]), 1, 9) == (
        "queries of 1 row, not 8",
    )
