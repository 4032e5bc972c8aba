"""What ``headrace plan`` says, asked as the dashboard asks it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from headrace.dashboard.limits import Limits, Loaded, read
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


async def _limits(server: ServerModels, *wanted: Loaded) -> list[Any]:
    limits = Limits()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(limits.run())
        for one in wanted:
            limits.want(server, one)
            limits.want(server, one)
        async with asyncio.timeout(60):
            await limits._waiting.join()
        running.cancel()
    return [limits.of(one) for one in wanted]


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


def test_what_is_no_plan_is_a_reason() -> None:
    assert read(b"", b"it broke\n").reasons == ("it broke",)
    assert read(json.dumps({"ok": False, "error": "no"}).encode()).reasons == ("no",)
