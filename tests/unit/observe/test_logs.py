from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from headrace.observe.logs import configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_lines_elsewhere_with_level_time_and_fields() -> None:
    out = io.StringIO()
    configure("info", "auto", out)
    log = structlog.get_logger("headrace")
    log.debug("unheard")
    log.warning("engine_died", model="digits", path=io, number={1: 2})
    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event["path"].startswith("<module")
    assert (event["event"], event["level"], event["model"]) == ("engine_died", "warning", "digits")
    assert event["number"] == {"1": 2}


def test_a_name_that_is_no_text_is_logged_all_the_same() -> None:
    out = io.StringIO()
    configure("info", "json", out)
    structlog.get_logger("headrace").warning("ignored", file="mod\udcff.onnx")
    assert json.loads(out.getvalue())["file"] == "mod\udcff.onnx"
    out.getvalue().encode()


def test_text_on_a_terminal() -> None:
    out = Terminal()
    configure("info", "auto", out)
    structlog.get_logger().info("ready", port=8000)
    assert "ready" in out.getvalue()
    assert "8000" in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.parametrize(("form", "out"), [("json", Terminal()), ("text", io.StringIO())])
def test_a_format_said_aloud_wins(form: str, out: io.StringIO) -> None:
    configure("debug", "json" if form == "json" else "text", out)
    structlog.get_logger().debug("here", n=1)
    assert out.getvalue().startswith("{") == (form == "json")
    if form == "text":
        assert "\x1b" not in out.getvalue()


def test_an_exception_is_one_json_line() -> None:
    out = io.StringIO()
    configure("info", "json", out)
    try:
        raise ValueError("broken")  # noqa: TRY301 - it is what the test is about
    except ValueError:
        structlog.get_logger().exception("oops")
    event = json.loads(out.getvalue())
    assert event["exception"][0]["exc_value"] == "broken"


def test_levels_can_be_chosen_one_by_one() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream, only=frozenset({"info", "error"}))
    log = structlog.get_logger("chosen")
    for say in (log.debug, log.info, log.warning, log.error):
        say("event")
    log.exception("event")  # noqa: LOG004 - its name is not its level
    levels = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert levels == ["info", "error", "error"]


def test_text_has_the_date_when_asked() -> None:
    stream = io.StringIO()
    configure("info", "text", stream, iso_time=True)
    structlog.get_logger("dated").info("event")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:", stream.getvalue())


LOGS = """
import sys
import structlog
from headrace.observe.logs import configure
from headrace.outlets import open_outlets
open_outlets()
configure("info", sys.argv[1])
log = structlog.get_logger()
log.info("one", number=1)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("two")
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("flags", [[], ["-u"]], ids=["", "without a buffer"])
def test_an_event_is_written_at_once_with_its_end(
    flags: list[str], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes share standard error: what is written at once stays together."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        subprocess.run(
            [sys.executable, *flags, "-c", LOGS, form], stderr=there.fileno(), check=True
        )
        there.shutdown(socket.SHUT_WR)
        written = list(iter(lambda: here.recv(1 << 16).decode(), ""))
    assert len(written) == 2
    for name, text in zip(("one", "two"), written, strict=True):
        assert name in text
        assert text.endswith("\n")
