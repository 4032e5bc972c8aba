"""What watching costs, and whether what is seen is true.

Three servers of the tiny model in turns: one in which nothing is counted, one as it comes, and one
with everything on: an access log of its usual fields, OpenTelemetry to a collector, Prometheus
after every second under load. Then what a scrape of many models does to the requests of one of
them, and the histograms of a server of a real model beside what its client measured.
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import h2load, models
from benchmarks.figures import Figure
from benchmarks.tiny import to_h2load
from headrace.load.arrivals import poisson
from headrace.load.payload import make_target
from headrace.load.plan import OpenLoop
from headrace.load.run import run
from headrace.testing import Server

# Short turns: the machine is another after a second, and what is looked for is some hundredths.
_STARTS, _ROUNDS, _REQUESTS, _CONNECTIONS, _STREAMS = 7, 30, 4_000, 16, 16
_MOST_LOST = 0.05
_SCRAPED_S = 1.0
# On the path of the server without counts: Python imports it at the start of every process.
_UNCOUNTED = Path(__file__).parent / "uncounted"
_MODELS, _TURNS, _TURN_S, _RATE_RPS, _MOST_SLOWER = 40, 5, 8.0, 200.0, 2.5
_LOAD_S, _SEED, _AGREE = 20.0, 3, 0.05
_SECONDS = "headrace_request_seconds"


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Measure the cost, what scrapes do, then the truth."""
    yield from _cost(progress)
    progress(f"requests beside scrapes of {_MODELS} models")
    yield _beside_scrapes()
    for name, rate_rps in (("minilm-int8", 100.0), ("efficientnet-lite0", 60.0)):
        progress(f"histograms of {name} beside its client")
        yield from _truth(name, rate_rps)


# -- what it costs ---------------------------------------------------------------------------------


def _cost(progress: Callable[[str], None]) -> Iterator[Figure]:
    chance = random.Random(_SEED)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        collector = stack.enter_context(_collector())
        seen = [_rates(number, folder, collector, chance, progress) for number in range(_STARTS)]
    least_rps = statistics.median(rate for rates in seen for rate in rates["uncounted"])
    for name in ("default", "everything"):
        # Of each round its own ratio: the machine drifts more than this costs. And of each start
        # its own: one server is some per cent faster than its like, as long as it lives.
        lost = [
            statistics.median(
                1 - rate / bare for rate, bare in zip(rates[name], rates["uncounted"], strict=True)
            )
            for rates in seen
        ]
        rate_rps = statistics.median(rate for rates in seen for rate in rates[name])
        yield Figure(
            f"throughput lost to what is watched: {name}",
            statistics.median(lost),
            "",
            _MOST_LOST,
            at_most=True,
            note=f"{min(lost):.3f} to {max(lost):.3f} of {_STARTS} starts; {rate_rps:,.0f} "
            f"requests/s, {least_rps:,.0f} with nothing counted",
        )


def _rates(
    number: int,
    folder: Path,
    collector: str,
    chance: random.Random,
    progress: Callable[[str], None],
) -> dict[str, list[float]]:
    """Start the three servers and load them in turns: the rates of each, round by round."""
    everything = {
        "HEADRACE_SERVER__ACCESS_LOG": str(folder / f"{number}.log"),
        "HEADRACE_SERVER__OTLP_ENDPOINT": collector,
    }
    environments: dict[str, dict[str, str]] = {
        "uncounted": {"PYTHONPATH": f"{_UNCOUNTED}:{os.environ.get('PYTHONPATH', '')}"},
        "default": {},
        "everything": everything,
    }
    rates: dict[str, list[float]] = {name: [] for name in environments}
    with contextlib.ExitStack() as stack:
        addresses = {
            name: stack.enter_context(
                Server(models.folder(models.TINY), environment=environment)
            ).address
            for name, environment in environments.items()
        }
        _refuse_counts(addresses["uncounted"])
        turns = list(addresses.items())
        unscraped_s = 0.0
        for turn in range(_ROUNDS + 1):
            progress(f"start {number + 1} of {_STARTS}, round {turn} of {_ROUNDS}")
            chance.shuffle(turns)  # who comes first is not always the same
            for name, address in turns:
                due = name == "everything" and unscraped_s >= _SCRAPED_S
                with _scraped_once(address) if due else contextlib.nullcontext():
                    rate_rps = _rate_rps(address)
                if name == "everything":
                    unscraped_s += _REQUESTS / rate_rps - _SCRAPED_S * due
                if turn:  # the first warms up
                    rates[name].append(rate_rps)
    return rates


def _rate_rps(address: str) -> float:
    target = make_target("oip-grpc", address, models.TINY, models.requests(models.TINY)[:1])
    load = to_h2load(target, http1=False)
    return h2load.run(load, _REQUESTS, _CONNECTIONS, _STREAMS).rate_rps


