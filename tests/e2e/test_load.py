"""``headrace load`` against a real server: every protocol, both loops, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import cli
from headrace.load.command import compare, find
from headrace.load.command.grammar import PROTOCOLS
from headrace.load.search import Search
from tests.e2e.clients import metrics, outcomes
from tests.e2e.models import write_fake, write_sleeper
from tests.e2e.server import Server, until

# A busy machine makes senders late, and these tests are of other things.
_ANY_LAG = "--lag-limit-ms 10000"

_ROWS = 'headrace_batch_rows_sum{model="linear",version="3"}'

Captured = pytest.CaptureFixture[str]


def _load(url: str, words: str, capsys: Captured) -> tuple[int, dict[str, Any]]:
    status = cli.main(["load", url, *words.split(), "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_is_loaded_with_requests_made_from_what_the_server_says(
    server: Server, protocol: str, capsys: Captured
) -> None:
    words = f"--model linear --protocol {protocol} --rate 100 --duration-s 0.5 --warm-up-s 0"
    status, told = _load(
        server.url, f"{words} --arrivals constant --slo-ms 5000 {_ANY_LAG}", capsys
    )
    assert (status, told["ok"], told["failure"]) == (0, True, None)
    report = told["report"]
    assert (report["planned"], report["ok"], report["outcomes"]) == (50, 50, {})
    assert report["goodput_per_s"] == report["offered_per_s"] == 100
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99.9"]
    assert told["loop"] == {"kind": "open", "arrivals": "constant", "rate": 100}


@pytest.mark.parametrize("protocol", ["oip-grpc", "oip-rest"])
def test_callers_are_a_mode_of_their_own(server: Server, protocol: str, capsys: Captured) -> None:
    words = f"--model linear --protocol {protocol} --concurrency 4 --duration-s 0.5 --senders 2"
    status, told = _load(server.url, words, capsys)
    assert status == 0
    assert told["loop"] == {"kind": "closed", "concurrency": 4}
    assert told["report"]["concurrency"] == 4
    assert told["report"]["ok"] > 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (f"URL --rate 50 --duration-s 0.4 {_ANY_LAG}", "answered"),
        (f"URL --find-max --slo-ms 5000 --rate 5 --duration-s 0.3 {_ANY_LAG}", "holds"),
        (f"--compare URL SAME --rate 20 --duration-s 2 {_ANY_LAG}", "answers/s"),
    ],
    ids=["once", "find", "compare"],
)
def test_the_numbers_are_told_though_the_report_cannot_be_written(
    server: Server, capsys: Captured, monkeypatch: pytest.MonkeyPatch, words: str, found: str
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(find, "Search", partial(Search, most_tries=2))
    same = server.url.replace("127.0.0.1", "localhost")
    where = words.replace("URL", server.url).replace("SAME", same)
    full = f"load --model linear --report /dev/full {where}".split()
    assert cli.main(full) == 2
    shown, said = capsys.readouterr()
    assert found in shown
    assert "--report /dev/full cannot be written: No space left on device" in said
    assert cli.main([*full, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert "/dev/full cannot be written" in told["report_error"]
    assert "failure" in told


def test_several_senders_send_one_plan(server: Server, capsys: Captured) -> None:
    words = (
        f"--model linear --rate 300 --duration-s 0.5 --warm-up-s 0 --arrivals constant {_ANY_LAG}"
    )
    before = outcomes(server.url, "linear").get("ok", 0)
    status, told = _load(server.url, f"{words} --senders 3", capsys)
    assert status == 0
    assert (told["senders"], told["report"]["ok"]) == (3, 150)
    # And the one that was tried before.
    assert outcomes(server.url, "linear")["ok"] - before == 151


@pytest.mark.slow
def test_a_rate_no_sender_can_keep_fails_and_shows_no_number(
    server: Server, capsys: Captured
) -> None:
    words = "--model linear --protocol plain --rate 1000 --duration-s 0.1 --lag-limit-ms 0.001"
    status, told = _load(server.url, words, capsys)
    assert status == 1
    assert not told["ok"]
    assert "ms late at p99, over 0.001 ms: it needs a core of its own" in told["failure"]
    report = told["report"]
    assert report["lag_p99_ms"] > 0.001
    assert report["latency_ms"] is report["per_s"] is report["goodput_per_s"] is None

    assert cli.main(["load", server.url, *words.split()]) == 1
    shown = capsys.readouterr().out
    assert "not ok: the sender was" in shown
    assert "p99 " not in shown.partition("not ok")[0].replace("late at p99", "")
    assert "answered" not in shown


@pytest.mark.slow
def test_a_server_that_keeps_all_connections_waiting_is_not_the_senders_fault(
    tmp_path: Path, capsys: Captured
) -> None:
    with Server(write_sleeper(tmp_path / "models")) as server:  # 10 ms for each, alone
        words = (
            "--model sleeper --protocol oip-rest --connections 1 --rate 200 --duration-s 1 "
            f"{_ANY_LAG}"
        )
        status, told = _load(server.url, words, capsys)
        assert cli.main(["load", server.url, *words.split()]) == 0
    assert (status, told["ok"]) == (0, True)
    report = told["report"]
    assert report["queued_p99_ms"] > 200
    assert report["lag_p99_ms"] < report["queued_p99_ms"] / 2
    shown = capsys.readouterr().out
    assert "all connections were waiting for answers: the server is at its limit" in " ".join(
        shown.split()
    )


def test_people_get_a_table(server: Server, capsys: Captured) -> None:
    words = f"--model linear --rate 50 --duration-s 0.4 --slo-ms 5000 {_ANY_LAG}"
    assert cli.main(["load", server.url, *words.split()]) == 0
    shown = capsys.readouterr().out
    assert f"linear at {server.address}, oip-grpc: open loop, poisson" in shown
    for words in ("within 5000 ms", "(100.00%)", "p99.9", "late at p99"):
        assert words in shown


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_real_requests_are_sent_and_wrong_ones_are_told_before_the_load(
    server: Server, tmp_path: Path, protocol: str, capsys: Captured
) -> None:
    np.save(tmp_path / "x.npy", np.ones((6, 4), np.float32))
    words = f"--model linear --protocol {protocol} --rate 20 --duration-s 0.2 {_ANY_LAG}"
    status, told = _load(server.url, f"{words} --data {tmp_path / 'x.npy'} --batch 3", capsys)
    assert (status, told["report"]["failed"]) == (0, 0)

    (tmp_path / "x.json").write_text('{"x": [[1, 2, 3]]}')
    status, told = _load(server.url, f"{words} --data {tmp_path / 'x.json'}", capsys)
    assert status == 2
    assert "x is of shape (1, 3), the model takes (any,4)" in told["failure"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_model_that_is_not_there_is_told_with_the_servers_words(
    server: Server, protocol: str, capsys: Captured
) -> None:
    status, told = _load(server.url, f"--model nobody --protocol {protocol} --rate 1", capsys)
    assert (status, told["ok"], told["code"]) == (2, False, "settings")
    assert "does not say what the model 'nobody' takes" in told["failure"]
    assert "is --model right?" in told["failure"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_the_server_does_not_take_is_told_with_its_words(
    server: Server, protocol: str, capsys: Captured
) -> None:
    words = f"--model linear --protocol {protocol} --rate 1 --shape x=FP32:1,5"
    status, told = _load(server.url, words, capsys)
    assert status == 2
    assert "does not answer the request: " in told["failure"]
    assert "(invalid_input): " in told["failure"]


@pytest.mark.parametrize("protocol", ["oip-grpc", "plain"])
def test_nobody_at_the_address_is_told(protocol: str, capsys: Captured) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        words = f"--model m --protocol {protocol} --rate 1"
        status, told = _load(url, words, capsys)
        assert (status, told["code"]) == (2, "start")
        assert "no server answers at 127.0.0.1" in told["failure"]
        assert cli.main(["load", url, *words.split()]) == 2
        assert capsys.readouterr().err.startswith("headrace: no server answers at")


class Loading:
    """A load in a process of its own, which something is done to."""

    def __init__(self, url: str, words: str, temporary: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "load", url, *words.split(), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=None if temporary is None else os.environ | {"TMPDIR": str(temporary)},
        )

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def line(self) -> str:
        """The next line of progress."""
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def ended(self) -> tuple[int, str]:
        """The status and what was printed."""
        out, err = self._process.communicate(timeout=60)
        assert err == ""
        return self._process.returncode, out

    def result(self) -> tuple[int, dict[str, Any]]:
        status, out = self.ended()
        return status, json.loads(out)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["oip-grpc", "oip-rest"])
def test_a_server_that_dies_ends_the_numbers_and_not_the_report(
    tmp_path: Path, protocol: str
) -> None:
    path = write_fake(tmp_path / "m" / "1" / "model.fake").parents[1]
    with Server(path) as server:
        words = (
            f"--model m --protocol {protocol} --rate 100 --duration-s 3 --warm-up-s 0 {_ANY_LAG}"
        )
        loading = Loading(server.url, words)
        until(lambda: outcomes(server.url, "m").get("ok", 0) > 50)
        server.kill()
        status, told = loading.result()
    assert status == 1
    assert "the server went away" in told["failure"]
    assert 0.3 < told["server_gone_s"] < 3
    report = told["report"]
    assert report["ok"] >= 50
    assert report["failed"] <= 3
    assert report["window_s"] == told["server_gone_s"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--rate 100", "--concurrency 2"])
def test_ctrl_c_keeps_what_was_measured(server: Server, how: str) -> None:
    before = outcomes(server.url, "linear").get("ok", 0)
    loading = Loading(server.url, f"--model linear {how} --duration-s 60 --warm-up-s 0 {_ANY_LAG}")
    until(lambda: outcomes(server.url, "linear").get("ok", 0) > before + 50)
    loading.signal(signal.SIGINT)
    status, told = loading.result()
    assert status == 1
    assert told["failure"].startswith("interrupted")
    assert told["report"]["ok"] >= 50
    assert told["report"]["window_s"] < 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("--rate 100", signal.SIGTERM),
        ("--rate 100", signal.SIGHUP),  # the terminal is gone
        ("--scenario single-stream --loadgen", signal.SIGTERM),
        ("--find-max --slo-ms 5000", signal.SIGTERM),
    ],
)
def test_a_signal_to_end_leaves_nothing_behind(
    server: Server, tmp_path: Path, how: str, number: signal.Signals
) -> None:
    if "--loadgen" in how:
        pytest.importorskip("mlperf_loadgen")
    before = outcomes(server.url, "linear").get("ok", 0)
    loading = Loading(server.url, f"--model linear {how} --duration-s 60", tmp_path)
    # Past the two seconds in which LoadGen's server is tried.
    until(lambda: list(tmp_path.iterdir()) != [])
    until(lambda: outcomes(server.url, "linear").get("ok", 0) > before + 50)
    if "--loadgen" in how:
        until(lambda: list(tmp_path.glob("headrace-loadgen-*")) != [])
    loading.signal(number)
    assert loading.ended() == (128 + number, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_terminal_that_is_gone_ends_a_load_as_its_signal_does(
    server: Server, tmp_path: Path
) -> None:
    ours, terminal = os.openpty()
    words = "--model linear --rate 100 --duration-s 60"
    with subprocess.Popen(
        [sys.executable, "-m", "headrace", "load", server.url, *words.split()],
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as loading:
        os.close(terminal)
        shown = b""
        while b" sent " not in shown:
            shown += os.read(ours, 4096)
        os.close(ours)
        loading.send_signal(signal.SIGHUP)
    assert loading.returncode == 128 + signal.SIGHUP
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_while_a_server_is_tried_before_ends_it_all(server: Server) -> None:
    pytest.importorskip("mlperf_loadgen")
    before = outcomes(server.url, "linear").get("ok", 0)
    how = "--scenario single-stream --duration-s 60 --loadgen"
    loading = Loading(server.url, f"--model linear {how}")
    until(lambda: outcomes(server.url, "linear").get("ok", 0) > before + 20)
    loading.signal(signal.SIGINT)
    assert loading.ended() == (130, "")


@pytest.mark.slow
def test_sighup_that_is_ignored_ends_no_load(server: Server) -> None:
    """As under nohup."""
    before = outcomes(server.url, "linear").get("ok", 0)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        loading = Loading(server.url, f"--model linear --rate 100 --duration-s 1 {_ANY_LAG}")
    finally:
        signal.signal(signal.SIGHUP, ignored)
    until(lambda: outcomes(server.url, "linear").get("ok", 0) > before + 10)
    loading.signal(signal.SIGHUP)
    status, told = loading.result()
    assert (status, told["interrupted"]) == (0, False)


@pytest.mark.slow
def test_ctrl_c_while_the_server_is_asked_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        loading = Loading(address, "--model m --protocol oip-rest --rate 10")
        connection, _ = silent.accept()
        with connection:
            loading.signal(signal.SIGINT)
            status, told = loading.result()
    assert (status, told["ok"]) == (1, False)
    assert told["failure"] == "interrupted: nothing was measured yet"


@pytest.mark.slow
def test_ctrl_c_before_the_first_try_of_a_search_is_told(server: Server) -> None:
    before = outcomes(server.url, "linear").get("ok", 0)
    loading = Loading(server.url, "--model linear --find-max --slo-ms 5000")
    until(lambda: outcomes(server.url, "linear").get("ok", 0) > before + 20)
    loading.signal(signal.SIGINT)
    status, told = loading.result()
    assert (status, told["tries"]) == (1, [])
    assert told["failure"] == "interrupted: the search was not at its end"


# --- the highest rate -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)  # half a minute of load
def test_the_highest_rate_is_found_and_every_try_is_told(tmp_path: Path, capsys: Captured) -> None:
    """A model that takes 10 ms for each request, alone: more than 100 a second cannot hold."""
    page = tmp_path / "found.html"
    with Server(write_sleeper(tmp_path / "models"), "--instances", "1") as server:
        words = (
            "--model sleeper --find-max --slo-ms 200 --rate 20 --duration-s 1 --warm-up-s 0.1 "
            f"--arrivals constant --report {page}"
        )
        assert cli.main(["load", server.url, *words.split(), "--json"]) in {0, 1}
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert 20 <= told["max_per_s"] <= 130  # in a second it may borrow 0.2 s of the objective
    assert told["fails_at_per_s"] > told["max_per_s"]
    assert told["ok"] or told["is_at_least"]  # a busy machine makes senders late
    assert [line.split()[0] for line in captured.err.splitlines()] == ["try"] * len(told["tries"])
    assert told["tries"][0]["rate"] == 20
    held = [one for one in told["tries"] if one["rate"] == told["max_per_s"]]
    assert sum(one["held"] == "holds" for one in held) >= 2
    assert page.read_text("utf-8").count("<svg ") == 3


@pytest.mark.slow
def test_what_clearly_fails_is_given_up_early(tmp_path: Path, capsys: Captured) -> None:
    with Server(write_sleeper(tmp_path / "models")) as server:
        words = "--model sleeper --find-max --slo-ms 20 --rate 2000 --duration-s 20 --timeout-s 1"
        loading = Loading(server.url, words)
        line = loading.line()
        loading.signal(signal.SIGINT)
        status, told = loading.result()
    assert line.startswith("try  1     2,000.0/s")
    assert "fails clearly" in line
    assert "given up after" in line
    assert told["tries"][0]["given_up"]
    assert told["tries"][0]["report"]["planned"] < 20_000
    assert (status, told["failure"]) == (1, "interrupted: the search was not at its end")


def test_a_search_needs_an_objective(server: Server, capsys: Captured) -> None:
    status, told = _load(server.url, "--model linear --find-max", capsys)
    assert (status, told["failure"]) == (2, "--find-max needs an objective: --slo-ms")


# --- two against each other -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)  # half a minute of load
def test_two_models_are_measured_in_turns_and_told_apart(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_SLICE_S", 0.7)
    # So slow that nothing else on the machine makes as much of a difference.
    folder = write_sleeper(tmp_path / "models", "slow", per_row_ms=100).parent
    write_fake(folder / "fast" / "1" / "model.fake")
    page = tmp_path / "compared.html"
    with Server(folder) as server:
        words = (
            f"load --compare {server.url} {server.address} --model fast --model slow "
            f"--concurrency 1 --duration-s 3 --slo-ms 5000 --json --report {page}"
        )
        assert cli.main(words.split()) == 0
        told = json.loads(capsys.readouterr().out)
        asked = {name: outcomes(server.url, name)["ok"] for name in ("fast", "slow")}
    assert told["slices"] == 6
    assert told["a"]["where"].startswith("fast at ")
    assert told["b"]["where"].startswith("slow at ")
    p50 = told["differences"]["p50_ms"]
    assert p50["can_be_told_apart"]
    assert 1 < p50["low"] <= p50["b_against_a"] <= p50["high"]
    assert told["differences"]["answers_per_s"]["b_against_a"] < 0
    assert told["b"]["report"]["latency_ms"]["p50"] >= 100
    # All of a slice was sent to whose turn it was; what was counted is a little less.
    for side, name in (("a", "fast"), ("b", "slow")):
        assert 0.5 * asked[name] < told[side]["report"]["ok"] < asked[name]
    assert page.read_text("utf-8").count("<svg ") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--compare u:1 u:1 --model m --rate 1", "two servers, or two models of one"),
        ("u:1 --compare u:1 u:2 --model m --rate 1", "give no other URL"),
        ("--compare u:1 u:2 --model m --find-max --slo-ms 1", "--compare or --find-max"),
        ("u:1 --model m --model n --rate 1", "--model once, or twice with --compare"),
        ("--model m --rate 1", "give the server's URL"),
    ],
)
def test_a_comparison_that_is_none_is_told(words: str, message: str, capsys: Captured) -> None:
    assert cli.main(["load", *words.split()]) == 2
    assert message in capsys.readouterr().err


# --- MLPerf's scenarios ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "metric", "rows"),
    [
        ("single-stream", "90th percentile, early-stopping estimate", 1),
        ("multi-stream", "99th percentile, early-stopping estimate", 8),
        (f"server --rate 100 --slo-ms 5000 {_ANY_LAG}", "Poisson arrivals", 1),
        ("offline --concurrency 4", "throughput", 1),
    ],
    ids=["single-stream", "multi-stream", "server", "offline"],
)
def test_a_scenario_is_run_by_its_rules_and_a_short_one_is_not_valid(
    server: Server, words: str, metric: str, rows: int, capsys: Captured
) -> None:
    before = metrics(server.url).get(_ROWS, 0)
    words = f"--model linear --scenario {words} --duration-s 0.4"
    status, told = _load(server.url, words, capsys)
    assert status == 0
    found = told["mlperf"]
    assert found["metric"] == metric
    assert not found["valid"]
    assert found["faults"][0] == "it lasted 0.4 s of at least 600"
    assert told["warm_up_s"] == 0
    # And the query that was tried before.
    sent = told["report"]["planned"] + 1
    assert metrics(server.url)[_ROWS] - before == rows * sent


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("server --rate 1", "server needs --rate and --slo-ms"),
        ("single-stream --rate 1", "single-stream has no --rate"),
        ("single-stream --concurrency 2", "single-stream has one caller"),
        ("multi-stream --batch 3", "multi-stream says itself --batch"),
        ("offline --find-max --slo-ms 1", "one of them"),
    ],
)
def test_what_contradicts_a_scenario_is_told(words: str, message: str, capsys: Captured) -> None:
    assert cli.main(["load", "u:1", "--model", "m", "--scenario", *words.split()]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "scenario", "line"),
    [
        ("single-stream", "SingleStream", "90.0th percentile latency (ns)"),
        ("multi-stream", "MultiStream", "99.0th percentile latency (ns)"),
        ("server --rate 100 --slo-ms 5000", "Server", "Completed samples per second"),
        ("offline --concurrency 4", "Offline", "Samples per second"),
    ],
    ids=["single-stream", "multi-stream", "server", "offline"],
)
def test_mlcommons_own_loadgen_drives_a_scenario(
    server: Server, words: str, scenario: str, line: str, capsys: Captured
) -> None:
    pytest.importorskip("mlperf_loadgen")
    words = f"--model linear --scenario {words} --duration-s 0.5 --loadgen"
    before = outcomes(server.url, "linear").get("ok", 0)
    status, told = _load(server.url, words, capsys)
    assert (status, told["ok"]) == (0, True)
    summary = told["loadgen"]["summary"]
    assert summary["Scenario"] == scenario
    assert float(summary[line]) > 0
    assert summary["Result is"] in {"VALID", "INVALID"}
    assert not told["loadgen"]["valid"]
    assert told["loadgen"]["faults"][0] == "it lasted 0.5 s of at least 600"
    assert outcomes(server.url, "linear")["ok"] - before > 40


@pytest.mark.slow
@pytest.mark.parametrize("words", ["single-stream", "server --rate 100 --slo-ms 5000", "offline"])
def test_ctrl_c_ends_mlcommons_own_loadgen(server: Server, tmp_path: Path, words: str) -> None:
    pytest.importorskip("mlperf_loadgen")
    words = f"--model linear --scenario {words} --duration-s 60 --loadgen"
    loading = Loading(server.url, words, tmp_path)
    until(lambda: any(tmp_path.glob("headrace-loadgen-*/mlperf_log_*")))
    before = outcomes(server.url, "linear").get("ok", 0)
    until(lambda: outcomes(server.url, "linear").get("ok", 0) > before + 20)
    loading.signal(signal.SIGINT)
    assert loading.ended() == (130, "")


def test_people_get_the_summary_of_mlcommons_own_loadgen(server: Server, capsys: Captured) -> None:
    pytest.importorskip("mlperf_loadgen")
    words = "--model linear --scenario single-stream --duration-s 0.2 --loadgen"
    assert cli.main(["load", server.url, *words.split()]) == 0
    shown = capsys.readouterr().out
    assert "MLPerf Results Summary" in shown
    assert "not valid by MLPerf's rules: it lasted 0.2 s of at least 600" in shown


def test_loadgen_that_is_not_installed_is_told(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    status, told = _load("u:1", "--model m --scenario offline --loadgen", capsys)
    assert (status, told["code"]) == (2, "backend_missing")
    assert "pip install 'headrace[mlperf]'" in told["failure"]


# --- the page -------------------------------------------------------------------------------------


def test_a_page_is_written_whole_in_itself(
    server: Server, tmp_path: Path, capsys: Captured
) -> None:
    page = tmp_path / "report.html"
    words = f"--model linear --rate 200 --duration-s 0.5 --slo-ms 5000 {_ANY_LAG} --report {page}"
    status, told = _load(server.url, words, capsys)
    assert status == 0
    text = page.read_text("utf-8")
    assert "linear at 127.0.0.1" in text
    assert text.count("<svg ") == 2
    assert json.dumps(told["report"]["ok"]) in text


@pytest.mark.parametrize("path", ["/nowhere/at/all.html", "."])
def test_a_page_that_cannot_be_written_is_told_before_the_load(path: str, capsys: Captured) -> None:
    words = f"--model linear --rate 1 --report {path}"
    status, told = _load("127.0.0.1:1", words, capsys)  # which nobody is asked for
    assert status == 2
    assert "should be a file in a folder that is there" in told["failure"]
