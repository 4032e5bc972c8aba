"""Triton's traces: who is sampled, which settings are in force, what is written where."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import MalformedRequest, Unsupported
from headrace.receiver.oip.extras import Extras
from headrace.receiver.oip.trace_settings import TraceSettings
from headrace.receiver.tracing.files import Files
from headrace.receiver.tracing.plan import Plan, Sampler
from headrace.receiver.tracing.record import Trace
from headrace.receiver.tracing.tracer import Tracer
from headrace.receiver.tracing.writer import _END, Writer, _replace
from headrace.server_settings import ServerSettings
from headrace.values import Request


@given(st.integers(1, 20), st.none() | st.integers(0, 10), st.integers(0, 200))
def test_one_of_rate_is_taken_and_no_more_than_are_left(
    rate: int, count: int | None, requests: int
) -> None:
    sampler = Sampler(Plan(times=True, rate=rate), count)
    taken = [number for number in range(1, requests + 1) if sampler.take()]
    wanted = [number for number in range(1, requests + 1) if number % rate == 0][:count]
    assert taken == wanted
    assert sampler.left == (None if count is None else count - len(wanted))
    assert sampler.on == (sampler.left != 0)


def test_without_a_level_nothing_is_taken() -> None:
    sampler = Sampler(Plan(rate=1), None)
    assert (sampler.on, sampler.take()) == (False, False)


@given(st.integers(1, 5), st.integers(0, 30))
def test_every_file_has_as_many_traces_as_it_may(frequency: int, traces: int) -> None:
    files, plan = Files(), Plan(file="t", log_frequency=frequency)
    places = [files.place(plan) for _ in range(traces)]
    assert [place.name for place in places] == [f"t.{n // frequency}" for n in range(traces)]
    assert [place.fresh for place in places] == [n % frequency == 0 for n in range(traces)]


def test_a_file_begins_once_until_its_name_is_taken_anew() -> None:
    files = Files()
    for generation in (0, 1):
        plan = Plan(file="t", generation=generation)
        assert [files.place(plan).fresh for _ in range(3)] == [True, False, False]
    assert not files.place(Plan(file="t", generation=0)).fresh  # a late one of before


class Desk:
    """Settings, tracer and writer over one folder, as a server has them."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.writer = Writer(folder)
        self.tracer = Tracer(self.writer)
        self.settings = TraceSettings(self.tracer, self.writer)

    def ask(self, model: str = "m", **inputs: Any) -> Trace | None:
        """Have one request traced, if it is its turn, and answered."""
        request = Request(model, None, inputs, 1.0, id="q")
        trace = self.tracer.begin(request, model, 1, 2.0) if self.tracer.on else None
        if trace is not None:
            trace.started(3.0, 4.0)
            trace.ran(5.0)
            trace.computed(inputs)
            self.tracer.end(trace, 6.0, 7.0)
        return trace


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def ids(path: Path) -> list[int]:
    return [one["id"] for one in read(path) if "model_name" in one]


def test_times_are_written_as_triton_writes_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.settings.change({"trace_level": ["TIMESTAMPS"], "trace_rate": "1"})
    desk.ask()
    desk.writer.stop()
    head, times = read(tmp_path / "trace.json")
    assert head == {"id": 1, "model_name": "m", "model_version": 1, "request_id": "q"}
    assert times == {
        "id": 1,
        "timestamps": [
            {"name": name, "ns": (number + 1) * 10**9}
            for number, name in enumerate(
                (
                    "REQUEST_START",
                    "QUEUE_START",
                    "COMPUTE_START",
                    "COMPUTE_INPUT_END",
                    "COMPUTE_OUTPUT_START",
                    "COMPUTE_END",
                    "REQUEST_END",
                )
            )
        ],
    }


