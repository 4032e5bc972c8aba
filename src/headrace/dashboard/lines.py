"""One version in numbers, as tables and headings show it: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.dashboard.history import History
from headrace.dashboard.limits import Limit
from headrace.dashboard.scrape import Key
from headrace.dashboard.window import Step

SERVING = "serving"


@dataclass(frozen=True, slots=True)
class Line:
    """A version now. What is not known is None: nothing came, or it does not serve.

    ``busy`` is the share of its instances that run, ``filled`` how full batches are beside the
    largest there may be, ``cores`` what its engine takes, ``of_limit`` the present rate beside the
    highest that is predicted.
    """

    name: str
    version: int
    state: str
    reason: str
    step: Step | None
    queued: float | None
    busy: float | None
    filled: float | None
    memory_bytes: float | None
    cores: float | None
    limit: Limit | None

    @property
    def key(self) -> Key:
        """Which version it is."""
        return self.name, self.version

    @property
    def rate_rps(self) -> float | None:
        """Requests a second, whatever became of them."""
        return None if self.step is None else self.step.rate_rps

    @property
    def failed_rps(self) -> float | None:
        """Those of them that were not answered with outputs."""
        return None if self.step is None else self.step.failed_rps

    @property
    def of_limit(self) -> float | None:
        """The present rate as a share of what is predicted to be possible."""
        if self.step is None or self.limit is None or not self.limit.rate_rps:
            return None
        return self.step.rate_rps / self.limit.rate_rps

    def quantile_s(self, share: float) -> float | None:
        """A percentile of what requests took lately."""
        return None if self.step is None else self.step.quantile_s(share)


def line(history: History, said: Mapping[str, Any], limit: Limit | None) -> Line:
    """Put together what is known of a version that ``GET /models`` speaks of."""
    key = said["name"], said["version"]
    step = history.recent(key) if said["state"] == SERVING else None
    mean_batch = None if step is None else step.mean_batch
    return Line(
        *key,
        said["state"],
        said["reason"],
        step,
        history.gauge(key, "queue_length"),
        _busy(None if step is None else step.busy_lanes, said.get("instances")),
        _share(mean_batch, said.get("max_batch")),
        said.get("memory_bytes"),
        history.cores(key),
        limit,
    )


def _busy(lanes: float | None, instances: float | None) -> float | None:
    """A run counts when it ends, so that a few seconds may have more of them than there is time."""
    share = _share(lanes, instances)
    return None if share is None else min(share, 1.0)


def _share(value: float | None, of: float | None) -> float | None:
    return None if value is None or not of else value / of
