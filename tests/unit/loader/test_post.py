"""What the log says of a move, and how loudly."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from headrace.control import ModelState
from headrace.loader.post import log_move


def state(is_in: str, since_unix_s: float, reason: str = "") -> ModelState:
    return ModelState(name="m", version=3, state=is_in, reason=reason, since_unix_s=since_unix_s)


def logged(before: ModelState | None, now: ModelState) -> dict[str, object]:
    with capture_logs() as lines:
        log_move(structlog.get_logger(), before, now)
    (line,) = lines
    return dict(line)


def test_a_move_tells_where_it_came_from_and_after_how_long() -> None:
    assert logged(state("warming", 100.0), state("serving", 102.5)) == {
        "event": "model_state",
        "log_level": "debug",
        "model": "m",
        "version": 3,
        "state": "serving",
        "was": "warming",
        "for_s": 2.5,
    }


def test_the_first_state_comes_from_nowhere() -> None:
    assert logged(None, state("found", 100.0)).keys().isdisjoint({"was", "for_s"})


@pytest.mark.parametrize(
    ("before", "now", "event", "level"),
    [
        ("recovering", "serving", "model_state", "info"),
        ("serving", "recovering", "model_state", "debug"),
        ("loading", "failed", "model_failed", "error"),
    ],
)
def test_what_nobody_asked_for_is_said_aloud(before: str, now: str, event: str, level: str) -> None:
    line = logged(state(before, 1.0), state(now, 2.0, "no such file"))
    assert (line["event"], line["log_level"]) == (event, level)
    assert line["reason"] == "no such file"
