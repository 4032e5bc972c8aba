"""Ten times as many models as there is room for: how long one takes that has to come back.

Copies of the tiny model, each a model of its own, few of them in memory at once. One client asks
them in turn, at random, and at random with favourites; then many ask for as many at one moment.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import models
from benchmarks.figures import Figure
from headrace.testing import Server

_MODELS, _PLACES, _ASKED, _AT_ONCE = 200, 20, 400, 40
_BACKEND = "onnxruntime"  # named, or each load would try two
_FAVOUR = 1.0  # Zipf's exponent: the n-th model is asked 1/n times as often as the first
_SEED = 11
_TIMEOUT_S = 120.0
_MIB = 2**20


@dataclass(slots=True)
class Asked:
    """What came of some requests: seconds of those whose model was there, and of the others."""

    warm_s: list[float] = field(default_factory=list)
    cold_s: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def hit_rate(self) -> float:
        """The part of them whose model was there, in %."""
        return 100 * len(self.warm_s) / (len(self.warm_s) + len(self.cold_s))


class Client:
    """Asks models, one after the other, and sees before each whether it is there."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        inputs = models.requests(models.TINY)[0]["x"]
        self._body = json.dumps({"input": inputs.tolist()}).encode()
        self.most_resident = 0

    def ask(self, name: str) -> float:
        """Return the seconds until its answer."""
        started_s = time.monotonic()
        url = f"{self._url}/predict/{name}"
        with urllib.request.urlopen(url, self._body, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            answer.read()
        return time.monotonic() - started_s

    def ask_all(self, names: Iterable[str], step: Callable[[int], None]) -> Asked:
        """Ask each of them."""
        asked = Asked()
        for number, name in enumerate(names):
            step(number)
            there = self.resident()
            self.most_resident = max(self.most_resident, len(there))
            try:
                (asked.warm_s if name in there else asked.cold_s).append(self.ask(name))
            except OSError:
                asked.failed += 1
        return asked

    def resident(self) -> set[str]:
        """The models in memory."""
        with urllib.request.urlopen(f"{self._url}/models", timeout=_TIMEOUT_S) as answer:  # noqa: S310
            rows = json.load(answer)["models"]
        return {row["name"] for row in rows if row["state"] == "serving"}


def measure(
    progress: Callable[[str], None],
    copies: int = _MODELS,
    places: int = _PLACES,
    asked: int = _ASKED,
    at_once: int = _AT_ONCE,
) -> Iterator[Figure]:
    """Serve the copies, and ask for them."""
    with tempfile.TemporaryDirectory(prefix="resident-") as folder:
        names = [f"m{number:03}" for number in range(copies)]
        for name in names:
            shutil.copytree(models.folder(models.TINY), Path(folder) / "models" / name)
        flags = ("--preload", "false", "--max-resident", str(places), "--backend", _BACKEND)
        environment = {"HEADRACE_SERVER__CACHE_DIR": str(Path(folder) / "cache")}
        with Server(Path(folder) / "models", *flags, environment=environment) as server:
            yield Figure(f"{copies} models: start to ready", _ready_s(server), "s")
            yield from _ask(server, names, asked, at_once, progress)


def _ready_s(server: Server) -> float:
    return server.ready_s - server.started_s


def _ask(
    server: Server, names: list[str], asked: int, at_once: int, progress: Callable[[str], None]
) -> Iterator[Figure]:
    client, chance = Client(server), random.Random(_SEED)
    supervisor = psutil.Process(server.process.pid)
    before = supervisor.memory_info().rss
    weights = [1 / rank**_FAVOUR for rank in range(1, len(names) + 1)]
    turns = {
        "each once": names,
        "evenly": chance.choices(names, k=asked),
        "with favourites": chance.choices(names, weights, k=asked),
    }
    failed, count = 0, 0
    for kind, order in turns.items():
        found = client.ask_all(
            order,
            lambda number, kind=kind: progress(f"{kind}, {number} asked"),  # type: ignore[misc]
        )
        failed, count = failed + found.failed, count + len(order)
        yield from _figures(kind, found)
    progress(f"{at_once} at once")
    yield _crowd(client, names, at_once)
    yield Figure("requests that failed", failed, "", 0, at_most=True, note=f"of {count}")
    places = _PLACES if len(names) == _MODELS else client.most_resident
    yield Figure("most models in memory", client.most_resident, "", places, at_most=True)
    yield Figure("times a model has left memory", _evictions(server), "")
    after = supervisor.memory_info().rss
    yield Figure(
        "memory of the supervisor at the end",
        after / _MIB,
        "MiB",
        note=f"{before / _MIB:.1f} MiB before the first request",
    )


def _figures(kind: str, found: Asked) -> Iterator[Figure]:
    cold, warm = sorted(found.cold_s), sorted(found.warm_s)
    if warm:
        yield Figure(f"{kind}: the model was there", found.hit_rate, "%")
        yield Figure(f"{kind}: then its answer took, median", 1e3 * statistics.median(warm), "ms")
    if cold:
        slow = cold[min(len(cold) - 1, int(0.99 * len(cold)))]
        yield Figure(
            f"{kind}: else its first answer took, median",
            statistics.median(cold),
            "s",
            note=f"p99 {slow:.2f} s, of {len(cold)}",
        )


def _crowd(client: Client, names: list[str], at_once: int) -> Figure:
    """As many clients, each for a model that is not there."""
    there = client.resident()
    wanted = list(itertools.islice((name for name in names if name not in there), at_once))
    started_s = time.monotonic()
    with ThreadPoolExecutor(len(wanted)) as pool:
        seconds = sorted(pool.map(client.ask, wanted))
    return Figure(
        f"{len(wanted)} that are not there asked for at once: until all have answered",
        time.monotonic() - started_s,
        "s",
        note=f"the first after {seconds[0]:.2f} s",
    )


def _evictions(server: Server) -> int:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=_TIMEOUT_S) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    moves = [
        line
        for line in lines
        if line.startswith("headrace_model_moves_total") and 'state="evicting"' in line
    ]
    return round(sum(float(line.rpartition(" ")[2]) for line in moves))
