"""What each model could do, as ``headrace plan`` predicts it from what its server measured.

A plan takes seconds of a core, so it is made by that command in a process of its own, which stands
back from everything else; one at a time, and once for the same profile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from headrace.errors import HeadraceError
from headrace.models.ask import ServerModels

_TIMEOUT_S = 300.0
_MOST_WAITING = 1024
_MOST_KEPT = 1024
# A mean of three plays is within a few per cent, which is what a share of it is read to.
_SEEDS = "3"


@dataclass(frozen=True, slots=True)
class Limit:
    """The highest rate inside the objective; None where it cannot be told, and ``reasons`` why."""

    rate_rps: float | None
    slo_ms: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version as it was loaded once: loaded again, it is measured again."""

    url: str
    name: str
    version: int
    since_unix_s: float


class Limits:
    """Limits that are known, and those that are being predicted."""

    def __init__(self) -> None:
        self._known: dict[Loaded, Limit | None] = {}
        self._planned: dict[str, Limit] = {}
        self._waiting: asyncio.Queue[tuple[ServerModels, Loaded]] = asyncio.Queue(_MOST_WAITING)

    def of(self, loaded: Loaded) -> Limit | None:
        """What is known of a version; None: nothing yet."""
        return self._known.get(loaded)

    def want(self, server: ServerModels, loaded: Loaded) -> None:
        """Have it predicted, if it is not yet; when too many wait already, ask again later."""
        if loaded in self._known:
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait((server, loaded))
            _keep(self._known, loaded, None)

    async def run(self) -> None:
        """Predict what is wanted, until cancelled."""
        own = ThreadPoolExecutor(1, "limits")
        try:
            while True:
                server, loaded = await self._waiting.get()
                _keep(self._known, loaded, await self._find(server, loaded, own))
                self._waiting.task_done()
        finally:
            own.shutdown(wait=False)

    async def _find(self, server: ServerModels, loaded: Loaded, own: ThreadPoolExecutor) -> Limit:
        loop = asyncio.get_running_loop()
        try:
            said = await loop.run_in_executor(own, server.profile, loaded.name, loaded.version)
            # What has run since changes all the time, and is not planned with.
            profile = {key: value for key, value in said.items() if key != "seen"}
            text = json.dumps(profile, sort_keys=True)
        except (HeadraceError, RecursionError) as error:
            return Limit(None, None, (str(error),))
        if text not in self._planned:
            _keep(self._planned, text, await _plan(text))
        return self._planned[text]


async def _plan(profile: str) -> Limit:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace", "plan", "--profile", "/dev/stdin"),
        *("--json", "--loads", "50", "--seeds", _SEEDS),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process.pid, 19)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            said, complaint = await process.communicate(profile.encode())
    except TimeoutError:
        return Limit(None, None, (f"no prediction within {_TIMEOUT_S:.0f} s",))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return read(said, complaint)


def read(said: bytes, complaint: bytes = b"") -> Limit:
    """Read what ``headrace plan --json`` printed, or what it complained of."""
    try:
        plan: Mapping[str, Any] = json.loads(said)
    except ValueError:
        return Limit(None, None, (complaint.decode("utf-8", "replace").strip() or "no plan",))
    if not plan.get("ok"):
        return Limit(None, None, (str(plan.get("error", "no plan")),))
    return Limit(plan["limit_rps"]["mean"], plan["slo_ms"], tuple(plan["reasons"]))


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Put it in; what has been there longest makes room."""
    kept[key] = value
    while len(kept) > _MOST_KEPT:
        del kept[next(iter(kept))]
