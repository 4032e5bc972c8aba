"""All that can die does, by chance, and every answer that clients get meanwhile is checked.

Engines, the process that they are forked from, the receiver and the scribe are killed; engines
stand still; models are unloaded and loaded again, and their files written anew. Models made for it
multiply by a number that only one of their versions has, so that the answer of another request,
model or version is seen; what a real one says is compared with what it said before. Clients may be
refused, with a typed error, or lose their connection where the receiver is killed. Nothing else.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

import headrace
from benchmarks import models
from benchmarks.chaos_calls import MULTIPLIERS, Caller, Real, Seen, multiplier, recovers
from benchmarks.figures import Figure
from headrace.errors import HeadraceError
from headrace.testing import Server

_SEED, _DURATION_S, _CALLERS = 5, 120.0, 8
_LEAST_PAUSE_S, _MORE_PAUSE_S = 1.0, 4.0
_STILL_S = 1.5
# Of each kind of blow, in the order below: orders take seconds, in which nothing else is struck.
_WEIGHTS = (4, 2, 2, 2, 3, 1, 1)
_ORDER_TIMEOUT_S = 60.0
_END_S, _BACK_S = 60.0, 15.0
_VERSIONS = (1, 2)
_MODEL = '''"""Multiplies by what only this version multiplies by."""

import random
import time

import numpy as np


class Model:
    inputs = {{"x": ("FP32", [None, None])}}
    outputs = {{"y": ("FP32", [None, None])}}

    def infer(self, batch):
        time.sleep(0.01 * random.random())
        return {{"y": batch["x"] * np.float32({by})}}
'''


def measure(progress: Callable[[str], None], duration_s: float = _DURATION_S) -> Iterator[Figure]:
    """Strike for a while, then wait until all is well."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        store = Path(folder)
        for name in MULTIPLIERS:
            for version in _VERSIONS:
                _write(store, name, version)
        (store / models.LIGHT).symlink_to(models.folder(models.LIGHT))
        with Server(store, "--model-control", "explicit") as server:
            yield from _strike(server, store, duration_s, progress)


def _strike(
    server: Server, store: Path, duration_s: float, progress: Callable[[str], None]
) -> Iterator[Figure]:
    seen, stopped = Seen(), threading.Event()
    real = _real(server.address)
    callers = [
        threading.Thread(target=Caller(server.address, real, seen, number).run, args=(stopped,))
        for number in range(_CALLERS)
    ]
    for caller in callers:
        caller.start()
    blows = Blows(server, store, random.Random(_SEED))
    end_s = time.monotonic() + duration_s
    try:
        while (left_s := end_s - time.monotonic()) > 0:
            progress(f"{left_s:.0f} s left; {seen.count('right'):,} answers, {blows.told}")
            blows.strike()
    finally:
        stopped.set()
        for caller in callers:
            caller.join(_END_S)
    endless = seen.count("endless") + sum(caller.is_alive() for caller in callers)
    progress("waiting until all is well")
    blows.all_at_once()
    began_s = time.monotonic()
    for name in (*MULTIPLIERS, real.name):
        _wait_answered(server.address, name)
    back_s = time.monotonic() - began_s
    status = server.stop()
    for name, value in (
        ("wrong answers", seen.count("wrong")),
        ("errors that blame the wrong one, or have no type", seen.count("mistaken")),
        ("calls without an end", endless),
    ):
        note = f"of {seen.count('right'):,} answers"
        if name == "wrong answers":
            note += f", {blows.told}"
        yield Figure(name, value, "", 0, at_most=True, note=seen.first_wrong or note)
    yield Figure(
        "all killed at once: until every model answers", back_s, "s", _BACK_S, at_most=True
    )
    yield Figure(
        "exit status in the end",
        status,
        "",
        0,
        at_most=True,
        note=f"refused meanwhile: {seen.errors}; cut off {seen.count('cut'):,}",
    )


