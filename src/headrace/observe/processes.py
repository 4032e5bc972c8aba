"""What the processes of the server take: their processor time and memory, as the kernel counts it.

Read when somebody scrapes: the children of the supervisor are those, and the engines that its
nursery forked; their command lines say what they are.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headrace.proc import children, cpu_s, read, resident_bytes

_ENGINE, _SCRIBE = "headrace.engine.worker", "headrace.receiver.scribe"
_NURSERY = "headrace.engine.nursery"
_RECEIVER = re.compile(r"--config-path .*/receiver-(\d+)\.json")  # an Envoy, and which it is


class ProcessUse(NamedTuple):
    """One process: ``role`` is supervisor, receiver, scribe, nursery or engine, which has a model.

    Of several receivers those after the first are ``receiver-1`` and so on.

    ``cpu_s`` are the seconds of processor time that it has taken, all threads together.
    """

    pid: int
    role: str
    model: str
    version: str
    cpu_s: float
    resident_bytes: int


def processes(supervisor: int) -> Iterator[ProcessUse]:
    """Those of one server; one that ends just now is left out."""
    yield from _use(supervisor, "supervisor")
    for pid in children(supervisor):
        for one in _use(pid):
            yield one
            if one.role == "nursery":
                for forked in children(pid):
                    yield from _use(forked)


def _use(pid: int, role: str = "") -> Iterator[ProcessUse]:
    with contextlib.suppress(OSError, IndexError, ValueError):
        what = (role, "", "") if role else _role(read(pid, "cmdline"))
        yield ProcessUse(pid, *what, cpu_s(pid), resident_bytes(pid))


def _role(command: bytes) -> tuple[str, str, str]:
    """What a process is, by its command line."""
    words = command.replace(b"\0", b" ").decode(errors="replace").strip()
    _, found, rest = words.partition(_ENGINE)
    if found:
        model, _, version = rest.strip().rpartition("/")
        return "engine", model, version
    receiver = _RECEIVER.search(words)
    if receiver is not None:
        number = receiver[1]
        return "receiver" if number == "0" else f"receiver-{number}", "", ""
    if _NURSERY in words:
        return "nursery", "", ""
    return ("scribe" if _SCRIBE in words else "other"), "", ""


class ProcessCollector:
    """Hands them to ``prometheus_client``."""

    def __init__(self, read: Callable[[], Iterable[ProcessUse]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        which = ("process", "model", "version")
        cpu = CounterMetricFamily(
            "headrace_process_cpu_seconds", "Processor time of each process.", labels=which
        )
        memory = GaugeMetricFamily(
            "headrace_process_memory_bytes", "Resident memory of each process.", labels=which
        )
        sums: dict[tuple[str, str, str], tuple[float, int]] = {}
        for one in self._read():  # of some kinds there may be several
            labels = (one.role, one.model, one.version)
            cpu_s, size_bytes = sums.get(labels, (0.0, 0))
            sums[labels] = cpu_s + one.cpu_s, size_bytes + one.resident_bytes
        for labels, (cpu_s, size_bytes) in sums.items():
            cpu.add_metric(labels, cpu_s)
            memory.add_metric(labels, size_bytes)
        yield from (cpu, memory)
