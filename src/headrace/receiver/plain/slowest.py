"""``GET /slowest``: the requests that took longest, of the last minutes, and where their time went.

``GET /models/{model}/slowest``: those of one model, which others may hide there; and
``GET /models/{model}/versions/{version}/slowest``: those of one version.

A request that asks with the header ``headrace-timing`` is told the same of itself, in a
``Server-Timing`` header. Source: W3C Server Timing, https://www.w3.org/TR/server-timing/.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import time

from headrace.errors import NotResident
from headrace.observe.phases import ID_CHARACTERS, Passed
from headrace.observe.together import Topic
from headrace.receiver.catalog import ServedModel
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.http import json_reply

ASKS = b"headrace-timing"
"""The header of a request that wants to be told."""

_ANSWER = b"server-timing"


_MOST = 16


class SlowestRequests:
    """Tells them over HTTP."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def index(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /slowest``."""
        return await self._told()

    async def of_model(
        self,
        exchange: Exchange,  # noqa: ARG002
        name: str,
        version: int | None,
    ) -> Reply:
        """``GET /models/{model}[/versions/{version}]/slowest``: of one version, or of all."""
        with contextlib.suppress(NotResident):  # who watches a model must not have it loaded
            self._core.catalog.find(name, version)
        return await self._told(name, version)

    async def _told(self, name: str | None = None, version: int | None = None) -> Reply:
        things = json.loads(await self._core.together(Topic.SLOWEST))
        chosen = [
            one
            for one in things
            if name in {None, one["model"]} and version in {None, one["version"]}
        ]
        slowest = heapq.nlargest(_MOST, chosen, key=lambda one: one["total_s"])
        return json_reply({"requests": slowest})


def passed(exchange: Exchange, served: ServedModel, outcome: str, now_s: float) -> Passed:
    """What is kept of a request."""
    run = exchange.run
    return Passed(
        model=served.name,
        version=served.version,
        id=exchange.id[:ID_CHARACTERS],
        outcome=outcome,
        ended_unix_s=time.time(),
        phases=exchange.phases(now_s),
        batch_rows=0 if run is None else run.rows,
        batch_requests=0 if run is None else run.requests,
    )


def timing(exchange: Exchange) -> tuple[bytes, bytes]:
    """The header that tells a request where its time has gone."""
    return _ANSWER, exchange.phases(time.monotonic()).server_timing()
