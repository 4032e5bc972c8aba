"""SIGTERM: not ready, nothing in flight is lost, exit 0; or 1 when the limit cut something off."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np
import psutil
import pytest

from tests.e2e.clients import grpc_infer, grpc_request, metrics
from tests.e2e.crowd import Crowd, Load, codes
from tests.e2e.models import write_fake, write_sleeper
from tests.e2e.server import Server, frozen, has_ended, until

pytestmark = pytest.mark.slow

ONE = ("--instances", "1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_under_load_every_request_ends_well_and_the_status_is_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    write_fake(tmp_path / "quick.fake", base_ms=2)
    write_sleeper(tmp_path)
    with Server(tmp_path, "--max-batch", "8") as server:
        with (
            grpc.insecure_channel(server.address) as channel,
            Crowd(server.address) as crowd,
            Load(server.address, "quick") as load,
        ):
            until(lambda: len(load.answers) > 50)
            long = np.ones((60, 4), np.float32)
            calls = [
                grpc_infer(channel).future(grpc_request("sleeper", long)),
                grpc_infer(channel).future(grpc_request("sleeper", long)),
            ]
            asked = [crowd.ask("sleeper", rows=60) for _ in range(2)]
            until(lambda: _held(server, "sleeper") == 4)
            children = server.children()
            server.signal(number)
            assert all(one.result().status == 200 for one in asked)
            assert all(call.result().outputs[0].shape == [60, 4] for call in calls)
            load.join()  # each of them was told that its connection closes
        assert codes(load.answers) == {"ok": len(load.answers)}
        assert server.wait(10) == 0
        assert all(map(has_ended, children))
    assert "Traceback" not in server.output
    assert "cut_off" not in server.output


# A server whose controlling terminal is its standard input, as a shell would start it.
ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "headrace", "serve", *sys.argv[1:]])
"""


def test_when_its_terminal_closes_it_drains_and_leaves_nothing(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "echo.fake")
    ours, its = os.openpty()
    with TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, str(model), "--port", "0", *ONE],
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            env={**os.environ, "TMPDIR": folder},
        )
        try:
            os.close(its)
            output = b""
            while b"is ready" not in output:
                output += os.read(ours, 4096)
            assert any(Path(folder).iterdir())
            children = psutil.Process(process.pid).children(recursive=True)
            os.close(ours)
            assert process.wait(30) == 0
            assert all(map(has_ended, children))
            assert list(Path(folder).iterdir()) == []
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_is_ignored_ends_nothing(tmp_path: Path, number: signal.Signals) -> None:
    server = Server(write_fake(tmp_path / "echo.fake"), *ONE)
    before = signal.signal(number, signal.SIG_IGN)  # as nohup does, and a script with `&`
    try:
        server.start()
    finally:
        signal.signal(number, before)
    try:
        server.wait_until_ready()
        server.signal(number)
        with Crowd(server.address) as crowd:
            assert crowd.ask("echo").result().status == 200
        assert "draining" not in server.output
        assert server.stop() == 0
    finally:
        server.kill()


def test_while_it_drains_it_is_not_ready_and_still_answers(tmp_path: Path) -> None:
    with Server(write_fake(tmp_path / "echo.fake"), *ONE) as server, Crowd(server.address) as crowd:
        host, _, port = server.address.rpartition(":")
        probe = http.client.HTTPConnection(host, int(port), timeout=10)
        assert _get(probe, "/v2/health/ready") == 200
        with frozen(server.engine("echo")):
            asked = crowd.ask("echo")
            until(lambda: _held(server, "echo") == 1)
            server.signal(signal.SIGTERM)
            server.wait_for("draining")
            assert _get(probe, "/v2/health/ready") == 503
            assert _get(probe, "/v2/health/live") == 200
            assert server.process.poll() is None
        probe.close()
        assert asked.result().status == 200
        assert server.wait(10) == 0


