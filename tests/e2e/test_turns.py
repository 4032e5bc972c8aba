"""Several models on one machine take turns by their weights, and a hung one holds up nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import metrics
from tests.e2e.crowd import Crowd, Load, statuses
from tests.e2e.models import write_config, write_fake
from tests.e2e.server import Server, frozen, until

pytestmark = pytest.mark.slow

ALL_CORES = 256
"""Threads of a run that takes the whole machine, however many cores it has."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two doubles, whose runs take all cores for 5 ms; one is to have three times the part."""
    root = tmp_path_factory.mktemp("turns")
    same = {"instances": 1, "threads": ALL_CORES, "max_batch": 1}
    entries = [
        {"path": write_fake(root / f"{name}.fake", base_ms=5), "weight": weight, **same}
        for name, weight in (("large", 3), ("small", 1))
    ]
    return write_config(root / "headrace.yaml", *entries)


@pytest.fixture(scope="module")
def server(config: Path) -> Iterator[Server]:
    with Server("--config", config) as running:
        yield running


def test_who_wants_all_gets_what_its_weight_says(server: Server) -> None:
    before = [_ran(server, name) for name in ("large", "small")]
    with Load(server.address, "large", 4), Load(server.address, "small", 4):
        until(lambda: _ran(server, "small") >= before[1] + 40)
        large, small = (_ran(server, name) for name in ("large", "small"))
        until(lambda: metrics(server.url)[_of("device_share", "small")] < 0.5)
    assert 2.4 <= (large - before[0]) / (small - before[1]) <= 3.6
    used_s = [metrics(server.url)[_of("core_seconds_total", one)] for one in ("large", "small")]
    assert 2.0 <= used_s[0] / used_s[1] <= 4.0


def test_a_model_whose_engine_hangs_keeps_the_other_waiting_for_a_moment_only(
    server: Server,
) -> None:
    with Crowd(server.address) as crowd, frozen(server.engine("large")):
        hung = [crowd.ask("large") for _ in range(2)]
        until(lambda: metrics(server.url)[_of("running_batches", "large")] == 2)
        assert crowd.ask("small").result().status == 200
    assert statuses(one.result() for one in hung) == {200: 2}


def test_models_do_not_take_turns_where_the_kernel_is_to_share_the_cores(config: Path) -> None:
    with Server("--config", config, environment={"HEADRACE_SERVER__SHARE": "kernel"}) as server:
        with Load(server.address, "large", 4), Load(server.address, "small", 4):
            until(lambda: _ran(server, "small") >= 40)
            ratio = _ran(server, "large") / _ran(server, "small")
        assert ratio <= 1.6  # doubles sleep, so that neither holds up the other


def _of(name: str, model: str) -> str:
    return f'headrace_{name}{{model="{model}",version="1"}}'


def _ran(server: Server, model: str) -> float:
    return metrics(server.url)[_of("batch_rows_count", model)]