def test_tensors_are_written_up_to_a_bound(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.settings.change({"trace_level": "TENSORS", "trace_rate": 1})
    texts = np.array([b"a" * 500, "é".encode(), b"\xff"], object)
    desk.ask(
        x=np.array([[0.1, 2]], np.float32),
        b=np.array([True, False]),
        t=texts,
        big=np.arange(3000, dtype=np.int64).reshape(2, 1500),
        none=np.zeros((0, 2), np.int8),
    )
    desk.writer.stop()
    assert texts[0] == b"a" * 500  # the request's own is as it was
    head, *rows = read(tmp_path / "trace.json")
    assert head["id"] == 1
    assert [row["activity"] for row in rows] == (
        ["TENSOR_QUEUE_INPUT"] * 5 + ["TENSOR_BACKEND_OUTPUT"] * 5
    )
    x, b, t, big, none = (row["tensor"] for row in rows[:5])
    assert x == {"name": "x", "data": "0.1,2.0", "shape": "1,2", "dtype": "FP32"}
    assert (b["data"], b["dtype"]) == ("1,0", "BOOL")
    assert (t["data"], t["dtype"]) == ("a" * 100 + ",é,\\xff", "BYTES")
    assert (big["shape"], big["truncated"], len(big["data"].split(","))) == ("2,1500", True, 1000)
    assert (none["data"], none["shape"]) == ("", "0,2")


def test_a_request_of_several_entries_and_one_that_failed(tmp_path: Path) -> None:
    trace = Trace(Plan(times=True), {"id": 1})
    trace.queued(Request("m", None, {}, 1.0), 2.0)
    for start_s in (3.0, 5.0):
        trace.started(start_s, start_s + 0.5)
        if start_s == 3.0:
            trace.ran(4.0)
    trace.ended(0.0, 6.0)
    trace.ran(7.0)  # its batch ends after it
    _, times = trace.objects()
    assert [(one["name"], one["ns"] / 1e9) for one in times["timestamps"]] == [
        ("REQUEST_START", 1),
        ("QUEUE_START", 2),
        ("COMPUTE_START", 3),
        ("COMPUTE_INPUT_END", 5.5),
        ("REQUEST_END", 6),
    ]
    assert not list(tmp_path.iterdir())


def test_what_is_left_is_read_and_a_model_counts_for_itself(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    on = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_count": "3"}
    desk.settings.change(on)
    assert desk.ask() is not None
    assert desk.settings.read("m")["trace_count"] == ["2"]
    desk.settings.change({"trace_count": "1"}, "m")
    assert [desk.ask() is not None for _ in range(2)] == [True, False]
    assert [desk.ask("other") is not None for _ in range(3)] == [True, True, False]
    assert not desk.tracer.on
    assert desk.settings.read()["trace_count"] == ["0"]
    desk.settings.change({"trace_count": None}, "m")
    desk.settings.change({"trace_rate": "2", "trace_count": "-1"})
    assert [desk.ask() is not None for _ in range(4)] == [False, True, False, True]
    desk.settings.change({"trace_level": ["OFF"]}, "m")
    assert [desk.ask(), desk.ask(), desk.settings.read()["trace_level"]] == [
        None,
        None,
        ["TIMESTAMPS"],
    ]
    desk.settings.change({"trace_level": None}, "m")
    assert any(desk.ask() for _ in range(2))
    desk.settings.change({"trace_level": None})
    assert not desk.tracer.on
    desk.writer.stop()


def test_files_begin_anew_when_the_name_changes_and_go_on_when_it_does_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "a").write_text("of another run, and longer than what comes" * 100)
    on = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1"}
    desk.settings.change({**on, "trace_file": "a"})
    desk.ask()
    desk.settings.change({"trace_level": ["OFF"]})
    desk.settings.change(on)
    desk.ask()
    desk.settings.change({"trace_file": "b", "log_frequency": "2"})
    for _ in range(3):
        desk.ask()
    desk.writer.stop()
    assert ids(tmp_path / "a") == [1, 2]
    assert (ids(tmp_path / "b.0"), ids(tmp_path / "b.1")) == ([3, 4], [5])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b.0", "b.1"]


@pytest.mark.parametrize("asked", [{"trace_level": ["TENSORS"]}, {"trace_file": "a"}])
def test_without_a_folder_that_can_be_written_nothing_changes(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file", tmp_path / "missing"):
        desk = Desk(folder)
        before = desk.settings.read()
        with pytest.raises(Unsupported, match=r"server\.trace_dir"):
            desk.settings.change({"trace_rate": "3", **asked})
        assert (desk.settings.read(), desk.tracer.on) == (before, False)


def test_the_folder_may_be_in_the_home_of_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "traces").mkdir()
    extras = Extras(ServerSettings(trace_dir=Path("~/traces")))
    extras.tracing.change({"trace_file": "a"})
    extras.stop()
    with pytest.raises(Unsupported, match=r"server\.trace_dir"):
        Extras(ServerSettings(trace_dir=Path("~/none"))).tracing.change({"trace_file": "a"})


def test_a_trace_file_is_no_folder_and_no_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("folder", "link"):
        with pytest.raises(Unsupported, match="name another trace_file"):
            Desk(tmp_path).settings.change({"trace_file": name})


@pytest.mark.parametrize("name", ["../a", "/a", ".", "..", ".a", "a b", "a\n", "a" * 101, "ä"])
def test_a_trace_file_is_a_bare_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(MalformedRequest, match="no path"):
        Desk(tmp_path).settings.change({"trace_file": name})


def test_clients_name_no_more_files_than_a_hundred(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for number in range(100):
        desk.settings.change({"trace_file": f"t{number}"})
    with pytest.raises(Unsupported, match="100 trace files"):
        desk.settings.change({"trace_file": "one_more"})
    assert desk.settings.read()["trace_file"] == ["t99"]
    assert desk.settings.change({"trace_file": "t3"})["trace_file"] == ["t3"]


def test_more_traces_than_may_wait_are_dropped_and_the_thread_goes_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.tracer.put({"": Sampler(Plan(times=True, rate=1, file="t"), None)})
    for _ in range(300):  # nobody writes yet
        desk.ask()
    desk.writer.start()
    desk.writer.stop()
    assert ids(tmp_path / "t") == list(range(1, 257))


def test_a_trace_that_cannot_be_written_does_not_stop_the_next(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "t").mkdir()
    for name in ("t", "u"):
        desk.tracer.put({"": Sampler(Plan(times=True, rate=1, file=name), None)})
        desk.ask()
    desk.writer.start()
    desk.writer.stop()
    assert ids(tmp_path / "u") == [2]


def test_a_file_on_a_full_disk_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "t"
    whole = b'[\n{"id": 1}\n]\n'
    path.write_bytes(whole)
    descriptor = os.open(path, os.O_RDWR)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            _replace(descriptor, len(whole) - len(_END), b"," + b" " * 99 + _END)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
        os.close(descriptor)
    assert path.read_bytes() == whole
