"""What processes take is read from the kernel, and their roles from their command lines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from headrace.observe.processes import ProcessCollector, ProcessUse, processes

_WAITS = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like an engine."""
    command = [sys.executable, "-c", _WAITS, "headrace.engine.worker my model/7"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()  # by then the kernel knows its command line
        yield process


def test_a_child_is_told_by_its_command_line(child: subprocess.Popen[bytes]) -> None:
    found = {one.pid: one for one in processes(os.getpid())}
    engine = found[child.pid]
    assert (engine.role, engine.model, engine.version) == ("engine", "my model", "7")
    assert found[os.getpid()].role == "supervisor"


def test_what_a_nursery_forked_is_told_too() -> None:
    code = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {_WAITS!r}, "headrace.engine." + "worker m/1"])
"""
    command = [sys.executable, "-c", code, "headrace.engine.nursery"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = {(one.role, one.model) for one in processes(os.getpid())}
    assert {("nursery", ""), ("engine", "m")} <= found


def test_time_and_memory_are_those_of_the_kernel() -> None:
    one = next(processes(os.getpid()))
    ours = psutil.Process()
    used = ours.cpu_times()
    assert one.cpu_s == pytest.approx(used.user + used.system, abs=0.1)
    assert one.resident_bytes == pytest.approx(ours.memory_info().rss, rel=0.05)


def test_one_that_has_ended_is_left_out() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert list(processes(ended.pid)) == []


def test_every_process_has_its_labels() -> None:
    uses = [
        ProcessUse(1, "supervisor", "", "", 1.5, 100),
        ProcessUse(2, "engine", "m", "3", 2.5, 200),
    ]
    cpu, memory = ProcessCollector(lambda: uses).collect()
    assert [(s.labels["process"], s.labels["model"], s.value) for s in cpu.samples] == [
        ("supervisor", "", 1.5),
        ("engine", "m", 2.5),
    ]
    assert [sample.value for sample in memory.samples] == [100, 200]
