"""The sender process, and what crosses to it and back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import headrace.load
from headrace.errors import SettingsError, StartError
from headrace.load.arrivals import constant, poisson
from headrace.load.generator import capacity
from headrace.load.parcel import read_order, read_result, write_order, write_result
from headrace.load.payload import APIS, make_target
from headrace.load.plan import ClosedLoop, Message, OpenLoop, Plan, Protocol, Target, connections
from headrace.load.report import make_report
from headrace.load.result import NOT_SENT, OK, Answer, Kind, Outcome, Result
from headrace.load.rows import Rows
from headrace.load.run import Sending, run
from tests.e2e.server import Server
from tests.unit.load.servers import METHOD, HttpServer

TARGET = Target(
    Protocol.GRPC,
    "[::1]:8000",
    METHOD,
    (Message(b"\0\xff", (("x-own", "1"),)), Message(b""), Message(b"end")),
    headers=(("grpc-timeout", "1S"),),
    timeout_s=2.5,
    connections=3,
    keep=2,
)


@pytest.mark.parametrize("plan", [OpenLoop(poisson(100, 2.0, 1), 77), ClosedLoop(5, 1.5)])
def test_an_order_arrives_as_it_was_given(tmp_path: Path, plan: Plan) -> None:
    write_order(tmp_path / "order", plan, TARGET)
    found, target = read_order(tmp_path / "order")
    assert target == TARGET
    assert type(found) is type(plan)
    assert found.duration_s == plan.duration_s
    if isinstance(plan, OpenLoop) and isinstance(found, OpenLoop):
        np.testing.assert_array_equal(found.arrivals.times_s, plan.arrivals.times_s)
        assert found.max_outstanding == 77
    else:
        assert found == plan


@pytest.mark.parametrize("concurrency", [None, 4])
def test_a_result_arrives_as_it_was_given(tmp_path: Path, concurrency: int | None) -> None:
    rows, descriptor = Rows.create(5)
    shared = Rows.join(descriptor, 5)  # as the sender has them
    os.close(descriptor)
    for index, (sent_s, done_s, outcome) in enumerate([(0.01, 0.2, 0), (0.0, 0.1, 1)]):
        shared.intended_s[index] = index / 10
        shared.sent_s[index], shared.done_s[index] = sent_s, done_s
        shared.outcome[index] = outcome
    shared.count = 2
    result = Result(
        *shared.columns(),
        outcomes=(OK, NOT_SENT),
        answers={0: Answer({"a": "b"}, b"\0\xff"), 3: Answer({}, b"")},
        started_s=12.5,
        duration_s=1.0,
        cpu_s=0.25,
        concurrency=concurrency,
    )
    write_result(tmp_path / "result", result)
    found = read_result(tmp_path / "result", rows)
    for name in ("intended_s", "sent_s", "done_s", "outcome"):
        np.testing.assert_array_equal(getattr(found, name), getattr(result, name))
    for name in ("outcomes", "answers", "started_s", "duration_s", "cpu_s", "concurrency"):
        assert getattr(found, name) == getattr(result, name)
    np.testing.assert_array_equal(found.sent_s, [0.01, np.nan])
    assert found.is_kind(Kind.NOT_SENT).tolist() == [False, True]


@pytest.mark.parametrize(
    ("plan", "protocol", "asked", "expected"),
    [
        (ClosedLoop(64, 1), Protocol.HTTP, None, 64),
        (ClosedLoop(64, 1), Protocol.GRPC, None, 2),
        (OpenLoop(constant(1000, 1)), Protocol.HTTP, None, 256),
        (OpenLoop(constant(1000, 1), 10), Protocol.HTTP, None, 10),
        (OpenLoop(constant(5, 1)), Protocol.HTTP, None, 5),
        (OpenLoop(constant(1000, 1)), Protocol.HTTP, 7, 7),
    ],
)
def test_connections_are_as_many_as_asked_or_as_the_plan_can_use(
    plan: Plan, protocol: Protocol, asked: int | None, expected: int
) -> None:
    target = Target(protocol, "h:1", "/", (Message(b""),), connections=asked)
    assert connections(plan, target) == expected


def _sender() -> psutil.Process:
    """The one sender process of ours; other tests may have servers running beside it."""
    (sender,) = [
        child for child in psutil.Process().children() if "headrace.load.sender" in child.cmdline()
    ]
    return sender


@pytest.mark.slow
def test_a_run_is_sent_from_another_process_and_told_when_it_started() -> None:
    with HttpServer() as server:
        target = Target(Protocol.HTTP, server.address, METHOD, (Message(b"x"),), keep=1)
        before_s = time.monotonic()
        with Sending(OpenLoop(constant(100, 0.2)), target) as sending:
            started_s = sending.wait_started()
            sender = _sender()
            result = sending.result()
    assert before_s < started_s == result.started_s
    assert server.stage.came == len(result) == 20
    assert set(result.outcomes) == {OK}
    assert result.answers[0].body == b"x"
    assert not psutil.pid_exists(sender.pid)


@pytest.mark.slow
def test_what_was_ordered_is_gone_once_the_sender_has_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with HttpServer() as server:
        target = Target(Protocol.HTTP, server.address, METHOD, (Message(b"x"),))
        with Sending(OpenLoop(constant(100, 0.2)), target) as sending:
            assert [path.name for path in tmp_path.glob("*/*")] == ["order-0.npz"]
            sending.wait_started()
            assert list(tmp_path.glob("*/*")) == []
            sending.result()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_more_connections_than_files_may_be_open_are_allowed_where_that_can_be() -> None:
    code = """
