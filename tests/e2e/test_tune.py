"""``headrace tune`` from end to end: labs, a forecast, a race of real servers, and the card."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace import tuned
from headrace.errors import StartError
from headrace.settings import BackendName, Precision
from headrace.tune import contestant as contestant_module
from headrace.tune.contestant import Ceiling, Contestant, Entry
from headrace.tune.journal import Journal
from headrace.tune.model import find_model
from headrace.tune.space import Candidate
from headrace.tune.wanted import Objective
from tests.e2e.clients import command
from tests.e2e.models import write_delay, write_fake
from tests.e2e.server import until

pytestmark = pytest.mark.slow


def tune(
    *arguments: str | Path, cache: Path, timeout_s: float = 100
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", "tune", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env=environment(cache),
    )


def environment(cache: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": ":".join(sys.path),
        "COLUMNS": "100",
        "HEADRACE_SERVER__CACHE_DIR": str(cache),
    }


def found(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_a_model_is_tuned_and_its_card_says_for_what(tmp_path: Path) -> None:
    folder = tmp_path / "steady"
    model = write_fake(folder / "1" / "model.fake", base_ms=4, per_row_ms=0.5)
    (folder / "card.yaml").write_text("max_batch: 4\n")
    page, cache = tmp_path / "steady.html", tmp_path / "cache"
    arguments = (folder, "--slo", "p99=50ms", "--budget", "8s", "--json", "--report", page)
    pytest.importorskip("matplotlib")
    done = tune(*arguments, cache=cache)
    first = found(done)
    assert done.returncode == 0, done.stdout
    assert first["raced"]
    chosen = first["chosen"]
    assert chosen["backend"] == "fake"
    assert any(row["raced_rps"] for row in first["candidates"])
    assert page.read_text().count("<svg ") == 3
    card = tuned.read(folder / "1" / "tuned.yaml")
    assert card.settings.model_dump(mode="json") == chosen
    assert card.objective.slo_ms == 50
    assert card.evidence.highest_rate_rps > 0
    assert card.model_digest == tuned.digest(model)


def test_without_a_card_it_is_not_ok(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "slow.fake", base_ms=60)
    done = tune(model, "--slo", "5ms", "--budget", "4s", "--json", cache=tmp_path / "cache")
    said = found(done)
    assert (done.returncode, said["ok"], said["card"]) == (1, False, None)
    assert not list(tmp_path.rglob("*tuned*"))


def test_a_contestant_with_two_receivers_answers_in_both(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "steady.fake", base_ms=4)
    one = Candidate(BackendName.FAKE, Precision.F32, 1, 1, 8)
    entry = Entry(str(model), "steady", Objective(1.0), ())
    with (
        Journal(None) as journal,
        closing(Contestant(one, entry, journal, 50.0, Ceiling(100.0), receivers=2)) as contestant,
    ):
        contestant.start()
        server = next(
            child
            for child in psutil.Process().children()
            if str(model) in " ".join(child.cmdline())
        )
        names = [child.name() for child in server.children(recursive=True)]
        assert names.count("envoy") == 2
        assert contestant.slice(1.0, "one") > 0


def test_a_contestant_serves_one_version_and_does_not_write_where_the_operator_s_server_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        write_fake(tmp_path / "steady" / str(version) / "model.fake", base_ms=4)
    log = tmp_path / "access.log"
    monkeypatch.setenv("HEADRACE_SERVER__ACCESS_LOG", str(log))
    monkeypatch.setenv("HEADRACE_SERVER__DEFAULT_MODEL", "other")
    monkeypatch.setenv("HEADRACE_DEFAULTS__PRELOAD", "false")
    model = find_model(str(tmp_path / "steady"), 1.0)
    one = Candidate(BackendName.FAKE, Precision.F32, 1, 1, 8)
    entry = Entry(model.named, model.name, Objective(1.0), (), version=model.found.version)
    with (
        Journal(None) as journal,
        closing(Contestant(one, entry, journal, 50.0, Ceiling(100.0))) as contestant,
    ):
        contestant.start()
        below = psutil.Process().children(recursive=True)
        lines = [" ".join(one.cmdline()) for one in below]
        (engine,) = [line for line in lines if "engine.worker steady" in line]
        assert "steady/2" in engine
        assert contestant.slice(1.0, "one") > 0
    assert not log.exists()


def test_a_contestant_that_takes_too_long_to_start_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contestant_module, "_START_S", 0.01)
    one = Candidate(BackendName.FAKE, Precision.F32, 1, 1, 8)
    entry = Entry(str(write_fake(tmp_path / "m.fake")), "m", Objective(1.0), ())
    with (
        Journal(None) as journal,
        closing(Contestant(one, entry, journal, 50.0, Ceiling(100.0))) as contestant,
        pytest.raises(StartError, match="it was not ready in 0 s"),
    ):
        contestant.start()


def test_an_answer_is_waited_for_as_long_as_the_objective_allows(tmp_path: Path) -> None:
    one = Candidate(BackendName.FAKE, Precision.F32, 1, 1, 1)
    entry = Entry(str(write_fake(tmp_path / "m.fake")), "m", Objective(30.0), ())
    with (
        Journal(None) as journal,
        closing(Contestant(one, entry, journal, 1.0, Ceiling(1.0))) as contestant,
    ):
        assert contestant._ready().timeout_s == 60.0


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "sigterm", "sighup"],
)
def test_ended_early_it_has_kept_what_it_measured_and_leaves_nobody_behind(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    model = write_fake(tmp_path / "steady.fake", base_ms=4, per_row_ms=0.5)
    words = ["tune", str(model), "--slo", "20ms", "--budget", "60s", "--json"]
    running = subprocess.Popen(
        [sys.executable, "-m", "headrace", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    )
    try:
        wait_for_a_line(tmp_path, running)
        labs = psutil.Process(running.pid).children(recursive=True)
        assert labs
        running.send_signal(number)
        assert running.wait(20) == status
    finally:
        running.kill()
        running.communicate()
    kept = next((tmp_path / "tune").iterdir()).read_text().splitlines()
    assert len(kept) >= 2
    _, left = psutil.wait_procs(labs, timeout=10)
    assert not left


def wait_for_a_line(cache: Path, running: subprocess.Popen[bytes]) -> None:
    """Until something was measured."""
    until(lambda: running.poll() is not None or _measured(cache), 60)


def _measured(cache: Path) -> bool:
    journals = (cache / "tune").glob("*.jsonl")
    return any("time" in journal.read_text() for journal in journals)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.onnx", "--slo", "50ms"], "no such file"),
        (["x.fake", "--slo", "fast"], "should be as p99=50ms"),
        (["x.fake", "--slo", "50ms", "--max-drop", "half"], "should be a share"),
        (["x.fake", "--slo", "50ms", "--budget", "4"], "a time with its unit"),
        (["x.fake", "--slo", "50ms", "--rate", "-1"], "more than 0"),
        (["x.fake", "--slo", "50ms", "--output", "nowhere/card.yaml"], "folder that is there"),
        (["x.fake", "--slo", "50ms", "--data", "nowhere"], "nowhere"),
        (["s3://bucket/model", "--slo", "50ms"], "fetch it first"),
        (["memory", "--slo", "50ms"], "remembers what was sent before"),
        (["broken.onnx", "--slo", "50ms"], "cannot be tuned"),
    ],
)
def test_what_cannot_be_tuned_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_SERVER__CACHE_DIR", str(tmp_path / "cache"))
    write_fake(tmp_path / "x.fake")
    write_delay(tmp_path / "memory")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert command("tune", *arguments) == 2
    assert words in capsys.readouterr().err