def test_what_takes_longer_than_the_limit_is_cut_off_and_the_status_is_1(tmp_path: Path) -> None:
    limit = {"HEADRACE_SERVER__DRAIN_TIMEOUT_S": "1"}
    model = write_fake(tmp_path / "echo.fake")
    with Server(model, *ONE, environment=limit) as server, Crowd(server.address) as crowd:
        engine = server.engine("echo")
        with frozen(engine):
            asked = crowd.ask("echo")
            until(lambda: _held(server, "echo") == 1)
            started_s = time.monotonic()
            server.signal(signal.SIGTERM)
            assert server.wait(20) == 1
            assert 1 <= time.monotonic() - started_s < 6
        assert asked.result().status == 0
        assert has_ended(engine)
    assert "requests_cut_off" in server.output
    assert "Traceback" not in server.output


def test_the_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with (
        Server(write_fake(tmp_path / "echo.fake"), *ONE) as server,
        Crowd(server.address) as crowd,
        frozen(server.engine("echo")),
    ):
        asked = crowd.ask("echo")
        until(lambda: _held(server, "echo") == 1)
        server.signal(signal.SIGINT)
        server.wait_for("draining")
        server.signal(signal.SIGINT)
        assert server.wait(10) == 1  # the limit is 30 s
        assert asked.result().status == 0


def test_sigterm_while_a_model_still_loads_ends_at_once_with_0(tmp_path: Path) -> None:
    write_fake(tmp_path / "slow.fake", load_ms=60_000)
    write_fake(tmp_path / "quick.fake")
    server = Server(tmp_path)
    server.start()
    try:
        server.wait_for("quick version 1")
        assert _stop_quickly(server) == 0
    finally:
        server.kill()
    assert "Traceback" not in server.output
    assert "model_failed" not in server.output


def test_sigterm_before_anything_is_up_ends_at_once_with_0(tmp_path: Path) -> None:
    server = Server(write_fake(tmp_path / "quick.fake"))
    server.start()
    try:
        until(server.children)
        assert _stop_quickly(server) == 0
    finally:
        server.kill()
    assert "Traceback" not in server.output


def test_sigterm_while_an_engine_restarts_ends_with_0(tmp_path: Path) -> None:
    with Server(write_fake(tmp_path / "echo.fake"), *ONE) as server:
        for deaths in (1, 2):  # the second restart waits for its back-off
            server.engine("echo").kill()
            server.wait_for(rf"(?s)(engine_died.*){{{deaths}}}")
        assert _stop_quickly(server) == 0
    assert "Traceback" not in server.output


def test_a_receiver_that_dies_while_it_drains_is_told_by_the_status(tmp_path: Path) -> None:
    with (
        Server(write_fake(tmp_path / "echo.fake"), *ONE) as server,
        Crowd(server.address) as crowd,
        frozen(server.engine("echo")),
    ):
        asked = crowd.ask("echo")
        until(lambda: _held(server, "echo") == 1)
        server.signal(signal.SIGTERM)
        server.wait_for("draining")
        server.receiver().kill()
        assert asked.result().status == 0
        assert server.wait(10) == 1
    assert "Traceback" not in server.output


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "echo.fake")
    # Not in tmp_path, which may be too long for the path of a socket.
    with TemporaryDirectory() as name:
        folder = Path(name)
        with Server(model, environment={"TMPDIR": name}) as server:
            assert list(folder.iterdir())
            assert server.stop() == 0
        assert not list(folder.iterdir())


def _stop_quickly(server: Server) -> int:
    children = server.children()
    started_s = time.monotonic()
    status = server.stop()
    assert time.monotonic() - started_s < 5
    until(lambda: all(map(has_ended, children)))
    return status


def _held(server: Server, model: str) -> float:
    """How many requests a model has, running and waiting, when each is a batch of its own."""
    page = metrics(server.url)
    label = f'{{model="{model}",version="1"}}'
    return page[f"headrace_queue_length{label}"] + page[f"headrace_running_batches{label}"]


def _get(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status