import resource, sys
from headrace.errors import StartError
from headrace.load.plan import *
from headrace.load.generator import generate
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
for count in (120, 185, 250):
    target = Target(Protocol.HTTP, sys.argv[1], "/", (Message(b"x"),))
    try:
        print(len(set(generate(ClosedLoop(count, 0.2), target).outcomes)))
    except StartError as error:
        print(error.message)
"""
    with HttpServer() as server:
        command = [sys.executable, "-c", code, server.address]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert re.sub(r"and \d+ other", "and N other", ran.stdout) == (
        "1\n1\n250 connections and N other files are more than the 200 open files that are "
        "allowed: raise the limit (ulimit -n), or give fewer --connections\n"
    )


def test_a_time_too_long_for_its_rows_is_told() -> None:
    target = Target(Protocol.HTTP, "h:1", "/", (Message(b""),))
    for duration_s in (1e9, 1e15):
        with pytest.raises(SettingsError, match="give a shorter --duration-s"):
            run(ClosedLoop(1, duration_s), target)
        with pytest.raises(SettingsError, match="give a shorter --duration-s"):
            Rows.alone(capacity(ClosedLoop(1, duration_s)))


@pytest.mark.slow
def test_a_target_that_does_not_answer_is_an_error_with_its_reason() -> None:
    target = Target(Protocol.HTTP, "nowhere.invalid:80", "/", (Message(b""),))
    with pytest.raises(StartError, match=r"could not be sent: cannot find nowhere\.invalid"):
        run(ClosedLoop(1, 1.0), target)
    with Sending(ClosedLoop(1, 1.0), target) as sending, pytest.raises(StartError, match="nowhere"):
        sending.wait_started()


@pytest.mark.slow
def test_a_sender_that_was_killed_is_an_error_and_one_left_alone_is_stopped() -> None:
    with HttpServer() as server:
        target = Target(Protocol.HTTP, server.address, METHOD, (Message(b"hang"),))
        with Sending(ClosedLoop(1, 60.0), target) as sending:
            sending.wait_started()
            sender = _sender()
            os.kill(sender.pid, signal.SIGKILL)
            with pytest.raises(StartError, match="exit status -9"):
                sending.result()
        with Sending(ClosedLoop(1, 60.0), target) as sending:
            sending.wait_started()
            sender = _sender()
        assert not psutil.pid_exists(sender.pid)


# --- against Headrace itself ----------------------------------------------------------------------


@pytest.mark.slow
def test_every_api_of_a_real_server_is_loaded_and_its_answers_are_read(tmp_path: Path) -> None:
    (tmp_path / "double.fake").write_text("scale: 2\n")
    inputs = [{"x": np.full((1, 4), number, np.float32)} for number in range(3)]
    with Server(tmp_path / "double.fake") as server:
        for api, wanted in APIS.items():
            target = make_target(api, server.address, "double", inputs, keep=3, connections=2)
            result = run(OpenLoop(constant(50, 0.2)), target)
            assert set(result.outcomes) == {OK}
            assert len(result) == 10
            for index, answer in result.answers.items():
                (output,) = wanted.decode(answer).values()
                np.testing.assert_array_equal(output, inputs[index]["x"] * 2)
        unknown = make_target("oip-grpc", server.address, "nobody", inputs)
        report = make_report(run(ClosedLoop(2, 0.1), unknown))
    assert report.ok == 0
    assert [name for name, _ in report.outcomes] == [str(Outcome("NOT_FOUND", "model_not_found"))]


def test_the_map_names_every_module() -> None:
    told = headrace.load.__doc__ or ""
    folder = Path(headrace.load.__path__[0])
    missing = [p.stem for p in folder.glob("[!_]*.py") if f"``{p.stem}``" not in told]
    assert missing == []
