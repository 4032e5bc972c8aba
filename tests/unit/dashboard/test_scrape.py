from __future__ import annotations

from collections import Counter

import pytest

from headrace.dashboard.scrape import read
from headrace.errors import MalformedAnswer
from headrace.observe.metrics import ModelMetrics
from tests.unit.dashboard.pages_of import metrics_page, served


def test_a_version_is_read_as_it_was_counted() -> None:
    one, other = ModelMetrics('na"me', 3), ModelMetrics("other", 1)
    served(one, 0.02, rows=4)
    served(one, 0.04, rows=8)
    one.outcomes["shed"] += 5
    one.asked_elements, one.run_elements = 3, 8
    one.gauges["queue_length"] = lambda: 7
    snapshot = read(metrics_page([one, other], Counter(model_not_found=2), memory_bytes=2**20))
    assert snapshot.versions.keys() == {('na"me', 3), ("other", 1)}
    found = snapshot.versions['na"me', 3]
    assert {name: count for name, count in found.outcomes.items() if count} == {"ok": 2, "shed": 5}
    assert found.phases["total"].count == 2
    assert found.phases["total"].total == pytest.approx(0.06)
    assert found.phases["load"].count == 0
    assert found.rows.mean == 6
    assert found.elements == {"asked": 3, "padding": 5}
    assert found.gauges["queue_length"] == 7
    assert found.gauges["model_memory_bytes"] == 2**20
    assert Counter(snapshot.refused) == Counter(model_not_found=2)


def test_metrics_of_others_are_passed_over() -> None:
    text = 'process_cpu_seconds_total 3.0\nother{model="a",version="1"} 1.0\n'
    text += 'headrace_of_tomorrow{model="a",version=""} 1.0\n'
    assert not read(text).versions


def test_processes_are_read_and_those_of_one_name_added_up() -> None:
    labels = 'process="engine",model="m",version="1"'
    lines = ['headrace_process_cpu_seconds_total{process="receiver",model="",version=""} 2.5']
    lines += 2 * [f"headrace_process_cpu_seconds_total{{{labels}}} 1.5"]
    lines += [f"headrace_process_memory_bytes{{{labels}}} 7.0"]
    found = read("\n".join((*lines, "")))
    assert not found.versions
    assert found.processes == {
        ("receiver", "", ""): (2.5, 0),
        ("engine", "m", "1"): (3.0, 7),
    }


@pytest.mark.parametrize(
    "text",
    [
        "<html>hello</html>",
        'headrace_requests_total{model="a",version="1"} 1.0\n',
        'http_requests{a="1", ="2"} 1\n',
    ],
)
def test_what_is_no_such_page_is_told(text: str) -> None:
    with pytest.raises(MalformedAnswer, match="/metrics"):
        read(text)
