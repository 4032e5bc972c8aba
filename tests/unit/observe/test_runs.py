"""The last runs are kept in the order in which they ended."""

from __future__ import annotations

import pytest

from headrace.observe.runs import Runs


@pytest.mark.parametrize("count", [0, 1, 2048, 2049, 5000])
def test_the_last_runs_are_kept_in_order(count: int) -> None:
    runs = Runs()
    for number in range(count):
        runs.assembled(number % 7 + 1, 1, 0.0)
        runs.ended(number % 7 + 1, 1, number / 1000, float(number))
    kept = range(max(count - 2048, 0), count)
    found = runs.recent.columns()
    assert found["ended_s"] == list(kept)
    assert found["rows"] == [n % 7 + 1 for n in kept]
    assert found["infer_s"] == pytest.approx([n / 1000 for n in kept])
