"""``headrace plan`` against a real server, and without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headrace.plan import measure
from headrace.plan.rig import Rig
from headrace.plan.seen import Seen
from tests.e2e.clients import command, http
from tests.e2e.models import write_fake
from tests.e2e.server import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two instances of a model whose run takes 4 ms and 0.5 ms a row; and one beside it."""
    folder = tmp_path_factory.mktemp("models")
    write_fake(folder / "steady" / "2" / "model.fake", base_ms=4, per_row_ms=0.5)
    write_fake(folder / "other" / "1" / "model.fake", base_ms=1)
    with Server(folder, "--slo-ms", "50", "--instances", "2", "--max-batch", "32") as running:
        yield running


class Done(NamedTuple):
    """What a command said, and its status."""

    returncode: int
    stdout: str
    stderr: str


Plan = Callable[..., Done]


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Plan:
    """``headrace plan``, in this process."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str | Path) -> Done:
        status = command("plan", *arguments)
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def planned(plan: Plan) -> Callable[..., Any]:
    def run(*arguments: str | Path) -> Any:
        done = plan(*arguments, "--json", "--seeds", "2")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_profile_is_what_warm_up_measured(server: Server) -> None:
    for path in ("/models/steady/profile", "/models/steady/versions/2/profile"):
        status, found, _ = http(server.url + path)
        assert status == 200
        assert (found["name"], found["version"], found["instances"]) == ("steady", 2, 2)
        assert found["slo_ms"] == 50
        assert {one["elements"] for one in found["measurements"]} == {4}
        for one in found["measurements"]:
            assert one["median_s"] >= 0.004 + 0.0005 * one["rows"]
    assert http(f"{server.url}/models/steady/versions/1/profile")[0] == 404
    assert http(f"{server.url}/models/nobody/profile")[0] == 404


def test_a_plan_is_made_of_a_server_and_again_of_what_it_saved(
    server: Server, tmp_path: Path, planned: Callable[..., Any]
) -> None:
    path = tmp_path / "steady.json"
    first = planned(server.url, "--model", "steady", "--save", path)
    assert first["model"] == "steady"
    assert 0 < first["limit_rps"]["mean"] < 2 * 32 / 0.020 * 1.01
    assert [round(level["share_of_limit"], 2) for level in first["levels"]] == [0.3, 0.6, 0.8, 0.95]
    assert planned("--profile", path) == first


def test_the_table_says_what_limits_and_what_a_rate_needs(server: Server, plan: Plan) -> None:
    done = plan(server.url, "--model", "steady", "--rate", "9000", "--loads", "50", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    for words in ("Highest rate in time", "p99 ms", "50 %", "asked", "What limits"):
        assert words in done.stdout
    assert "9,000 requests/s need" in " ".join(done.stdout.split())


def test_what_instances_cost_each_other_is_counted(
    server: Server, planned: Callable[..., Any]
) -> None:
    alone = planned(server.url, "--model", "steady", "--loads", "50")
    crowded = planned(server.url, "--model", "steady", "--loads", "50", "--scaling", "1:100,2:160")
    assert crowded["limit_rps"]["mean"] < 0.9 * alone["limit_rps"]["mean"]
    assert crowded["scaling"]["contention"]["value"] == pytest.approx(0.25)


def _hurry(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Drive two rounds, and each load for so long."""
    monkeypatch.setattr(measure, "_ROUNDS", 2)
    for name in ("_FIRST_S", "_LEAST_S", "_MOST_S"):
        monkeypatch.setattr(measure, name, seconds)
    lengths = measure._AT_FIRST._replace(quiet_s=seconds, busy_s=seconds, middle_s=seconds)
    monkeypatch.setattr(measure, "_AT_FIRST", lengths)
    halves = measure._IN_TURN._replace(quiet_s=seconds / 2, busy_s=seconds / 2, middle_s=1.0)
    monkeypatch.setattr(measure, "_IN_TURN", halves)


