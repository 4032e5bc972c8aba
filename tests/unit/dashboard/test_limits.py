"""What ``headrace plan`` says, asked as the dashboard asks it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.dashboard import limits as module
from headrace.dashboard.limits import Limit, Limits, Loaded, Serves, always, read
from headrace.errors import ConnectionLost
from headrace.models.ask import ServerModels
from tests.unit.plan.profiles import profile

LOADED = Loaded("http://a", "steady", 1, 5.0)


class Telling(ServerModels):
    """A server that tells one profile, and counts how often it was asked."""

    def __init__(self, said: Any) -> None:
        super().__init__("http://127.0.0.1:1")
        self.said = said
        self.asked = 0

    def profile(self, name: str, version: int | None = None) -> Any:
        self.asked += 1
        return self.said


class Failing(Telling):
    """A server whose answers are lost."""

    def __init__(self, error: Exception) -> None:
        super().__init__(None)
        self.error = error

    def profile(self, name: str, version: int | None = None) -> Any:
        super().profile(name, version)
        raise self.error


async def _limits(server: ServerModels, *wanted: Loaded) -> list[Any]:
    limits = Limits()
    await _settle(limits, server, *wanted)
    return [limits.of(one) for one in wanted]


async def _settle(
    limits: Limits, server: ServerModels, *wanted: Loaded, serves: Serves = always
) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(limits.run())
        for one in wanted:
            limits.want(server, one, serves)
            limits.want(server, one, serves)
        async with asyncio.timeout(60):
            await limits._waiting.join()
        running.cancel()


@pytest.mark.slow
async def test_a_limit_is_predicted_once_for_the_same_profile() -> None:
    server = Telling({**profile().model_dump(mode="json"), "seen": {"anything": 1}})
    other = Loaded("http://b", "steady", 1, 9.0)
    one, two = await _limits(server, LOADED, other)
    assert one is two
    assert one.rate_rps > 0
    assert one.reasons
    assert server.asked == 2


@pytest.mark.slow
async def test_a_model_without_run_times_has_a_reason_instead() -> None:
    server = Telling({**profile().model_dump(mode="json"), "measurements": []})
    (found,) = await _limits(server, LOADED)
    assert found.rate_rps is None
    assert "started cold" in found.reasons[0]


async def test_one_that_serves_no_more_when_its_turn_comes_is_not_asked_for() -> None:
    server, limits = Telling({}), Limits()
    await _settle(limits, server, LOADED, serves=lambda _: False)
    assert server.asked == 0
    assert LOADED not in limits._known


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionLost("timed out"), "timed out"),
        (OSError(24, "Too many open files"), "OSError: [Errno 24] Too many open files"),
    ],
)
async def test_one_bad_moment_is_told_and_tried_again_after_a_pause(
    error: Exception, said: str
) -> None:
    now_s = [0.0]
    server, limits = Failing(error), Limits(lambda: now_s[0])
    await _settle(limits, server, LOADED)
    await _settle(limits, server, LOADED)
    assert server.asked == 1
    assert limits.of(LOADED) == Limit(None, None, (said,))
    now_s[0] = 31.0
    await _settle(limits, server, LOADED)
    assert server.asked == 2


async def test_a_plan_that_took_too_long_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.01)
    server, limits = Telling({}), Limits(lambda: now_s[0])
    await _settle(limits, server, LOADED)
    assert limits.of(LOADED) == Limit(None, None, ("no prediction within 0 s",))
    now_s[0] = 31.0
    await _settle(limits, server, LOADED)
    assert server.asked == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\nkill -9 $$\n", "no plan was made: its process ended with status -9"),
        ("#!/bin/sh\necho it broke >&2\nexit 1\n", "it broke"),
    ],
)
async def test_a_plan_whose_process_died_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    now_s = [0.0]
    server = Telling(profile().model_dump(mode="json"))
    limits, dying = Limits(lambda: now_s[0]), tmp_path / "python"
    dying.write_text(script)
    dying.chmod(0o700)
    with monkeypatch.context() as while_it_dies:
        while_it_dies.setattr(sys, "executable", str(dying))
        await _settle(limits, server, LOADED)
    assert limits.of(LOADED) == Limit(None, None, (said,))
    now_s[0] = 3600.0
    await _settle(limits, server, LOADED)
    found = limits.of(LOADED)
    assert found is not None
    assert found.rate_rps is not None


def test_what_is_no_plan_is_a_reason() -> None:
    assert read(json.dumps({"ok": False, "error": "no"}).encode()).reasons == ("no",)
