"""Bad model files, each in turn ordered of a real server: it has failed with a reason that says
why, and the model beside it has noticed nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.loader.memory import resident_bytes
from tests.contract.bad_models import CASES, Case
from tests.e2e.clients import http
from tests.e2e.crowd import Load, statuses
from tests.e2e.models import write_fake
from tests.e2e.server import Server

pytestmark = pytest.mark.slow

# How long a refusal may take on a busy machine; most of it is the start of an engine.
_LIMIT_S = 60.0
# What reading may leave behind in the supervisor; what these files declare is far more.
_GROWTH_BYTES = 64 * 2**20


class Told(NamedTuple):
    """What became of an order."""

    status: int
    reason: str
    seconds: float


def _order(server: Server, name: str) -> Told:
    began_s = time.monotonic()
    url = f"{server.url}/v2/repository/models/{name}/load"
    status, answer, _ = http(url, {}, timeout_s=2 * _LIMIT_S)
    reason = answer.get("error", "") if isinstance(answer, dict) else str(answer)
    return Told(status, reason, time.monotonic() - began_s)


def _order_all(server: Server, models: Path, cases: tuple[Case, ...]) -> Mapping[str, Told]:
    for case in cases:
        case.build(models)
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(lambda case: _order(server, case.name), cases)
        return dict(zip([case.name for case in cases], told, strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("format_", sorted(CASES))
def test_every_bad_model_is_refused_with_a_reason_and_its_neighbour_notices_nothing(
    format_: str, tmp_path: Path
) -> None:
    cases = CASES[format_]
    write_fake(tmp_path / "good/1/model.fake")
    with Server(tmp_path, "--model-control", "explicit") as server:
        before = resident_bytes(server.process.pid)
        with Load(server.address, "good", clients=2) as load:
            told = _order_all(server, tmp_path, cases)
        grown = resident_bytes(server.process.pid) - before
        assert {n: t for n, t in told.items() if t.status not in {400, 404, 500}} == {}
        silent = {
            case.name: told[case.name].reason
            for case in cases
            if not case.is_told(told[case.name].reason)
        }
        assert silent == {}
        assert {n: t.seconds for n, t in told.items() if t.seconds > _LIMIT_S} == {}
        assert statuses(load.answers).keys() == {200}
        assert grown < _GROWTH_BYTES
        assert len(server.engines()) == 1
        assert server.stop() == 0
