"""Pages of metrics: what the library would write, and sooner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headrace.observe.families import Family, Key
from headrace.observe.metrics import Collector, ModelMetrics
from headrace.observe.page import Begins, Page
from tests.passed import passed

TEXTS = st.text(alphabet=st.sampled_from('ab "\\\n{},=\u2028é'), max_size=4)
VALUES = st.one_of(st.integers(0, 10**9), st.floats())
ROWS = st.dictionaries(st.tuples(TEXTS, TEXTS), VALUES, max_size=4)


class _Told:
    """Whatever the library can write."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> list[Metric]:
        return self._families


def families(counts: Mapping[tuple[str, str], float]) -> list[Metric]:
    counter = CounterMetricFamily("seen", "What has been\nseen.", labels=("model", "outcome"))
    gauge = GaugeMetricFamily("now", "What is now.", labels=("model", "outcome"))
    for labels, value in counts.items():
        counter.add_metric(labels, value)
        gauge.add_metric(labels, value)
    return [counter, gauge]


def model(name: str, *took_s: float) -> ModelMetrics:
    metrics = ModelMetrics(name, 1)
    for seconds in took_s:
        metrics.outcomes["ok"] += 1
        passed(metrics.requests, seconds)
    metrics.gauges["queue_length"] = lambda: len(took_s)
    return metrics


def written(told: Iterable[Family], known: Mapping[Key, Begins]) -> tuple[str, dict[Key, Begins]]:
    page = Page(known)
    page.add(told)
    return page.text(), page.lines


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_every_page_is_what_the_library_writes(scrapes: list[dict[tuple[str, str], float]]) -> None:
    known: dict[Key, Begins] = {}
    for counts in scrapes:
        text, known = written(families(counts), known)
        assert text == generate_latest(_Told(families(counts))).decode()


def test_a_page_of_a_model_is_what_the_library_writes() -> None:
    known: dict[Key, Begins] = {}
    for took_s in ((), (0.1,), (0.1, 2e-6, 1e3)):
        collector = Collector((model("m", *took_s),))
        text, known = written(collector.families(), known)
        assert text == generate_latest(collector).decode()


def test_a_family_told_in_parts_is_together() -> None:
    models = [model("m", 0.1), model("n"), model("o", 0.2, 0.3)]
    page = Page({})
    for one in models:
        page.add(Collector((one,)).families())
    assert page.text() == generate_latest(Collector(models)).decode()


def test_lines_of_what_is_gone_are_forgotten() -> None:
    _, both = written(families({("m", "ok"): 1, ("n", "ok"): 2}), {})
    _, one = written(families({("n", "ok"): 2}), both)
    assert {key[1] for key in both} == {"m", "n"}
    assert {key[1] for key in one} == {"n"}


def test_known_lines_are_not_written_by_the_library_again() -> None:
    told = families({("m", "ok"): 1})
    _, known = written(told, {})
    marked = {key: tuple(f"{line}_known" for line in lines) for key, lines in known.items()}
    assert 'seen_total{model="m",outcome="ok"}_known 1.0\n' in written(told, marked)[0]
