"""What NVIDIA's GPUs are doing, and how much of their memory each process has (NVML).

Of the extra ``gpu``; without it, and where there is no GPU, nothing is told. What NVML calls
utilisation is the share of time in which any kernel ran, not how full the GPU was.
"""

from __future__ import annotations

import contextlib
import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from headrace.observe.processes import ProcessUse

_LIBRARY = "pynvml"


class GpuCollector:
    """Hands them to ``prometheus_client``."""

    def __init__(self, read: Callable[[], Iterable[ProcessUse]]) -> None:
        self._read = read
        self._nvml: Any = None
        self._tried = False

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, or none where there is no GPU to ask."""
        nvml = self._library()
        if nvml is None:
            return
        which = ("process", "model", "version", "gpu")
        held = GaugeMetricFamily(
            "headrace_process_gpu_memory_bytes", "GPU memory of each process.", labels=which
        )
        busy = GaugeMetricFamily(
            "headrace_gpu_busy_ratio",
            "The share of the time in which a kernel of any process ran.",
            labels=("gpu",),
        )
        used = GaugeMetricFamily(
            "headrace_gpu_memory_bytes", "Memory of the GPU in use, by anybody.", labels=("gpu",)
        )
        watts = GaugeMetricFamily("headrace_gpu_watts", "What it draws.", labels=("gpu",))
        ours = {one.pid: one for one in self._read()}
        for name, gpu in _answering(nvml):
            # Of a slice (MIG), or without the right to ask, some of these are refused.
            with contextlib.suppress(nvml.NVMLError):
                used.add_metric((name,), nvml.nvmlDeviceGetMemoryInfo(gpu).used)
            with contextlib.suppress(nvml.NVMLError):
                busy.add_metric((name,), nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100)
            with contextlib.suppress(nvml.NVMLError):
                watts.add_metric((name,), nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3)
            sums: Counter[tuple[str, str, str]] = Counter()  # of a version that is replaced two
            with contextlib.suppress(nvml.NVMLError):
                for process in nvml.nvmlDeviceGetComputeRunningProcesses(gpu):
                    one = ours.get(process.pid)
                    if one is not None and process.usedGpuMemory is not None:
                        sums[one.role, one.model, one.version] += process.usedGpuMemory
            for labels, size_bytes in sums.items():
                held.add_metric((*labels, name), size_bytes)
        yield from (held, busy, used, watts)

    def _library(self) -> Any:
        """NVML, if it is there and has a GPU; tried once."""
        if not self._tried:
            self._tried = True
            try:
                nvml = importlib.import_module(_LIBRARY)
            except ImportError:
                return None
            try:
                nvml.nvmlInit()
            except nvml.NVMLError:  # no driver
                return None
            self._nvml = nvml
        return self._nvml


def _answering(nvml: Any) -> Iterator[tuple[str, Any]]:
    """Every GPU by its number; one that has fallen off the bus is left out, and not the others."""
    count = 0
    with contextlib.suppress(nvml.NVMLError):
        count = nvml.nvmlDeviceGetCount()
    for number in range(count):
        try:
            gpu = nvml.nvmlDeviceGetHandleByIndex(number)
        except nvml.NVMLError:
            continue
        yield str(number), gpu
