"""The search for the highest rate: how long its tries are, and what is told of them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from headrace.errors import SettingsError, StartError
from headrace.load.address import read_address
from headrace.load.command import find, grammar, written
from headrace.load.command.drive import Screen, screen
from headrace.load.command.show_found import document
from headrace.load.command.tried import Found, Tried
from headrace.load.command.wanted import Wanted, read
from headrace.load.page.html import render
from headrace.load.plan import ClosedLoop, Message, Plan, Protocol, Target
from headrace.load.result import OK, Outcome, Result
from headrace.load.search import Held, Search
from headrace.load.verdict import judge
from tests.unit.load.servers import HttpServer


def _wanted(words: str) -> Wanted:
    parser = argparse.ArgumentParser()
    grammar.add(parser)
    said = f"localhost:1 --model m --find-max --slo-ms 20 {words}"
    return read(parser.parse_args(said.split()))


@pytest.mark.parametrize(
    ("words", "rate", "duration_s"),
    [
        ("", 20_000, 5),
        ("", 100, 10),
        ("", 1, 30),
        ("--slo-ms 1000", 20_000, 20),  # a queue that grows for 5 s may stay within a second
        ("--slo-ms 5000", 1, 100),
        ("--slo-ms 1000 --duration-s 3", 20_000, 3),
        ("--warm-up-s 5", 20_000, 10),  # of what counts there is as much as without
        ("--warm-up-s 5 --duration-s 8", 20_000, 8),
    ],
)
def test_a_try_lasts_for_a_thousand_requests_that_count(
    words: str, rate: float, duration_s: float
) -> None:
    assert find._plan(_wanted(words), rate, 0).duration_s == duration_s


def test_a_try_of_a_trace_is_as_long_as_others_however_far_it_is_pressed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("".join(f"{n / 100}\n" for n in range(200)))
    wanted = _wanted(f"--arrivals trace:{trace} --warm-up-s 1")
    for rate in (10, 400, 100_000):
        planned = find._plan(wanted, rate, 0).arrivals
        assert planned.duration_s >= 6
        assert planned.rate == pytest.approx(rate, rel=0.01)


def test_a_try_of_a_trace_that_begins_slowly_has_the_rate_that_it_is_of(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    slow, fast = (np.arange(20_000) / rate for rate in (10, 1000))
    trace.write_text("\n".join(map(str, [*slow, *(2000 + fast)])))
    for rate in (10, 400):
        planned = find._plan(_wanted(f"--arrivals trace:{trace}"), rate, 0).arrivals
        counts, _ = np.histogram(planned.times_s, 5, (0, planned.duration_s))
        np.testing.assert_allclose(counts / (planned.duration_s / 5), rate, rtol=0.02)


def _fast(*_: object) -> tuple[Result, bool]:
    """A server that keeps every rate."""
    at = np.arange(500) / 100
    zeros = np.zeros(at.size, np.uint16)
    return Result(at, at, at + 0.001, zeros, (OK,), {}, 0.0, 5.0, 0.1), False


TARGET = Target(Protocol.HTTP, "localhost:1", "/", (Message(b""),))


def test_a_rate_that_cannot_be_planned_ends_the_search_with_what_was_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.load.command.wanted._MOST_REQUESTS", 1000)
    monkeypatch.setattr(find, "prepare", lambda _: TARGET)
    monkeypatch.setattr(find, "drive", _fast)
    with screen(Console(file=io.StringIO())) as shown:
        found = find.find(_wanted("--rate 80 --duration-s 5"), shown)
    assert [one.rate for one in found.tries] == [80, 160]
    assert found.failure is not None
    assert "at most 1,000 are planned" in found.failure


def test_a_search_that_has_had_its_tries_says_what_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "prepare", lambda _: TARGET)
    monkeypatch.setattr(find, "drive", _fast)
    with screen(Console(file=io.StringIO())) as shown:
        found = find.find(_wanted("--rate 0.1 --duration-s 0.00001"), shown)
    assert len(found.tries) == 40
    assert found.failure == (f"ended after 40 tries, not sure yet: {0.1 * 2**39:,.4g}/s held once")


def test_ctrl_c_before_the_first_try_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(find, "prepare", lambda _: TARGET)
    monkeypatch.setattr(find, "drive", interrupted)
    wanted = _wanted("")
    with screen(Console(file=io.StringIO())) as shown:
        found = find.find(wanted, shown)
    assert found.failure == "interrupted: the search was not at its end"
    assert document(wanted, found)["tries"] == []


def test_a_warm_up_that_leaves_nothing_of_a_try_is_told_before_anybody_is_asked() -> None:
    wanted = _wanted("--warm-up-s 3 --duration-s 2")
    with (
        screen(Console(file=io.StringIO())) as shown,
        pytest.raises(SettingsError, match="--warm-up-s 3 leaves nothing to count of 2 s"),
    ):
        find.find(wanted, shown)


def test_a_server_that_goes_away_between_two_tries_leaves_what_was_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = _wanted("--rate 100")
    at = np.arange(500) / 100

    def drive(*_: object) -> tuple[Result, bool]:
        if len(drives) == 2:  # what one takes alone, and a try
            raise StartError("no server answers at localhost:1")
        drives.append(1)
        zeros = np.zeros(at.size, np.uint16)
        return Result(at, at, at + 0.001, zeros, (OK,), {}, 0.0, 5.0, 0.1), False

    drives: list[int] = []
    monkeypatch.setattr(find, "prepare", lambda _: TARGET)
    monkeypatch.setattr(find, "drive", drive)
    with screen(Console(file=io.StringIO())) as shown:
        found = find.find(wanted, shown)
        assert [one.rate for one in found.tries] == [100.0]
        assert found.failure == "no server answers at localhost:1"
        with pytest.raises(StartError):  # of nothing that was tried nothing is told
            find.find(wanted, shown)


class Fifo(HttpServer):
    """Takes 10 ms for each request, one after the other, and for those that were given up too."""

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        async with self._turn:
            await asyncio.sleep(0.01)
        body = b'{"output": [1.0]}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        return True

    async def _main(self) -> None:
        self._turn = asyncio.Lock()
        await super()._main()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_try_begins_when_what_was_sent_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "Search", partial(Search, most_tries=4))
    words = (
        "--protocol plain --shape x=FP32:1,4 --slo-ms 200 --rate 560 --duration-s 1.5 "
        "--timeout-s 0.3"
    )
    with Fifo() as server, screen(Console(file=io.StringIO())) as shown:
        wanted = replace(_wanted(words), address=read_address(server.address))
        found = find.find(wanted, shown)
    assert [one.rate for one in found.tries] == [560, 280, 140, 70]
    assert found.tries[0].held is Held.CLEARLY_NOT
    assert found.tries[-1].held is Held.YES


def test_a_server_that_does_not_come_to_rest_ends_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drive(plan: Plan, _: Target, __: int, ___: Screen, give_up: object = None) -> object:
        done, interrupted = _fast()
        took_s = 9.0 if give_up is not None else 0.001
        longer = replace(done, done_s=done.intended_s + took_s, duration_s=plan.duration_s)
        drives.append(isinstance(plan, ClosedLoop) or plan.max_outstanding == 1)
        return longer, interrupted

    drives: list[bool] = []
    monkeypatch.setattr(find, "prepare", lambda _: TARGET)
    monkeypatch.setattr(find, "drive", drive)
    with screen(Console(file=io.StringIO())) as shown:
        found = find.find(_wanted("--rate 80 --duration-s 5"), shown)
    assert drives == [True, False, *[True] * 5]  # each to its last answer, for 14 s
    assert [one.rate for one in found.tries] == [80]
    assert found.failure == "the server is still busy with what was sent before"


class Changing(HttpServer):
    """Answers, until it is told to hang, and then to fail with a status."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.fails: bytes | None = None
        self.failed = 0  # of those that came since then

    async def _obey(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        self.failed += self.fails is not None
        while self.hangs and self.fails is None:  # noqa: ASYNC110 - another thread says so
            await asyncio.sleep(0.01)
        body = b'{"output": [1.0]}'
        status = self.fails or b"200 OK"
        writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
        return True

    def quit(self) -> None:
        with contextlib.suppress(RuntimeError):  # told to before
            self._loop.call_soon_threadsafe(self._quit.set)


class Changes(Screen):
    """Has the server hang in the first try, and do worse when it is waited for."""

    def __init__(self, server: Changing, status: bytes | None) -> None:
        super().__init__(Console(file=io.StringIO()), None)
        self._server = server
        self._status = status

    def show(self, words: str) -> None:
        if self.heading.startswith("try"):
            self._server.hangs = True
        if self.heading.startswith("until") and self._status is not None:
            self._server.fails = self._status
        elif self.heading.startswith("until"):
            self._server.quit()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "the server went away"),
        (b"500 Oops", "the server answers nothing: 500 Internal Server Error"),
        (b"503 Full", "the server answers nothing: 503 Service Unavailable"),
    ],
)
def test_a_server_that_fails_after_a_try_is_not_called_busy_and_not_hammered(
    status: bytes | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "_LOOK_S", 2.0)
    monkeypatch.setattr(find, "_QUIET_S", 60.0 if status != b"503 Full" else 4.0)
    said = "--protocol plain --shape x=FP32:1,4 --slo-ms 100 --rate 50 --duration-s 2"
    with Changing() as server:
        wanted = replace(_wanted(said), address=read_address(server.address))
        found = find.find(wanted, Changes(server, status))
    assert (len(found.tries), found.failure) == (1, words)
    assert server.failed <= 20 * 4


@pytest.mark.slow
def test_the_page_of_a_search_in_which_all_were_refused_is_drawn() -> None:
    pytest.importorskip("matplotlib")
    wanted = _wanted("")
    at = np.arange(100) / 100
    ones = np.ones(at.size, np.uint16)
    result = Result(at, at, at + 0.001, ones, (OK, Outcome("503")), {}, 0.0, 1.0, 0.1)
    tried = Tried(
        rate=100.0,
        held=Held.CLEARLY_NOT,
        kept=0.0,
        sender=False,
        given_up=False,
        verdict=judge(result, slo_s=0.02),
    )
    found = Found(Search(100.0).after(100.0, Held.CLEARLY_NOT), (tried,))
    page = written.of_search(wanted, found, document(wanted, found))
    assert render(page).count("<svg ") == 3
