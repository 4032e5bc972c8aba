"""What several receivers have counted reads as if one had."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headrace.observe.lives import Life, LifeCollector
from headrace.observe.metrics import Collector, ModelMetrics
from headrace.observe.together import Topic, add_up, remains, without
from tests.passed import passed

counts = st.lists(
    st.tuples(st.sampled_from(["ok", "shed", "internal"]), st.floats(0.0001, 5)), max_size=20
)


def page(requests: list[tuple[str, float]], waiting: int = 0) -> str:
    """What a receiver that has answered these requests tells Prometheus."""
    metrics = ModelMetrics("m", 1)
    metrics.gauges["queue_length"] = lambda: waiting
    metrics.gauges["batch_cap"] = lambda: 8
    for outcome, seconds in requests:
        metrics.outcomes[outcome] += 1
        passed(metrics.requests, seconds, outcome)
    registry = CollectorRegistry()
    registry.register(Collector((metrics,)))
    life = Life("m", 1, "serving", 100, {"warm": 2.0})
    registry.register(LifeCollector(lambda: [life], {("m", "serving"): 1}))
    return generate_latest(registry).decode()


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of a page, each of which may stand there once."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(counts, min_size=2, max_size=4))
def test_added_up_they_are_what_one_receiver_would_have_told(
    parts: list[list[tuple[str, float]]],
) -> None:
    together = read(add_up(Topic.METRICS, [page(part) for part in parts]))
    alone = read(page([request for part in parts for request in part]))
    assert together.keys() == alone.keys()
    for key, value in alone.items():
        assert abs(together[key] - value) <= 1e-9 * max(abs(value), 1)


def test_what_waits_is_added_and_what_is_of_the_whole_server_is_told_once() -> None:
    found = read(add_up(Topic.METRICS, [page([], waiting=2), page([], waiting=3)]))
    which = (("model", "m"), ("version", "1"))
    assert found["headrace_queue_length", which] == 5
    assert found["headrace_batch_cap", which] == 8
    assert found["headrace_model_memory_bytes", which] == 100
    assert found["headrace_model_moves_total", (("model", "m"), ("state", "serving"))] == 1


def test_of_a_receiver_that_has_died_the_counts_remain_and_nothing_else() -> None:
    dead = remains(Topic.METRICS, page([("ok", 0.1)], waiting=7))
    assert dead is not None
    found = read(add_up(Topic.METRICS, [page([("ok", 0.1)], waiting=1), dead]))
    which = (("model", "m"), ("version", "1"))
    assert found["headrace_requests_total", (*which[:1], ("outcome", "ok"), *which[1:])] == 2
    assert found["headrace_queue_length", which] == 1
    assert found["headrace_model_moves_total", (("model", "m"), ("state", "serving"))] == 1


def test_of_a_version_that_has_ended_nothing_remains_and_of_others_all() -> None:
    dead = remains(Topic.METRICS, page([("ok", 0.1), ("shed", 0.2)]))
    assert dead is not None
    other = dead.replace('model="m"', 'model="m2"')
    third = dead.replace('version="1"', 'version="11"')
    together = add_up(Topic.METRICS, [dead, other, third])
    found = read(without(Topic.METRICS, together, "m", 1))
    assert found == read(add_up(Topic.METRICS, [other, third]))
    assert any(name == "headrace_requests_total" for name, _ in found)


def test_the_slowest_are_those_of_all() -> None:
    texts = [json.dumps([{"id": "a"}]), json.dumps([]), json.dumps([{"id": "b"}])]
    assert [one["id"] for one in json.loads(add_up(Topic.SLOWEST, texts))] == ["a", "b"]
    assert remains(Topic.SLOWEST, texts[0]) is None


def _statistics(count: int, last: int, **sizes: int) -> str:
    duration = {"count": count, "ns": 10 * count}
    model = {
        "name": "m",
        "version": "1",
        "last_inference": last,
        "inference_count": count,
        "execution_count": count,
        "inference_stats": {"success": duration},
        "batch_stats": [
            {"batch_size": int(size.removeprefix("of_")), "compute_infer": {"count": n, "ns": n}}
            for size, n in sizes.items()
        ],
    }
    return json.dumps([model])


def test_statistics_are_added_by_model_and_by_size_of_batch() -> None:
    texts = [_statistics(3, 50, of_2=1, of_1=1), _statistics(4, 40, of_1=2, of_4=1)]
    [model] = json.loads(add_up(Topic.STATISTICS, texts))
    assert (model["inference_count"], model["last_inference"]) == (7, 50)
    assert model["inference_stats"] == {"success": {"count": 7, "ns": 70}}
    rows = [(row["batch_size"], row["compute_infer"]["count"]) for row in model["batch_stats"]]
    assert rows == [(1, 3), (2, 1), (4, 1)]


def test_the_last_batches_of_all_are_in_the_order_in_which_they_ended() -> None:
    def recent(*ended_s: float) -> str:
        columns = {
            "ended_s": list(ended_s),
            "rows": [int(at_s) for at_s in ended_s],
            "infer_s": [at_s / 10 for at_s in ended_s],
        }
        return json.dumps({"m/1": columns})

    one, other, none = recent(1.5, 3.0), recent(1.0, 2.0, 4.0), json.dumps({})
    found = json.loads(add_up(Topic.RECENT, [one, none, other]))
    assert found["m/1"]["ended_s"] == [1.0, 1.5, 2.0, 3.0, 4.0]
    assert found["m/1"]["rows"] == [1, 1, 2, 3, 4]
    assert found["m/1"]["infer_s"] == [at_s / 10 for at_s in found["m/1"]["ended_s"]]
    assert remains(Topic.RECENT, one) is None
    assert json.loads(without(Topic.RECENT, one, "m", 1)) == {}
    assert json.loads(without(Topic.RECENT, one, "m", 2)) == json.loads(one)


def test_what_was_seen_is_added_and_the_worst_tail_told() -> None:
    def seen(answered: int, tail: float, rows: int) -> str:
        runs = [{"rows": rows, "count": answered, "infer_s": 0.5}]
        one = {
            "cpu_s": 1.0,
            "answered": answered,
            "tail_ratio": tail,
            "handover_s": 0,
            "runs": runs,
        }
        return json.dumps({"m/1": one})

    found = json.loads(add_up(Topic.SEEN, [seen(2, 1.5, 1), seen(3, 1.2, 1), seen(4, 1.1, 8)]))
    assert found["m/1"]["answered"] == 9
    assert found["m/1"]["tail_ratio"] == 1.5
    assert [(run["rows"], run["count"]) for run in found["m/1"]["runs"]] == [(1, 5), (8, 4)]