class Blows:
    """What happens to a server, by chance."""

    def __init__(self, server: Server, store: Path, chance: random.Random) -> None:
        self._server = server
        self._store = store
        self._random = chance
        self._counts: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[], bool]] = {
            "engine killed": lambda: self._kill("headrace.engine.worker"),
            "nursery killed": lambda: self._kill("headrace.engine.nursery"),
            "receiver killed": lambda: self._kill("envoy --config-path"),
            "scribe killed": lambda: self._kill("headrace.receiver.scribe"),
            "engine frozen": self._freeze,
            "model unloaded": self._unload,
            "file written": self._rewrite,
        }

    @property
    def told(self) -> str:
        """How often what has happened."""
        return ", ".join(f"{kind} {count}" for kind, count in self._counts.most_common())

    def strike(self) -> None:
        """Wait a moment, then do one of them."""
        time.sleep(_LEAST_PAUSE_S + _MORE_PAUSE_S * self._random.random())
        kind = self._random.choices(list(self._kinds), _WEIGHTS)[0]
        with contextlib.suppress(psutil.Error, OSError):  # it has just ended by itself
            self._counts[kind] += self._kinds[kind]()

    def all_at_once(self) -> None:
        """Kill all but the supervisor."""
        for one in self._processes(""):
            with contextlib.suppress(psutil.Error):
                one.kill()

    def _kill(self, command: str) -> bool:
        found = self._processes(command)
        if not found:
            return False
        self._random.choice(found).send_signal(signal.SIGKILL)
        return True

    def _freeze(self) -> bool:
        found = self._processes("headrace.engine.worker")
        if not found:
            return False
        engine = self._random.choice(found)
        engine.suspend()
        try:
            time.sleep(_STILL_S * self._random.random())
        finally:
            engine.resume()
        return True

    def _unload(self) -> bool:
        name = self._random.choice(MULTIPLIERS)
        self._order(name, "unload")
        time.sleep(self._random.random())
        self._order(name, "load")
        return True

    def _rewrite(self) -> bool:
        name, version = self._random.choice(MULTIPLIERS), self._random.choice(_VERSIONS)
        _write(self._store, name, version)
        self._order(name, "load")
        return True

    def _order(self, name: str, verb: str) -> None:
        """Give an order; who is killed meanwhile does not carry it out, and it is given again."""
        end_s = time.monotonic() + _ORDER_TIMEOUT_S
        while True:
            try:
                answer = urllib.request.urlopen(
                    f"http://{self._server.address}/v2/repository/models/{name}/{verb}",
                    b"{}",
                    _ORDER_TIMEOUT_S,
                )
                answer.close()
                return
            except urllib.error.HTTPError as error:
                if time.monotonic() > end_s:
                    raise RuntimeError(f"cannot {verb} {name}: {json.load(error)}") from error
            except OSError:
                if time.monotonic() > end_s:
                    raise
            time.sleep(_LEAST_PAUSE_S / 4)

    def _processes(self, command: str) -> list[psutil.Process]:
        """Those of the server with this in their command line, in the order of their start."""
        below = psutil.Process(self._server.process.pid).children(recursive=True)
        found = [one for one in below if command in " ".join(one.cmdline())]
        return sorted(found, key=lambda one: one.pid)


def _write(store: Path, name: str, version: int) -> None:
    """Write a version's file in one piece, as if it had been made anew."""
    folder = store / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "model.py.new"
    draft.write_text(_MODEL.format(by=multiplier(name, version)))
    draft.replace(folder / "model.py")


def _real(address: str) -> Real:
    requests = models.requests(models.LIGHT)
    with headrace.Client(f"grpc://{address}") as client:
        answers = [dict(client.infer(models.LIGHT, request)) for request in requests]
    return Real(models.LIGHT, requests, answers)


def _wait_answered(address: str, name: str) -> None:
    """Ask a model until it answers.

    Raises:
        HeadraceError: it says that it never will, or has not for long.
    """
    end_s = time.monotonic() + _END_S
    request = {"x": [[1.0, 2.0]]} if name in MULTIPLIERS else models.requests(name)[0]
    with headrace.Client(f"grpc://{address}") as client:
        while True:
            try:
                client.infer(name, request, timeout_s=_END_S)
                return
            except HeadraceError as error:
                if not recovers(error) or time.monotonic() > end_s:
                    raise
                time.sleep(_LEAST_PAUSE_S / 10)
