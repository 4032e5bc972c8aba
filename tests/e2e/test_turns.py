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

MODELS = "large", "small"
ALL_CORES = 256
"""Threads of a run that takes the whole machine, however many cores it has."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two doubles, whose runs take all cores for 20 ms; one is to have three times the part."""
    root = tmp_path_factory.mktemp("turns")
    same = {"instances": 1, "threads": ALL_CORES, "max_batch": 1}
    entries = [
        {"path": write_fake(root / f"{name}.fake", base_ms=20), "weight": weight, **same}
        for name, weight in zip(MODELS, (3, 1), strict=True)
    ]
    return write_config(root / "headrace.yaml", *entries)


@pytest.fixture(scope="module")
def server(config: Path) -> Iterator[Server]:
    with Server("--config", config) as running:
        yield running


def test_who_wants_all_gets_what_its_weight_says(server: Server) -> None:
    with Load(server.address, "large"), Load(server.address, "small"):
        until(lambda: min(_ran(server)) >= 2)
        before = _ran(server)
        until(lambda: _ran(server)[1] >= before[1] + 15)
        large, small = (now - was for now, was in zip(_ran(server), before, strict=True))
        until(lambda: metrics(server.url)[_of("device_share", "small")] < 0.5)
    assert 2.2 <= large / small <= 3.8
    used_s = [metrics(server.url)[_of("core_seconds_total", one)] for one in MODELS]
    assert used_s[0] > 1.8 * used_s[1]


def test_a_model_whose_engine_hangs_keeps_the_other_waiting_for_a_moment_only(
    server: Server,
) -> None:
    with Crowd(server.address) as crowd, frozen(server.engine("large")):
        hung = [crowd.ask("large") for _ in range(2)]
        until(lambda: metrics(server.url)[_of("running_batches", "large")] == 2)
        assert crowd.ask("small").result().status == 200
    assert statuses(one.result() for one in hung) == {200: 2}


def test_models_do_not_take_turns_where_the_kernel_is_to_share_the_cores(config: Path) -> None:
    kernel = {"HEADRACE_SERVER__SHARE": "kernel"}
    with (
        Server("--config", config, environment=kernel) as server,
        Load(server.address, "large"),
        Load(server.address, "small"),
    ):
        until(lambda: min(_ran(server)) >= 15)
        ran = _ran(server)
    assert ran[0] <= 1.6 * ran[1]  # doubles sleep, so that neither holds up the other


def _of(name: str, model: str) -> str:
    return f'headrace_{name}{{model="{model}",version="1"}}'


def _ran(server: Server) -> list[float]:
    """How many batches of each model have been handed over."""
    found = metrics(server.url)
    return [found[_of("batch_rows_count", name)] for name in MODELS]
