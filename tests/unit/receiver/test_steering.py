"""The steering of one version: the engine hears how many lanes run, each new one too."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from headrace.receiver.run.steering import Steering
from headrace.scheduler import Entry, LatencyModel, Policy, Scheduler
from headrace.values import DType, TensorSpec
from tests.contract.echo import serve

X = [TensorSpec("x", DType.FP32, (None, 1))]


def scheduler() -> Scheduler:
    measured = [(1, rows, 0.01, 0.011) for rows in (1, 2, 4)]
    return Scheduler(Policy(0.1, 2, 10, 4), LatencyModel(measured, sizes=(1, 2, 4), pads=False))


def run_two_together(on: Scheduler, now: float, seconds: float) -> None:
    """Two batches at a time, each as slow as if the other were not there to help."""
    for bucket in ("a", "b"):
        on.admit(Entry(now + 9, 1, bucket, 1, now), now)
    numbers = [batch.id for batch, _ in (on.cut(now), on.cut(now)) if batch is not None]
    for number in numbers:
        on.finish(number, now + seconds, seconds)


def keep_both_busy(rule: Scheduler) -> None:
    """Two lanes that do the work of one, and are both needed."""
    now = time.monotonic() - 1
    rule.close_account(now)
    for _ in range(25):
        run_two_together(rule, now, 0.02)
        now += 0.04


async def test_what_is_decided_is_done_told_and_counted_and_a_new_engine_hears_it() -> None:
    served, rule = serve("m", X, X, batched=True), scheduler()
    steering = Steering(asyncio.get_running_loop(), served, rule)
    heard: list[int] = []
    steering.start(heard.append)
    assert heard == [], "an engine begins with all of them"
    assert served.metrics.gauges["active_lanes"]() == 2
    steering._controller.lanes = 1
    steering._look()
    assert (rule.lanes, heard) == (1, [1])
    steering.start(heard.append)
    assert heard == [1, 1]
    steering.stop()
    assert steering._timer is None


async def test_a_glance_is_of_a_moment_and_ends_with_the_steering_at_the_latest() -> None:
    served, rule = serve("m", X, X, batched=True), scheduler()
    steering = Steering(asyncio.get_running_loop(), served, rule)
    heard: list[int] = []
    over = asyncio.Event()

    def hear(lanes: int) -> None:
        heard.append(lanes)
        if lanes == 2:
            over.set()

    for end in (over.wait, steering.stop):
        steering.start(hear)
        keep_both_busy(rule)
        steering._look()
        assert (rule.lanes, heard) == (1, [1])
        assert steering.told()["kept_lanes"] == 2
        waiting = end()
        if waiting is not None:
            await waiting
        assert (rule.lanes, heard) == (2, [1, 2])
        steering._controller._known.clear()
        steering._controller._next_trial_s = 0.0
        heard.clear()


async def test_changes_have_their_reasons_in_the_profile_and_their_causes_in_the_metrics() -> None:
    served, rule = serve("m", X, X, batched=True), scheduler()
    steering = Steering(asyncio.get_running_loop(), served, rule)
    steering.start(lambda _: None)
    now = time.monotonic() - 10
    rule.close_account(now)
    for _ in range(20):
        run_two_together(rule, now, 0.03)
        now += 0.4
    steering._look()
    told = served.metrics.control()
    assert (told["lanes"], told["kept_lanes"]) == (1, 2), "one is only tried"
    (change,) = told["changes"]
    assert (change["what"], change["before"], change["after"]) == ("lanes", "2", "1")
    assert "2 lanes do the work of" in change["reason"]
    assert served.metrics.changes["lanes", "trial"] == 1
    steering.stop()


async def test_where_it_is_switched_off_nobody_looks() -> None:
    served = serve("m", X, X, batched=True)
    settings = served.settings.model_copy(update={"control": False})
    steering = Steering(asyncio.get_running_loop(), replace(served, settings=settings), scheduler())
    steering.start(lambda _: None)
    assert steering._timer is None
    assert not steering.told()["steered"]


async def test_requests_before_its_first_look_do_not_end_it() -> None:
    served, rule = serve("m", X, X, batched=True), scheduler()
    steering = Steering(asyncio.get_running_loop(), served, rule)
    steering.start(lambda _: None)
    run_two_together(rule, time.monotonic() - 1, 0.01)
    steering._look()
    before = steering._timer
    assert before is not None
    steering._look()
    assert steering._timer is not before, "it looks again"
    steering.stop()