def _refuse_counts(address: str) -> None:
    """Make sure that the server which is to count nothing counts nothing."""
    _rate_rps(address)
    if sum(_cumulative(address).values()):
        raise RuntimeError("the server without counts counts")


@contextlib.contextmanager
def _collector() -> Iterator[str]:
    """Take spans and forget them, in a thread of this process: a share of the cores like others."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def _scraped_once(address: str) -> Iterator[None]:
    """Read the metrics meanwhile."""
    thread = threading.Thread(target=_page, args=(address,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextlib.contextmanager
def _scraped(address: str) -> Iterator[None]:
    """Read the metrics every second, as Prometheus may."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(_SCRAPED_S):
            _page(address)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text: str = answer.read().decode()
    return text


# -- beside scrapes --------------------------------------------------------------------------------


def _beside_scrapes() -> Figure:
    """What a scrape a second does to the p99 of one model of many, in turns with none."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = models.folder(models.TINY).resolve()
        for number in range(_MODELS):
            Path(folder, f"m{number}").symlink_to(tiny)
        with Server(Path(folder)) as server:
            target = make_target("oip-grpc", server.address, "m0", models.requests(models.TINY))
            quiet, scraped = list[float](), list[float]()
            for turn in range(2 * _TURNS + 1):
                watched = bool(turn % 2)
                with _scraped(server.address) if watched else contextlib.nullcontext():
                    result = run(OpenLoop(poisson(_RATE_RPS, _TURN_S, turn)), target)
                p99_s = float(np.quantile(result.done_s - result.sent_s, 0.99))
                if turn:  # the first warms up
                    (scraped if watched else quiet).append(p99_s)
            size_bytes = len(_page(server.address))
    return Figure(
        f"p99 of one of {_MODELS} models with a scrape a second, to that without",
        statistics.median(scraped) / statistics.median(quiet),
        "",
        _MOST_SLOWER,
        at_most=True,
        note=f"{statistics.median(scraped) * 1e3:.1f} ms, {min(scraped) * 1e3:.1f} to "
        f"{max(scraped) * 1e3:.1f}; without {statistics.median(quiet) * 1e3:.1f}; "
        f"{_RATE_RPS:.0f} requests/s, a page of {size_bytes / 1e6:.1f} MB",
    )


# -- whether it is true ----------------------------------------------------------------------------


def _truth(name: str, rate_rps: float) -> Iterator[Figure]:
    with Server(models.folder(name)) as server:
        target = make_target("oip-grpc", server.address, name, models.requests(name))
        run(OpenLoop(poisson(rate_rps, 2.0, 0)), target)
        before = _cumulative(server.address), _sum_s(server.address)
        result = run(OpenLoop(poisson(rate_rps, _LOAD_S, _SEED)), target)
        after = _cumulative(server.address), _sum_s(server.address)
    seen = {bound: count - before[0].get(bound, 0.0) for bound, count in after[0].items()}
    client_s = np.sort(result.done_s - result.sent_s)
    count = seen[float("inf")]
    if count != len(client_s):
        raise RuntimeError(f"the server counted {count:.0f} requests of {len(client_s)}")
    found = {
        "mean": ((after[1] - before[1]) / count, float(np.mean(client_s))),
        "p50": (_quantile(seen, 0.5), float(np.quantile(client_s, 0.5))),
        "p99": (_quantile(seen, 0.99), float(np.quantile(client_s, 0.99))),
    }
    for which, (server_s, own_s) in found.items():
        yield Figure(
            f"{name} at {rate_rps:.0f} requests/s: {which} of the histogram off the client's",
            abs(server_s / own_s - 1),
            "",
            _AGREE,
            at_most=True,
            note=f"{server_s * 1e3:.2f} ms of the server, {own_s * 1e3:.2f} ms of the client",
        )


def _cumulative(address: str) -> dict[float, float]:
    """Requests up to each bound, all models and outcomes together."""
    found: dict[float, float] = {}
    for family in text_string_to_metric_families(_page(address)):
        for sample in family.samples:
            if sample.name == f"{_SECONDS}_bucket":
                bound = float(sample.labels["le"])
                found[bound] = found.get(bound, 0.0) + sample.value
    return found


def _sum_s(address: str) -> float:
    families = text_string_to_metric_families(_page(address))
    samples: Sequence[float] = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"{_SECONDS}_sum"
    ]
    return sum(samples)


def _quantile(cumulative: dict[float, float], share: float) -> float:
    """As Prometheus' ``histogram_quantile`` does: straight lines inside a bucket."""
    bounds = sorted(cumulative)
    wanted = share * cumulative[bounds[-1]]
    lower_bound, lower = 0.0, 0.0
    for bound in bounds:
        count = cumulative[bound]
        if count >= wanted:
            within = (wanted - lower) / (count - lower)
            return lower_bound + within * (bound - lower_bound)
        lower_bound, lower = bound, count
    return lower_bound
