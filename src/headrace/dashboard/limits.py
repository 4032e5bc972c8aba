"""What each model could do, as ``headrace plan`` predicts it from what its server measured.

A plan takes seconds of a core, so it is made by that command in a process of its own, which stands
back from everything else; one at a time, and once for the same profile. What kept it from
being made may pass, so it is tried again: at most a fifth of the time goes into that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from headrace.errors import HeadraceError, StartError
from headrace.models.ask import ServerModels

_TIMEOUT_S = 300.0
_MOST_WAITING = 1024
_MOST_KEPT = 1024
_PAUSE_S = 30.0
_REST = 4.0

_log = logging.getLogger("headrace.dashboard")
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


Serves = Callable[[Loaded], bool]
"""Whether a version still serves as it was loaded, as far as was seen."""


class _Found(NamedTuple):
    """What is known; ``again_s`` is when it is worth another try, None that it is not."""

    limit: Limit | None = None
    again_s: float | None = None


class _Wanted(NamedTuple):
    """One that is to be predicted, if it still serves by then."""

    server: ServerModels
    loaded: Loaded
    serves: Serves


def always(loaded: Loaded) -> bool:  # noqa: ARG001
    """Take it for one that serves."""
    return True


class Limits:
    """Limits that are known, and those that are being predicted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Loaded, _Found] = {}
        self._planned: dict[str, Limit] = {}
        self._waiting: asyncio.Queue[_Wanted] = asyncio.Queue(_MOST_WAITING)

    def of(self, loaded: Loaded) -> Limit | None:
        """What is known of a version; None: nothing yet."""
        found = self._known.get(loaded)
        return None if found is None else found.limit

    def want(self, server: ServerModels, loaded: Loaded, serves: Serves = always) -> None:
        """Have it predicted, if it is not yet; when too many wait already, ask again later.

        Whether it still serves is asked when its turn comes: who watches a model must not have it
        loaded.
        """
        found = self._known.get(loaded, _Found(again_s=self._clock()))
        if found.again_s is None or found.again_s > self._clock():
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait(_Wanted(server, loaded, serves))
            _keep(self._known, loaded, _Found(found.limit))

    async def run(self) -> None:
        """Predict what is wanted, until cancelled."""
        own = ThreadPoolExecutor(1, "limits")
        try:
            while True:
                wanted = await self._waiting.get()
                if wanted.serves(wanted.loaded):
                    _keep(self._known, wanted.loaded, await self._found(wanted, own))
                else:
                    self._known.pop(wanted.loaded, None)
                self._waiting.task_done()
        finally:
            own.shutdown(wait=False)

    async def _found(self, wanted: _Wanted, own: ThreadPoolExecutor) -> _Found:
        began_s = self._clock()
        try:
            return _Found(await self._find(wanted.server, wanted.loaded, own))
        except (HeadraceError, TimeoutError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the border of a prediction
            _log.error("no limit of %s", wanted.loaded.name, exc_info=error)
            reason = f"{type(error).__name__}: {error}"
        now_s = self._clock()
        again_s = now_s + max(_PAUSE_S, _REST * (now_s - began_s))
        return _Found(Limit(None, None, (reason,)), again_s)

    async def _find(self, server: ServerModels, loaded: Loaded, own: ThreadPoolExecutor) -> Limit:
        loop = asyncio.get_running_loop()
        said = await loop.run_in_executor(own, server.profile, loaded.name, loaded.version)
        # What has run since changes all the time, and is not planned with.
        profile = {key: value for key, value in said.items() if key != "seen"}
        text = json.dumps(profile, sort_keys=True)
        if text not in self._planned:
            _keep(self._planned, text, await _plan(text))
        return self._planned[text]


async def _plan(profile: str) -> Limit:
    """Have it made.

    Raises:
        StartError: its process ended before it had said something.
        TimeoutError: it took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "headrace", "plan", "--profile", "/dev/stdin"),
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
    except TimeoutError as error:
        raise TimeoutError(f"no prediction within {_TIMEOUT_S:.0f} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()  # else there is one more to watch for each that took too long
    try:
        return read(said)
    except ValueError as error:
        ended = f"no plan was made: its process ended with status {process.returncode}"
        raise StartError(complaint.decode("utf-8", "replace").strip() or ended) from error


def read(said: bytes) -> Limit:
    """Read what ``headrace plan --json`` printed.

    Raises:
        ValueError: that is no JSON; it did not come so far.
    """
    plan: Mapping[str, Any] = json.loads(said)
    if not plan.get("ok"):
        return Limit(None, None, (str(plan.get("error", "no plan")),))
    return Limit(plan["limit_rps"]["mean"], plan["slo_ms"], tuple(plan["reasons"]))


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Put it in; what has been there longest makes room."""
    kept[key] = value
    while len(kept) > _MOST_KEPT:
        del kept[next(iter(kept))]