def test_real_loads_are_put_beside_the_plan_and_their_calibration_is_kept(
    server: Server,
    tmp_path: Path,
    plan: Plan,
    planned: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing here is said of how well they agree, for which they are as long as they are.
    _hurry(monkeypatch, 2.0)
    lanes: list[int | None] = []
    ask = Rig.seen

    def seen(rig: Rig) -> Seen:
        lanes.append((told := ask(rig)).lanes)
        return told

    monkeypatch.setattr(Rig, "seen", seen)
    path = tmp_path / "steady.json"
    measuring = (server.url, "--model", "steady", "--measure", "--loads", "30", "--save", path)
    pytest.importorskip("matplotlib")
    page = tmp_path / "steady.html"
    done = plan(*measuring, "--json", "--seeds", "2", "--report", page)
    found = json.loads(done.stdout)
    assert found["ok"], done.stderr
    (one,) = found["measured"]
    # How near they are is for a quiet machine to say: `python -m benchmarks plan`.
    assert one["trusted"] in {True, False, None}
    assert done.returncode == (1 if one["trusted"] is False else 0)
    assert one["share_of_limit"] == pytest.approx(
        one["rate_rps"] / found["limit_rps"]["mean"], rel=0.2
    )
    for name in ("p50_ms", "p99_ms"):
        assert one[name]["predicted"] > 4.5
        assert one[name]["measured"] > 4.5
    assert all(batch >= 1 for batch in one["mean_batch"])
    assert all(0 < busy < 1.2 for busy in one["busy"])
    assert set(lanes) <= {1, 2}
    assert 0.5 <= one["lanes_on"] <= 1
    assert found["verdict"]
    kept = json.loads(path.read_text())["calibration"]
    assert len(kept["middle_trace"]) > 100
    assert len(kept["ways_s"]) > 10
    assert "middle_trace" not in found["calibration"]
    assert len(found["others_cores"]) == 2
    assert "predicted (lines), and measured (dots)" in page.read_text()
    # A run of this model sleeps for as long as it was told, and then some.
    assert 0.8 < found["calibration"]["stretch"] < 3
    assert 0.5 < found["calibration"]["middle_slower"] < 3
    assert found["calibration"]["full_rps"] > found["calibration"]["middle_rps"] > 0
    assert found["calibration"]["cpu_s"] > found["calibration"]["each_s"] > 0
    again = planned("--profile", path, "--loads", "30")
    assert again["calibration"] == found["calibration"]
    assert again["limit_rps"] == found["limit_rps"]


def test_where_no_rate_is_inside_the_objective_measuring_says_so(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(monkeypatch, 0.5)
    model = write_fake(tmp_path / "slow.fake", base_ms=20)
    with Server(model, "--slo-ms", "5", "--instances", "1") as running:
        done = plan(running.url, "--measure", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "No rate is inside the objective" in " ".join(done.stdout.split())
    assert "predicted / measured" not in done.stdout


def test_a_version_that_requests_do_not_reach_is_not_measured(plan: Plan, tmp_path: Path) -> None:
    for version in (1, 2):
        write_fake(tmp_path / "m" / str(version) / "model.fake", base_ms=version)
    settings = tmp_path / "headrace.yaml"
    settings.write_text(f"models: [{{path: {tmp_path / 'm'}, versions: all}}]\n")
    with Server("--config", settings) as running:
        done = plan(running.url, "--measure", "--model-version", "1")
    assert done.returncode == 2
    assert "go to version 2 of 'm': leave --model-version out" in done.stderr


def test_which_model_must_be_said_where_there_are_several(server: Server, plan: Plan) -> None:
    done = plan(server.url)
    assert done.returncode == 2
    assert "--model; it serves: other, steady" in done.stderr
    refused = plan(server.url, "--model", "nobody", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["http://127.0.0.1:1"], 1, "is the server running"),
        (["--profile", "nowhere.json"], 2, "nowhere.json: No such file"),
        (["here", "--profile", "x.json"], 2, "needs no server"),
        (["--loads", "many"], 2, "should be as 30,60,80,95"),
        (["--scaling", "1:2:3"], 2, "should be as 1:410,2:760,4:1200"),
        (["--measure", "--profile", "x.json"], 2, "drives the server as it is: leave --profile"),
        (["--report", "nowhere/plan.html"], 2, "a file in a folder that is there"),
        (["--measure", "--slo-ms", "5"], 2, "leave --slo-ms out"),
        (["--scaling", "1:400"], 2, "two or more numbers of instances"),
    ],
)
def test_what_cannot_be_planned_says_why(
    plan: Plan, arguments: list[str], status: int, words: str
) -> None:
    done = plan(*arguments)
    assert done.returncode == status
    assert words in done.stderr


def test_with_json_it_is_told_there_what_is_to_be_changed(plan: Plan) -> None:
    for arguments in (["--profile", "nowhere.json"], ["--rate", "1", "--per-day", "2"]):
        done = plan(*arguments, "--json")
        assert done.returncode == 2
        said = json.loads(done.stdout)
        assert (said["ok"], said["code"]) == (False, "settings")


def test_flags_that_do_not_go_together_say_so(server: Server, plan: Plan) -> None:
    for arguments, words in (
        (["--rate", "1", "--per-day", "2"], "not both"),
        (["--rows", "1000"], "at most 32 rows"),
        (["--instances", "0"], "must be at least 1"),
        (["--per-day", "inf"], "the rate must be more than 0, and a number"),
        (["--slo-ms", "nan"], "the objective must be more than 0, and a number"),
        (["--elements", "-5"], "elements must be at least 0, not -5"),
    ):
        done = plan(server.url, "--model", "steady", *arguments)
        assert done.returncode == 2
        assert words in done.stderr
