"""The bare backend loop: what the library does on this machine when nothing else has to be done.

``python -m benchmarks.bare MODEL_FILE BACKEND INSTANCES SECONDS SIZE...`` prints one JSON object:
for every batch size the rows/s of all instances together, each on a thread of its own as in an
engine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from headrace.engine import backends
from headrace.engine.backends.contract import Instance
from headrace.engine.item_shapes import item_shapes, make
from headrace.layers import resolve
from headrace.loader.card import read_card
from headrace.settings import BackendName, ModelSettings
from headrace.values import Array

SIZES = (1, 2, 4, 8, 16)


def measure(
    model: Path, backend: str, instances: int, seconds: float, sizes: Sequence[int] = SIZES
) -> dict[int, float]:
    """Run the loop in a process of its own; return rows/s by batch size."""
    command = [sys.executable, "-m", "benchmarks.bare", str(model), backend, str(instances)]
    done = subprocess.run(
        [*command, str(seconds), *map(str, sizes)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return {int(size): rate for size, rate in found.items()}


def _main(arguments: Sequence[str]) -> None:
    path, backend, instances, seconds = Path(arguments[0]), *arguments[1:4]
    asked = ModelSettings(backend=BackendName(backend), instances=int(instances), threads=1)
    settings = resolve(asked, read_card(path.parent, path.parent.parent), ModelSettings(), cores=1)
    _, model = backends.load(path, settings)
    lanes = [model.instance() for _ in range(int(instances))]
    item = item_shapes(model.signature, lanes[0], settings)[-1]
    rates = {}
    for size in map(int, arguments[4:]):
        inputs = make(model.signature, item, size)
        rates[size] = size * _runs_per_second(lanes, inputs, float(seconds))
    sys.stdout.write(json.dumps(rates))


def _runs_per_second(lanes: Sequence[Instance], inputs: dict[str, Array], seconds: float) -> float:
    for lane in lanes:
        lane.run(inputs)
    counts = [0] * len(lanes)
    end = time.perf_counter() + seconds

    def loop(number: int) -> None:
        while time.perf_counter() < end:
            lanes[number].run(inputs)
            counts[number] += 1

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(len(lanes))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


if __name__ == "__main__":
    _main(sys.argv[1:])
