"""How many lanes of one version take batches: looked at once a second, and told.

What is decided is ``scheduler.controller``'s; here are the clock, the doing and the telling.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from headrace.receiver.catalog import ServedModel
from headrace.scheduler import Scheduler
from headrace.scheduler.controller import PERIOD_S, Controller
from headrace.scheduler.notices import Change

# The last changes are told with the model's profile.
_TOLD = 16


class Steering:
    """Looks at one scheduler regularly, from ``start`` to ``stop``; for the event loop's thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, served: ServedModel, scheduler: Scheduler
    ) -> None:
        slo_ms = served.settings.slo_ms
        self._loop = loop
        self._served = served
        self._scheduler = scheduler
        self._most = scheduler.lanes
        self._controller = Controller(None if slo_ms is None else slo_ms / 1e3, self._most)
        self._set_lanes: Callable[[int], None] | None = None  # while it looks
        self._timer: asyncio.TimerHandle | None = None
        self._glance: asyncio.TimerHandle | None = None  # while fewer lanes run for a moment
        self._changes: deque[tuple[float, Change]] = deque(maxlen=_TOLD)
        self._highest_rps = 0.0
        self._log = structlog.get_logger("headrace.receiver")

    def start(self, set_lanes: Callable[[int], None]) -> None:
        """Begin to look; ``set_lanes`` tells the engine that listens now."""
        self.stop()
        metrics, scheduler = self._served.metrics, self._scheduler
        metrics.gauges["active_lanes"] = lambda: scheduler.lanes
        metrics.gauges["batch_cap"] = lambda: scheduler.state().batch_cap
        metrics.control = self.told
        self._set_lanes = set_lanes
        if self._controller.lanes != self._most:  # another engine, which has all of them run
            set_lanes(self._controller.lanes)
        self._again()

    def stop(self) -> None:
        """Look no more, and let go: the metrics of a model that has left would keep all of it."""
        self._served.metrics.control = dict
        self._end_glance()
        self._set_lanes = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def told(self) -> dict[str, Any]:
        """What was decided of late and what the next start may keep, for JSON."""
        state = self._scheduler.kept_state()
        return {
            "steered": self._served.settings.control,
            "lanes": self._scheduler.lanes,
            "kept_lanes": self._controller.kept_lanes,
            "batch_cap": state.batch_cap,
            "longest_s": state.longest_s,
            "highest_rps": self._highest_rps,
            "p99_s": self._served.metrics.requests.phases["total"].quantile(0.99),
            "worth": {str(lanes): worth for lanes, worth in self._controller.worth.items()},
            "changes": [{"at_unix_s": at_s, **change._asdict()} for at_s, change in self._changes],
        }

    def _again(self) -> None:
        if self._served.settings.control:
            self._timer = self._loop.call_later(PERIOD_S, self._look)

    def _look(self) -> None:
        self._again()  # first: whatever goes wrong with one account, there will be others
        self._end_glance()
        now_s = time.monotonic()
        scheduler = self._scheduler
        account = scheduler.close_account(now_s)
        # The first account has no length: it is of the time until this look.
        in_time_rps = account.in_time / max(account.seconds, PERIOD_S)
        self._highest_rps = max(self._highest_rps, in_time_rps)
        if scheduler.beside_others:
            changes = self._controller.beside_others(now_s)
        else:
            changes = self._controller.look(now_s, account, scheduler.state())
        for change in changes:
            self._tell(change)
        glance = self._controller.glance
        if glance is not None:
            scheduler.hold_lanes(glance.lanes, now_s)
            self._glance = self._loop.call_later(glance.seconds, self._end_glance)
        elif self._controller.lanes != scheduler.lanes:
            scheduler.set_lanes(self._controller.lanes, now_s, self._controller.slower)
        else:
            return
        if self._set_lanes is not None:
            self._set_lanes(scheduler.lanes)

    def _end_glance(self) -> None:
        if self._glance is None:
            return
        self._glance.cancel()
        self._glance = None
        self._scheduler.release_lanes(self._controller.lanes, time.monotonic())
        if self._set_lanes is not None:
            self._set_lanes(self._scheduler.lanes)

    def _tell(self, change: Change) -> None:
        served = self._served
        self._changes.append((time.time(), change))
        served.metrics.changes[change.what, change.cause] += 1
        self._log.info(
            "steered",
            model=served.name,
            version=served.version,
            what=change.what,
            before=change.before,
            after=change.after,
            reason=change.reason,
        )
