"""GPUs are told where NVML has some, and nothing where it has none."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.observe.gpu import GpuCollector
from headrace.observe.processes import ProcessUse


class NVMLError(Exception):
    """What the library raises."""


class Nvml:
    """A library with one GPU, which does not tell its power, or with no driver."""

    NVMLError = NVMLError

    def __init__(self, *, driver: bool = True) -> None:
        self._driver = driver
        self.begun = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        self.begun += 1
        if not self._driver:
            raise NVMLError

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "gpu",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5000),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=25),
            "nvmlDeviceGetComputeRunningProcesses": [
                SimpleNamespace(pid=7, usedGpuMemory=3000),
                SimpleNamespace(pid=8, usedGpuMemory=None),
                SimpleNamespace(pid=9, usedGpuMemory=1000),
            ],
        }

        def answer(*_: object) -> Any:
            if name not in answers:
                raise NVMLError
            return answers[name]

        return answer


OURS = [ProcessUse(7, "engine", "m", "1", 0, 0), ProcessUse(8, "engine", "n", "1", 0, 0)]


def told(collector: GpuCollector) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in collector.collect()
    }


def test_what_is_known_of_a_gpu_and_of_our_processes_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    engine = {"process": "engine", "model": "m", "version": "1", "gpu": "0"}
    assert told(GpuCollector(lambda: OURS)) == {
        "headrace_process_gpu_memory_bytes": [(engine, 3000)],
        "headrace_gpu_busy_ratio": [({"gpu": "0"}, 0.25)],
        "headrace_gpu_memory_bytes": [({"gpu": "0"}, 5000)],
        "headrace_gpu_watts": [],
    }


def test_engines_of_one_version_are_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    both = [*OURS, ProcessUse(9, "engine", "m", "1", 0, 0)]
    ((_, held_bytes),) = told(GpuCollector(lambda: both))["headrace_process_gpu_memory_bytes"]
    assert held_bytes == 4000


class Sick(Nvml):
    """A library with two GPUs, of which the first has fallen off the bus, or all."""

    def __init__(self, *, lost: bool = False) -> None:
        super().__init__()
        self._lost = lost

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self._lost:
            raise NVMLError
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> str:  # noqa: N802
        if number == 0:
            raise NVMLError
        return "gpu"


def test_a_gpu_that_does_not_answer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Sick())
    families = told(GpuCollector(lambda: OURS))
    assert families["headrace_gpu_busy_ratio"] == [({"gpu": "1"}, 0.25)]
    assert families["headrace_gpu_memory_bytes"] == [({"gpu": "1"}, 5000)]


def test_without_any_that_answers_there_are_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Sick(lost=True))
    assert set(map(len, told(GpuCollector(lambda: OURS)).values())) == {0}


def test_without_a_driver_nothing_is_told_and_it_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvml = Nvml(driver=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    collector = GpuCollector(lambda: OURS)
    assert told(collector) == told(collector) == {}
    assert nvml.begun == 1


def test_without_the_library_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert told(GpuCollector(lambda: OURS)) == {}
