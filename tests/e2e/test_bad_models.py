"""Bad model files, each in turn ordered of a real server: it has failed with a reason that says
why, and the model beside it has noticed nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.proc import resident_bytes
from tests.contract.bad_models import CASES, Case, onnx_, python_
from tests.contract.bad_models.case import holding
from tests.e2e.clients import http
from tests.e2e.crowd import Load, statuses
from tests.e2e.models import write_fake
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

# How long a refusal may take on a busy machine; most of it is the start of an engine.
_LIMIT_S = 60.0
# What reading may leave behind in the supervisor; what these files declare is far more.
_GROWTH_BYTES = 64 * 2**20


def write_good(models: Path) -> None:
    """A model whose clients leave the machine to the engines of the bad ones."""
    write_fake(models / "good/1/model.fake", base_ms=20)
    (models / "good/card.yaml").write_text("max_batch: 1\n")


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


# Of those that say why in ``contract/test_bad_models.py``: some of each kind, by a look and by a
# library, and what declares more than there is room for.
LOADED = (
    "data-above",
    "ir-size-huge",
    "link-to-a-device",
    "pt2-claims-gigabytes",
    "saved-weights-declared-terabytes",
    "tflite-root-wild",
    "weights-declared-terabytes",
)
EVERY = {case.name: case for cases in CASES.values() for case in cases}


@pytest.mark.timeout(300)
def test_bad_models_are_refused_with_a_reason_and_their_neighbour_notices_nothing(
    tmp_path: Path,
) -> None:
    python = (case for case in CASES["python"] if case.name not in python_.RAISING)
    cases = (*CASES["cards"], *python, *(EVERY[name] for name in LOADED))
    write_good(tmp_path)
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


def _states(server: Server) -> dict[str, tuple[str, str]]:
    _, answer, _ = http(f"{server.url}/models")
    return {row["name"]: (row["state"], row["reason"]) for row in answer["models"]}


HANGS = {
    "in-load": python_.code(load="import time; time.sleep(600)"),
    "at-import": python_.code(top="while True: pass\n"),
    "in-infer": python_.code(infer="import time; time.sleep(600)"),
    "deaf": python_.code(
        load="import signal, time; signal.pthread_sigmask(0, {15}); time.sleep(600)"
    ),
}


def test_models_that_never_come_to_an_end_have_failed_when_their_time_is_over(
    tmp_path: Path,
) -> None:
    write_good(tmp_path)
    environment = {"HEADRACE_SERVER__LOAD_TIMEOUT_S": "4"}
    with Server(tmp_path, "--model-control", "explicit", environment=environment) as server:
        for name, code in HANGS.items():
            Case(name, "", holding("model.py", code)).build(tmp_path)
        with Load(server.address, "good", clients=2) as load, ThreadPoolExecutor(4) as pool:
            told = dict(zip(HANGS, pool.map(lambda name: _order(server, name), HANGS), strict=True))
        assert statuses(load.answers).keys() == {200}
        for one in told.values():
            assert one.status == 500
            assert "did not load and warm up within 4 s (server.load_timeout_s)" in one.reason
            assert re.search("at the step: (starting|loading|warming up)", one.reason)
            assert one.seconds < _LIMIT_S
        until(lambda: len(server.engines()) == 1)
        assert server.stop() == 0


# One of each kind: refused before an engine, by a look, by a library, by a crash.
SOME = ("card-unknown-key", "data-missing", "operator-unknown", "python-crashes-in-load")


@pytest.mark.parametrize("watched", [False, True])
def test_beside_a_good_model_bad_ones_have_failed_and_say_why(
    tmp_path: Path, *, watched: bool
) -> None:
    cases = [EVERY[name] for name in SOME]
    write_good(tmp_path / "models")
    control = ("--model-control", "poll", "--poll-s", "0.2") if watched else ()
    if not watched:
        cases = [case for case in cases if case.name != "card-unknown-key"]  # it ends the start
        for case in cases:
            case.build(tmp_path / "models")
    with Server(tmp_path / "models", *control) as server, Load(server.address, "good", 2) as load:
        if watched:
            for case in cases:
                case.build(tmp_path / "models")
            cases = [case for case in cases if case.name != "card-unknown-key"]  # it has no state
            server.wait_for("unknown key.*models_unreadable")
        names = {case.name for case in cases}
        until(lambda: {n for n, said in _states(server).items() if said[0] == "failed"} == names)
        states = _states(server)
        assert [case.name for case in cases if not case.is_told(states[case.name][1])] == []
        assert states["good"] == ("serving", "")
        assert len(server.engines()) == 1
    assert statuses(load.answers).keys() == {200}


def test_a_bad_file_that_is_mended_is_taken_up(tmp_path: Path) -> None:
    write_good(tmp_path)
    whole = onnx_.model().SerializeToString()
    with Server(tmp_path, "--model-control", "poll", "--poll-s", "0.2") as server:
        file = tmp_path / "late/1/model.onnx"
        file.parent.mkdir(parents=True)
        file.write_bytes(whole[:50])
        until(lambda: "cut off" in _states(server).get("late", ("", ""))[1])
        file.write_bytes(whole)
        until(lambda: _states(server)["late"][0] == "serving")
