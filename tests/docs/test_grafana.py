"""The dashboard for Grafana: its queries are PromQL, and name what a real server counts."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.observe.gpu import GpuCollector
from tests.docs.markdown import ROOT
from tests.e2e.clients import http
from tests.e2e.models import write_fake
from tests.e2e.server import Server
from tests.unit.observe.test_gpu import Nvml

FILE = ROOT / "docs/grafana/headrace.json"
# Prometheus itself adds these to all it reads.
ADDED = {"instance", "job"}


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grafana", ROOT / "tools/grafana.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _dashboard() -> Any:
    return json.loads(FILE.read_text(encoding="utf-8"))


def _expressions() -> list[str]:
    """Every query, with what Grafana would put in for its variables."""
    found = [one["expr"] for panel in _dashboard()["panels"] for one in panel["targets"]]
    return [re.sub(r"\$\w+", ".*", one.replace("$__rate_interval", "1m")) for one in found]


def _walk(node: Any) -> Iterator[Any]:
    """An expression and all that is in it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, (str, float)):
            yield from _walk(inner)
    for inner in getattr(node, "args", ()):
        yield from _walk(inner)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The samples of a server that has padded, answered and refused, and the labels of each."""
    root = tmp_path_factory.mktemp("counted")
    model = write_fake(root / "words" / "1" / "model.fake", inputs={"x": ["FP32", [None, None]]})
    (root / "words" / "card.yaml").write_text("buckets: {x: {1: [4]}}\n")
    with Server(model.parents[1]) as server:
        assert http(f"{server.url}/predict/words", b'{"input": [[1, 2, 3]]}')[0] == 200
        assert http(f"{server.url}/predict/nobody", b"{}")[0] == 404
        _, page, _ = http(f"{server.url}/metrics")
    found: defaultdict[str, set[str]] = defaultdict(set)
    with pytest.MonkeyPatch.context() as patch:  # as if the server had a GPU
        patch.setitem(sys.modules, "pynvml", Nvml())
        gpus = list(GpuCollector(list).collect())
    for family in [*text_string_to_metric_families(page), *gpus]:
        for sample in family.samples:
            found[sample.name] |= sample.labels.keys()
    return found


def test_the_file_is_what_the_tool_writes() -> None:
    written = _tool().page()
    assert FILE.read_text(encoding="utf-8") == written, "run: python tools/grafana.py"


def test_panels_have_a_place_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    panels = _dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


@pytest.mark.slow
def test_every_metric_and_label_of_a_query_is_told_by_a_real_server(
    labels: dict[str, set[str]],
) -> None:
    expressions = _expressions()
    assert len(expressions) > 10
    for expression in expressions:
        names: set[str] = set()
        for node in _walk(promql_parser.parse(expression)):
            if isinstance(node, promql_parser.VectorSelector):
                assert node.name in labels, f"{node.name} of {expression}"
                asked = {one.name for one in node.matchers.matchers}
                assert asked <= labels[node.name] | ADDED, expression
                names |= labels[node.name]
        assert names, expression
        for node in _walk(promql_parser.parse(expression)):
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
                assert set(node.modifier.labels) <= names | ADDED, expression


@pytest.mark.slow
def test_choices_of_variables_are_labels_of_a_real_server(labels: dict[str, set[str]]) -> None:
    queries = [one for one in _dashboard()["templating"]["list"] if one["type"] == "query"]
    assert [one["name"] for one in queries] == ["instance", "model", "version"]
    for one in queries:
        match = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", one["definition"])
        assert match is not None
        assert match[2] in labels[match[1]] | ADDED
