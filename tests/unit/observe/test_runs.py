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
    found = list(runs.recent)
    assert [(ended_s, rows) for ended_s, rows, _ in found] == [(n, n % 7 + 1) for n in kept]
    assert [infer_s for *_, infer_s in found] == pytest.approx([n / 1000 for n in kept])
