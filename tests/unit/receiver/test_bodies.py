"""Bodies that do not come: how long they are awaited, and what their clients are told."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace.errors import BodyTooSlow, Expired, HeadraceError
from headrace.receiver import bodies
from headrace.receiver.bodies import Bodies, overlook_late_answers
from headrace.receiver.exchange import Exchange
from headrace.receiver.http import read_body
from tests.unit.receiver.inside import Call, Said

LIMIT_BYTES = 10**6


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LOOK_S", 0.001)


def _exchange(call: Call, timeout_s: float | None = None, age_s: float = 0.0) -> Exchange:
    exchange = Exchange({}, call.receive, time.monotonic() - age_s)
    exchange.timeout_s = timeout_s
    return exchange


@pytest.mark.parametrize("begun", [b"", b"0123"])
@pytest.mark.parametrize(
    ("timeout_s", "age_s", "kind"),
    [(0.05, 0.0, Expired), (None, 31.0, BodyTooSlow), (9e9, 31.0, BodyTooSlow)],
)
async def test_a_body_that_does_not_come_is_given_up(
    begun: bytes, timeout_s: float | None, age_s: float, kind: type[HeadraceError]
) -> None:
    call = Call()
    if begun:
        call.say(begun)
    exchange = _exchange(call, timeout_s, age_s)
    with pytest.raises(kind):
        await asyncio.wait_for(read_body(exchange, Bodies(), LIMIT_BYTES), 10)


async def test_a_body_that_comes_slowly_but_steadily_comes_whole() -> None:
    call, reader = Call(), Bodies()
    call.say(bytes(20_000))
    read = asyncio.create_task(read_body(_exchange(call, age_s=40.0), reader, LIMIT_BYTES))
    await call.taken()
    await asyncio.sleep(0.05)  # it is looked at
    assert not read.done()
    call.say(b"1", more=False)
    assert len(await read) == 20_001


async def test_who_waits_with_another_is_left_alone() -> None:
    reader, slow, quick = Bodies(), Call(), Call()
    late = asyncio.create_task(read_body(_exchange(slow, 0.01), reader, LIMIT_BYTES))
    other = asyncio.create_task(read_body(_exchange(quick, 60.0), reader, LIMIT_BYTES))
    with pytest.raises(Expired):
        await late
    quick.say(b"all", more=False)
    assert await other == b"all"


async def test_a_request_without_a_body_is_not_waited_for() -> None:
    end = {"type": "http.request", "body": b"", "more_body": False}
    exchange = Exchange({}, lambda: Said(end), time.monotonic() - 99)
    assert await read_body(exchange, Bodies(), LIMIT_BYTES) == b""


async def test_only_what_comes_too_late_is_overlooked(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    overlook_late_answers(loop)
    late = asyncio.InvalidStateError("invalid state")
    message = "Exception in callback <_pyvoy.asgi.RecvFutureExecutor object>"
    loop.call_exception_handler({"message": message, "exception": late})
    assert not caplog.records
    loop.call_exception_handler({"message": "Exception in callback f()", "exception": late})
    loop.call_exception_handler({"message": message, "exception": ValueError("no")})
    assert len(caplog.records) == 2
