"""What is counted for each served version, and how Prometheus reads it.

Recording is plain addition by the receiver's one thread; ``collect`` runs when somebody scrapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)

from headrace.observe.families import Family, Histograms
from headrace.observe.histogram import ROWS, Histogram
from headrace.observe.phases import Passed
from headrace.observe.requests import OTHER, Requests
from headrace.observe.runs import Runs
from headrace.observe.slowest import Slowest

NORMAL_PRIORITY = 1000
"""What clients call the priority that stands in the middle: 1 goes first, 0 asks for this one."""

_WHICH = ("model", "version")

# What is told before the first of it: Prometheus takes a count that begins at 1 for one that has
# always been 1, so of an alarm on its rate the first error, which may be the only one, is unseen.
_OVERLOADED, _BROKEN = ("queue_full", "expired"), ("internal", "scribe_lost")
_TOLD = dict.fromkeys(
    ("ok", "predicted_miss", "shed", *_OVERLOADED, "inference_failed", "engine_lost", *_BROKEN), 0
)
_REFUSALS_TOLD = dict.fromkeys(("exhausted", *_OVERLOADED, *_BROKEN), 0)

GAUGES: dict[str, str] = {
    "queue_length": "Requests that wait for a batch now.",
    "running_batches": "Batches handed to the engine and not ended.",
    "run_tail_ratio": "98 of 100 runs take at most so many times what is expected of them.",
    "handover_seconds": "What a batch that finds a free lane takes besides its run, of late.",
    "device_share": "The part of the device that its scheduler counts on; 1 where it is alone.",
    "active_lanes": "Batches that may run at a time now, of as many instances.",
    "batch_cap": "The largest batch worth running now, of the shape that ran last.",
    "sequences": "Sequences whose state is kept now; 0 of a model without state.",
}
"""Gauges by name, and what they say."""


class ModelMetrics:
    """The numbers of one version of one model.

    ``requests`` are the times of requests, ``assemble`` and ``infer`` seconds a batch, ``rows``
    rows a batch; ``outcomes`` counts requests by reason: ``ok`` or an error's code.
    ``asked_elements`` are the input elements that clients sent, ``run_elements`` those that ran,
    with the padding; both stay 0 where nothing is padded. ``runs`` are the batches by their size,
    ``slowest`` the requests that took longest, ``changes`` what was changed while serving, by what
    and why, and ``control`` tells the last. A run takes ``threads`` cores.
    """

    __slots__ = (
        "asked_elements",
        "assemble",
        "changes",
        "control",
        "gauges",
        "infer",
        "model",
        "outcomes",
        "requests",
        "rows",
        "run_elements",
        "runs",
        "sequences_expired",
        "slowest",
        "threads",
        "version",
    )

    def __init__(self, model: str, version: int, threads: int = 1) -> None:
        self.model = model
        self.version = version
        self.threads = threads
        self.requests = Requests()
        self.assemble = Histogram()
        self.infer = Histogram()
        self.rows = Histogram(ROWS)
        self.asked_elements = 0
        self.run_elements = 0
        self.runs = Runs()
        self.slowest = Slowest[Passed]()
        self.outcomes: Counter[str] = Counter()
        self.changes: Counter[tuple[str, str]] = Counter()
        self.control: Callable[[], dict[str, Any]] = dict
        self.gauges: dict[str, Callable[[], float]] = {"sequences": lambda: 0}
        self.sequences_expired: Callable[[], float] = lambda: 0


class Collector:
    """Hands the numbers of versions to a page, or to ``prometheus_client``."""

    def __init__(self, versions: Sequence[ModelMetrics]) -> None:
        self._versions = versions

    def families(self) -> Iterator[Family]:
        """Yield every metric family."""
        yield from _of_requests(self._versions)
        yield from _of_batches(self._versions)
        yield from _of_gauges(self._versions)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, as the library has it."""
        for family in self.families():
            yield family.metric() if isinstance(family, Histograms) else family


