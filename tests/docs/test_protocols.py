"""The tables of ``protocols.md`` and ``operating.md`` are what the server answers to, and says."""

from __future__ import annotations

import re
import sys

import pytest

from headrace.observe.gpu import GpuCollector
from headrace.receiver.asgi import methods
from headrace.receiver.catalog import Catalog
from headrace.receiver.codecs.protobuf import POOL, services
from headrace.receiver.exchange import Core
from headrace.receiver.metadata import EXTENSIONS
from headrace.receiver.oip.extras import Extras
from headrace.receiver.routes import Routes
from headrace.server_settings import ServerSettings
from headrace.values import DType
from tests.docs.markdown import ROOT, read
from tests.e2e.clients import http
from tests.e2e.server import Server
from tests.unit.observe.test_gpu import Nvml

PROTOCOLS = read(ROOT / "docs" / "protocols.md")
OPERATING = read(ROOT / "docs" / "operating.md")
_METRIC = re.compile(r"headrace_[a-z_]+")
_EXAMPLES = {
    "{model}": "digits",
    "{version}": "3",
    "{label}": "stable",
    "{repository}": "r",
    "{region}": "r",
}


def _rows(kind: str) -> list[str]:
    return [r[1].strip("`") for r in PROTOCOLS.rows() if r[0] == kind and r[1].startswith("`/")]


def _paths(documented: str) -> list[str]:
    """The path with and without what is in brackets, filled in."""
    for name, example in _EXAMPLES.items():
        documented = documented.replace(name, example)
    return list({re.sub(r"\[.*?\]", "", documented), re.sub(r"[\[\]]", "", documented)})


def _routes() -> Routes:
    return Routes(_core())


def _core() -> Core:
    def infer(*_: object) -> None:
        raise NotImplementedError

    return Core(Catalog(), infer)  # type: ignore[arg-type] # never called


@pytest.mark.parametrize(("method", "least"), [("GET", 5), ("POST", 5), ("PATCH", 1)])
def test_every_path_of_the_page_is_answered(method: str, least: int) -> None:
    documented = _rows(method)
    assert len(documented) >= least
    for path in (path for one in documented for path in _paths(one)):
        _routes().find(method, path)


def test_every_path_that_is_answered_is_on_the_page() -> None:
    documented = {(m, p) for m in ("GET", "POST", "PATCH") for one in _rows(m) for p in _paths(one)}
    routes = _routes()
    assert routes._exact.keys() <= documented
    for pattern in routes._patterns:
        assert any(m == pattern.method and pattern.path.fullmatch(p) for m, p in documented), (
            pattern.path
        )


def test_every_grpc_method_is_on_the_page_and_no_other() -> None:
    assert set(_rows("gRPC")) == _grpc_methods()


def test_every_grpc_method_is_told_by_reflection_and_no_other() -> None:
    told = {
        f"/{service}/{method.name}"
        for service in services()
        for method in POOL.FindServiceByName(service).methods
    }
    assert told == _grpc_methods()


def _grpc_methods() -> set[str]:
    single, _, streams = methods(_core(), Extras(ServerSettings()))
    return {*single, *streams}


def test_every_extension_and_datatype_is_on_the_page() -> None:
    for name in (*EXTENSIONS, *(dtype.value for dtype in DType)):
        assert f"`{name}`" in PROTOCOLS.text, name


def test_metrics_are_those_of_the_page(server: Server) -> None:
    status, _, _ = http(f"{server.url}/predict", {"input": [[1, 2, 3, 4]]})
    assert status == 200
    assert http(f"{server.url}/predict/nobody", {"input": [[1]]})[0] == 404
    _, page, _ = http(f"{server.url}/metrics")
    served = dict(re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE))
    documented = {
        row[0].strip("`"): row[1] for row in OPERATING.rows() if _METRIC.match(row[0][1:])
    }
    assert {name: kind for name, kind in documented.items() if "gpu" not in name} == served


def test_metrics_of_gpus_are_those_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    told = {family.name: family.type for family in GpuCollector(list).collect()}
    rows = [row for row in OPERATING.rows() if _METRIC.match(row[0][1:]) and "gpu" in row[0]]
    assert {row[0].strip("`"): row[1] for row in rows} == told


def test_phases_are_those_of_the_page(server: Server) -> None:
    _, page, _ = http(f"{server.url}/metrics")
    row = next(row for row in OPERATING.rows() if row[0] == "`headrace_phase_seconds`")
    assert set(re.findall(r'phase="(\w+)"', page)) == set(re.findall(r"`(\w+)`", row[3]))


def test_metrics_named_elsewhere_are_on_the_page() -> None:
    documented = {row[0].strip("`") for row in OPERATING.rows()}
    for path in (ROOT / "docs").glob("*.md"):
        named = {span for span in read(path).spans() if _METRIC.fullmatch(span)}
        assert named <= documented, path.name
