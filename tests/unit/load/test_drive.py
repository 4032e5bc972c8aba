"""A run with its progress shown."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import re
from contextlib import nullcontext

import pytest
from rich.console import Console

from headrace.load.arrivals import constant
from headrace.load.command import grammar, once
from headrace.load.command.drive import Screen, drive, screen
from headrace.load.plan import ClosedLoop, Message, OpenLoop, Protocol, Target
from tests.unit.load.servers import METHOD, HttpServer


def _console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=120), out


@pytest.mark.slow
def test_the_last_moments_are_shown_while_it_goes_on_and_are_gone_afterwards() -> None:
    console, out = _console(terminal=True)
    with HttpServer() as server, screen(console) as shown:
        shown.heading = "try 1"
        target = Target(Protocol.HTTP, server.address, METHOD, (Message(b"x"), Message(b"full")))
        result, interrupted = drive(OpenLoop(constant(80, 3.0)), target, 2, shown)
    assert (len(result), interrupted) == (240, False)
    text = out.getvalue()
    assert re.search(r"try 1  \d of 3 s  \d+ sent  \d+ answers/s  p50 [\d.]+ ms, p99", text)
    assert re.search(r"\d+ refused", text)
    assert text.endswith("\x1b[2K")  # the line is wiped out


@pytest.mark.slow
def test_where_nobody_watches_only_what_stays_is_said() -> None:
    console, out = _console(terminal=False)
    with HttpServer() as server, screen(console) as shown:
        target = Target(Protocol.HTTP, server.address, METHOD, (Message(b"x"),))
        drive(ClosedLoop(1, 0.7), target, 1, shown)
        shown.say("one line")
    assert out.getvalue() == "one line\n"


@pytest.mark.slow
def test_a_run_that_need_not_go_on_is_ended_and_its_rows_are_kept() -> None:
    console, _ = _console(terminal=False)
    with HttpServer() as server, screen(console) as shown:
        target = Target(Protocol.HTTP, server.address, METHOD, (Message(b"x"),))
        plan = OpenLoop(constant(100, 60.0))
        result, interrupted = drive(plan, target, 2, shown, lambda _, at_s: at_s > 0.3)
    assert not interrupted
    assert 0.3 < result.duration_s < 20
    assert 20 < len(result) < 2000
    assert result.intended_s[-1] < result.duration_s


_ANSWER = b'{"output": [1.0]}'


class _AnswersOnce(HttpServer):
    """Answers the request that is tried, and leaves those of the load hanging."""

    async def _obey(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        return await super()._obey(_ANSWER if self.stage.came == 1 else b"hang", writer)


class _Impatient(Screen):
    """Ctrl-C at every look at the run."""

    def show(self, words: str) -> None:
        if " sent " in words:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_the_last_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    grammar.add(parser)
    console, _ = _console(terminal=False)
    monkeypatch.setattr(once, "screen", lambda _: nullcontext(_Impatient(console, None)))
    with _AnswersOnce() as server:
        words = "--model m --protocol plain --shape x=FP32:1,4 --concurrency 2 --timeout-s 60"
        status = once.run_once(parser.parse_args([server.address, *words.split(), "--json"]))
    told = json.loads(capsys.readouterr().out)
    assert (status, told["ok"]) == (130, False)
    assert told["failure"] == "interrupted: the last answers were not waited for"
