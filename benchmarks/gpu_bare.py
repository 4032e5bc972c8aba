"""The bare CUDA-graph loop: what a GPU does with a program when nothing else has to be done.

``python -m benchmarks.gpu_bare FOLDER PRECISION DEVICE SECONDS SIZE...`` prints one JSON object:
for every batch size the rows/s and the p99 of a batch's time. Inputs are copied from pinned memory,
a captured graph is replayed, outputs are copied back; two batches are under way at a time, so that
copies cost nothing while the other computes. That is as fast as a server could be. Of ours it takes
the reading of the file, and nothing of how it is run. On ``cpu`` nothing is captured: to try it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from headrace.engine.backends import torch_program
from headrace.engine.backends.torch_normalise import taking_bytes
from headrace.engine.backends.torch_tensors import TYPES, Program
from headrace.loader.card import read_card

_cuda: Any = torch.cuda  # half of which has no types
HALVES = {"f32": None, "f16": torch.float16, "bf16": torch.bfloat16}
_RUNS_BEFORE = 3


class Bare(NamedTuple):
    """What the loop did with one batch size."""

    rows_per_s: float
    p99_s: float


def measure(
    folder: Path, precision: str, seconds: float, sizes: Sequence[int], device: str = "cuda"
) -> dict[int, Bare]:
    """Run the loop in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu_bare", str(folder), precision, device]
    done = subprocess.run(
        [*command, str(seconds), *map(str, sizes)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the bare loop failed: {done.stderr[-2000:]}")
    found: dict[str, list[float]] = json.loads(done.stdout)
    return {int(size): Bare(*numbers) for size, numbers in found.items()}


def loop(
    folder: Path, precision: str, device: torch.device, seconds: float, sizes: Sequence[int]
) -> dict[int, Bare]:
    """Run it in this process."""
    program = torch_program.read(folder / "1" / "model.pt2", device, HALVES[precision])
    program = taking_bytes(program, read_card(folder).normalise, device)
    with torch.inference_mode():
        return {size: _loop(program, device, size, seconds) for size in sizes}


def _main(arguments: Sequence[str]) -> None:
    device, seconds = torch.device(arguments[2]), float(arguments[3])
    sizes = list(map(int, arguments[4:]))
    found = loop(Path(arguments[0]), arguments[1], device, seconds, sizes)
    sys.stdout.write(json.dumps(found))


def _loop(program: Program, device: torch.device, rows: int, seconds: float) -> Bare:
    make = _on_gpu if device.type == "cuda" else _on_cpu
    lanes = [make(program, device, rows) for _ in range(2)]
    began = [0.0, 0.0]
    times: list[float] = []
    for start, finish in lanes:  # once without the clock
        start()
        finish()
    started = now = time.perf_counter()
    end, number = started + seconds, 0
    while now < end or number < len(lanes):
        lane = number % 2
        start, finish = lanes[lane]
        if number >= len(lanes):
            finish()
            times.append(time.perf_counter() - began[lane])
        began[lane] = now = time.perf_counter()
        start()
        number += 1
    ended = len(times)
    took_s = time.perf_counter() - started
    for _, finish in lanes:
        finish()
    p99_s = float(np.quantile(times, 0.99)) if times else took_s
    return Bare(rows * max(ended, 1) / took_s, p99_s)


Lane = tuple[Callable[[], None], Callable[[], None]]


def _inputs(program: Program, rows: int) -> list[torch.Tensor]:
    return [
        torch.ones([rows, *(dim or 1 for dim in spec.wire_shape[1:])], dtype=TYPES[spec.dtype])
        for spec in program.signature.inputs
    ]


def _on_gpu(program: Program, device: torch.device, rows: int) -> Lane:
    stream = _cuda.Stream(device)
    done = _cuda.Event(blocking=True)
    given = [tensor.pin_memory() for tensor in _inputs(program, rows)]
    with _cuda.stream(stream):
        there = [tensor.to(device) for tensor in given]
        for _ in range(_RUNS_BEFORE):
            program.run(there)
        graph = _cuda.CUDAGraph()
        with _cuda.graph(graph, stream=stream):
            found = program.run(there)
    back = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in found]

    def start() -> None:
        with _cuda.stream(stream):
            for tensor, place in zip(given, there, strict=True):
                place.copy_(tensor, non_blocking=True)
            graph.replay()
            for tensor, place in zip(found, back, strict=True):
                place.copy_(tensor, non_blocking=True)
            done.record(stream)

    return start, done.synchronize


def _on_cpu(program: Program, device: torch.device, rows: int) -> Lane:
    given = _inputs(program, rows)

    def start() -> None:
        program.run([tensor.to(device) for tensor in given])

    return start, lambda: None


if __name__ == "__main__":
    _main(sys.argv[1:])