class RefusalCollector:
    """Hands it what came to no model; ``refused`` counts it by the codes of errors."""

    def __init__(self, refused: Counter[str]) -> None:
        self._refused = refused

    def collect(self) -> Iterator[Metric]:
        """Yield the one family."""
        refused = CounterMetricFamily(
            "headrace_refused",
            "Requests answered with an error before they reached a model, by code.",
            labels=("outcome",),
        )
        for outcome, count in {**_REFUSALS_TOLD, **self._refused}.items():
            refused.add_metric((outcome,), count)
        yield refused


def _labels(one: ModelMetrics) -> tuple[str, str]:
    return one.model, str(one.version)


def _of_requests(versions: Sequence[ModelMetrics]) -> Iterator[Family]:
    phases = Histograms(
        "headrace_phase_seconds",
        "Time in each phase: load, receive, decode, queue, results, encode and total a request; "
        "assemble and infer a batch.",
        labels=(*_WHICH, "phase"),
    )
    took = Histograms(
        "headrace_request_seconds",
        "Time from arrival to answer, by priority (1000: normal, less goes first) and outcome.",
        labels=(*_WHICH, "priority", "outcome"),
    )
    outcomes = CounterMetricFamily(
        "headrace_requests",
        "Requests by outcome: ok, or the code of the error that answered them.",
        labels=(*_WHICH, "outcome"),
    )
    expired = CounterMetricFamily(
        "headrace_sequences_expired",
        "Sequences forgotten because they had no request for too long.",
        labels=_WHICH,
    )
    for one in versions:
        labels = _labels(one)
        of_batches = {"assemble": one.assemble, "infer": one.infer}
        for phase, histogram in (*one.requests.phases.items(), *of_batches.items()):
            phases.add((*labels, phase), histogram)
        for (priority, outcome), histogram in one.requests.took.items():
            named = str(priority + NORMAL_PRIORITY) if priority != OTHER else "other"
            values = (*labels, named, outcome)
            took.add(values, histogram)
        for outcome, count in {**_TOLD, **one.outcomes}.items():
            outcomes.add_metric((*labels, outcome), count)
        expired.add_metric(labels, one.sequences_expired())
    yield from (phases, took, outcomes, expired)


def _of_batches(versions: Sequence[ModelMetrics]) -> Iterator[Family]:
    rows = Histograms("headrace_batch_rows", "Rows of batches that an engine got.", labels=_WHICH)
    elements = CounterMetricFamily(
        "headrace_run_elements",
        "Input elements that ran, of models that are padded: asked for, and padding.",
        labels=(*_WHICH, "kind"),
    )
    cores = CounterMetricFamily(
        "headrace_core_seconds",
        "Seconds of a core that its runs took: their time, times the threads of one.",
        labels=_WHICH,
    )
    changes = CounterMetricFamily(
        "headrace_control_changes",
        "What was changed while serving: lanes, batch_cap or admission, and why.",
        labels=(*_WHICH, "what", "cause"),
    )
    for one in versions:
        labels = _labels(one)
        rows.add(labels, one.rows)
        if one.run_elements:
            elements.add_metric((*labels, "asked"), one.asked_elements)
            elements.add_metric((*labels, "padding"), one.run_elements - one.asked_elements)
        cores.add_metric(labels, one.infer.total * one.threads)
        for what, count in one.changes.items():
            changes.add_metric((*labels, *what), count)
    yield from (rows, elements, cores, changes)


def _of_gauges(versions: Sequence[ModelMetrics]) -> Iterator[Family]:
    gauges: dict[str, GaugeMetricFamily] = {}
    for one in versions:
        for name, read in one.gauges.items():
            if name not in gauges:
                gauges[name] = GaugeMetricFamily(f"headrace_{name}", GAUGES[name], labels=_WHICH)
            gauges[name].add_metric(_labels(one), read())
    yield from gauges.values()
