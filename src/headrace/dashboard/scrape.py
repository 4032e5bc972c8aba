"""What the page of ``/metrics`` says of each version: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from headrace.dashboard.counts import Counts
from headrace.errors import MalformedAnswer

Key = tuple[str, int]
"""A model's name and the number of a version."""

_PREFIX = "headrace_"
_PHASES, _ROWS = "headrace_phase_seconds", "headrace_batch_rows"
_PROCESS, _ELEMENTS = "headrace_process_", "headrace_run_elements_total"
_REQUESTS, _REFUSED = "headrace_requests_total", "headrace_refused_total"


@dataclass(frozen=True, slots=True)
class Version:
    """One version so far: requests by outcome, times by phase, rows a batch; gauges as they are.

    ``elements`` are the input elements that ran: ``asked`` for, and ``padding``.
    """

    outcomes: Mapping[str, float] = field(default_factory=dict)
    phases: Mapping[str, Counts] = field(default_factory=dict)
    rows: Counts = field(default_factory=Counts)
    elements: Mapping[str, float] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)


class Process(NamedTuple):
    """A process of the server: what it is, and of which version, if of one."""

    role: str
    model: str
    version: str


class ProcessUse(NamedTuple):
    """What a process has taken so far, all its threads together, and has in memory now."""

    cpu_s: float = 0.0
    memory_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a server has counted so far; ``refused`` are requests that reached no model."""

    versions: Mapping[Key, Version]
    refused: Mapping[str, float]
    processes: Mapping[Process, ProcessUse] = field(default_factory=dict)


class _Histogram:
    """One that is being read."""

    def __init__(self) -> None:
        self.cumulative: dict[float, float] = {}
        self.total = 0.0

    def take(self, sample: Sample) -> None:
        if sample.name.endswith("_bucket"):
            self.cumulative[float(sample.labels["le"])] = sample.value
        elif sample.name.endswith("_sum"):
            self.total = sample.value

    def counts(self) -> Counts:
        return Counts.of(self.cumulative, self.total)


class _Version:
    """One that is being read."""

    def __init__(self) -> None:
        self.outcomes: dict[str, float] = {}
        self.phases: defaultdict[str, _Histogram] = defaultdict(_Histogram)
        self.rows = _Histogram()
        self.elements: dict[str, float] = {}
        self.gauges: dict[str, float] = {}

    def take(self, sample: Sample) -> None:
        labels = sample.labels
        if sample.name == _REQUESTS:
            self.outcomes[labels["outcome"]] = sample.value
        elif sample.name.startswith(_PHASES):
            self.phases[labels["phase"]].take(sample)
        elif sample.name.startswith(_ROWS):
            self.rows.take(sample)
        elif sample.name == _ELEMENTS:
            self.elements[labels["kind"]] = sample.value
        elif labels.keys() == {"model", "version"}:
            self.gauges[sample.name.removeprefix(_PREFIX)] = sample.value

    def read(self) -> Version:
        phases = {name: one.counts() for name, one in self.phases.items()}
        return Version(self.outcomes, phases, self.rows.counts(), self.elements, self.gauges)


def read(text: str) -> Snapshot:
    """Read a page.

    Raises:
        MalformedAnswer: it is none.
    """
    versions: defaultdict[Key, _Version] = defaultdict(_Version)
    refused: dict[str, float] = {}
    processes: dict[Process, ProcessUse] = {}
    try:
        for sample in _samples(text):
            if sample.name == _REFUSED:
                refused[sample.labels["outcome"]] = sample.value
            elif sample.name.startswith(_PROCESS):
                _take_process(sample, processes)
            elif "model" in sample.labels and sample.labels.get("version", "").isdecimal():
                key = sample.labels["model"], int(sample.labels["version"])
                versions[key].take(sample)
    except Exception as error:  # whatever the parser makes of what is no page
        raise MalformedAnswer(f"/metrics cannot be read: {error}") from error
    return Snapshot({key: one.read() for key, one in versions.items()}, refused, processes)


def _take_process(sample: Sample, processes: dict[Process, ProcessUse]) -> None:
    """Several engines of one name are added up: one may be on its way in, another out."""
    labels = sample.labels
    key = Process(labels["process"], labels["model"], labels["version"])
    use = processes.get(key, ProcessUse())
    if sample.name == f"{_PROCESS}cpu_seconds_total":
        processes[key] = use._replace(cpu_s=use.cpu_s + sample.value)
    elif sample.name == f"{_PROCESS}memory_bytes":
        processes[key] = use._replace(memory_bytes=use.memory_bytes + sample.value)


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        if family.name.startswith(_PREFIX):
            yield from family.samples
