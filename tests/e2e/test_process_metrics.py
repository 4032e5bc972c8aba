"""What `/metrics` says of the server's processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.clients import call_scribe, http
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server

pytestmark = pytest.mark.slow


def test_every_process_is_told_with_its_time_and_memory(tmp_path: Path) -> None:
    write_linear(tmp_path / "models/linear/3/model.onnx", 1.0)
    with Server(tmp_path / "models") as server:
        call_scribe(server.url, "linear")
        memory = _samples(server, "headrace_process_memory_bytes")
        cpu = _samples(server, "headrace_process_cpu_seconds_total")
        assert set(memory) == set(cpu)
        assert set(memory) == {
            ("supervisor", "", ""),
            ("receiver", "", ""),
            ("scribe", "", ""),
            ("nursery", "", ""),
            ("engine", "linear", "3"),
        }
        assert all(size > 2**20 for size in memory.values())
        engine = server.engine("linear").memory_info().rss
        assert memory["engine", "linear", "3"] == pytest.approx(engine, rel=0.2)
        used = server.receiver().cpu_times()
        assert cpu["receiver", "", ""] == pytest.approx(used.user + used.system, abs=0.5)


def test_requests_are_told_by_priority_and_outcome(tmp_path: Path) -> None:
    write_linear(tmp_path / "models/linear/1/model.onnx", 1.0)
    with Server(tmp_path / "models") as server:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
        url = f"{server.url}/v2/models/linear/infer"
        for priority in (None, 1, 1):
            parameters = {} if priority is None else {"priority": priority}
            status, answer, _ = http(url, {"inputs": [tensor], "parameters": parameters})
            assert status == 200, answer
        assert http(url, {"inputs": [{**tensor, "name": "other"}]})[0] == 400
        found = {
            (sample.labels["priority"], sample.labels["outcome"]): sample.value
            for family in text_string_to_metric_families(http(f"{server.url}/metrics")[1])
            for sample in family.samples
            if sample.name == "headrace_request_seconds_count"
        }
        assert found[("1000", "ok")] == 1
        assert found[("1", "ok")] == 2
        assert sum(found.values()) == 4


def _samples(server: Server, name: str) -> dict[tuple[str, str, str], float]:
    return {
        (s.labels["process"], s.labels["model"], s.labels["version"]): s.value
        for family in text_string_to_metric_families(http(f"{server.url}/metrics")[1])
        for s in family.samples
        if s.name == name
    }
