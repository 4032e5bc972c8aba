"""A lab: a process that loads the model one way and runs it when it is told to.

One for each variant, so that libraries do not disturb each other, and a crash is a variant that
failed and not the end of the tuner. Orders come on standard input, reports go to standard output;
whatever libraries print goes to standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

import numpy as np

from headrace.engine import samples
from headrace.engine.backends.contract import Instance, Model
from headrace.engine.border import begin, refusal
from headrace.engine.built import built_of
from headrace.engine.checks import check
from headrace.engine.choice import choose
from headrace.engine.item_shapes import Make, Shapes, elements_of, fill_of, item_shapes, make
from headrace.engine.timing import timed
from headrace.engine.warmup import find_batched, largest
from headrace.engine_control import SignatureMessage
from headrace.errors import InferenceFailed
from headrace.message import Message, line
from headrace.proc import resident_bytes
from headrace.settings import ModelSettings
from headrace.tune.messages import (
    Answer,
    Answered,
    Failed,
    Load,
    Loaded,
    Ran,
    Report,
    Time,
    Together,
    Took,
    order,
)
from headrace.values import Array

# Lanes run beside each other for so long: some hundred runs of a fast model, a few of a slow one.
_TOGETHER_S, _LEAST_RUNS = 0.2, 4


class Lab:
    """A loaded model, its lanes, and what they are run with."""

    def __init__(
        self, model: Model, instances: Sequence[Instance], make_rows: Make, shape: Shapes
    ) -> None:
        self._model = model
        self._instances = instances
        self._make = make_rows
        self._shape = shape
        self._inputs: dict[int, Mapping[str, Array]] = {}

    def do(self, told: Time | Together | Answer) -> Report:
        """Carry an order out.

        Raises:
            InferenceFailed: the model does not run so.
        """
        if isinstance(told, Time):
            return Took(times_s=tuple(timed(self._instances[0], self._made(told.rows))))
        if isinstance(told, Together):
            return self._together(told.rows, told.lanes)
        self._answer(Path(told.samples_path), Path(told.answers_path))
        return Answered()

    def _made(self, rows: int) -> Mapping[str, Array]:
        """Inputs of so many rows, that every lane has run once: the first run may build kernels.

        All lanes at once: one after the other, those of many cores would take minutes.
        """
        if rows not in self._inputs:
            made = self._make(self._shape, rows)
            with ThreadPoolExecutor(len(self._instances)) as pool:
                list(pool.map(lambda instance: instance.run(made), self._instances))
            self._inputs[rows] = made
        return self._inputs[rows]

    def _together(self, rows: int, lanes: int) -> Ran:
        """What a run takes while so many lanes run."""
        inputs = self._made(rows)
        end = time.perf_counter() + _TOGETHER_S

        def run(instance: Instance) -> tuple[int, float]:
            started, runs = time.perf_counter(), 0
            while runs < _LEAST_RUNS or time.perf_counter() < end:
                instance.run(inputs)
                runs += 1
            return runs, time.perf_counter() - started

        before_s = time.process_time()
        with ThreadPoolExecutor(lanes) as pool:
            done = list(pool.map(run, self._instances[:lanes]))
        cpu_s = time.process_time() - before_s
        runs = sum(number for number, _ in done)
        return Ran(wall_s=sum(spent_s for _, spent_s in done) / runs, cpu_s=cpu_s / runs)

    def _answer(self, questions: Path, answers: Path) -> None:
        """Answer on all lanes: with labels, hundreds of samples decide."""
        _, asked = samples.read(questions)
        idle = SimpleQueue[Instance]()
        for instance in self._instances:
            idle.put(instance)

        def one(sample: samples.Sample) -> samples.Sample:
            lane = idle.get()
            try:
                told = lane.run(sample.inputs)
                return samples.Sample({}, {name: np.array(array) for name, array in told.items()})
            finally:
                idle.put(lane)

        with ThreadPoolExecutor(len(self._instances)) as pool:
            samples.write(answers, 1, list(pool.map(one, asked)))


def _load(told: Load) -> tuple[Lab | None, Loaded]:
    """Load the model.

    Raises:
        HeadraceError: it cannot be.
    """
    path, settings = Path(told.path), told.settings
    check(path)
    folder = None if told.cache_dir is None else Path(told.cache_dir)
    model = choose(path, settings, _silent, built_of(folder, path, settings)).model
    instances = [model.instance() for _ in range(settings.instances or 1)]
    signature, _ = find_batched(model, instances[0], settings, _silent)
    shapes = item_shapes(signature, instances[0], settings)
    # Of several buckets the largest: a choice that is right there is not far off at the others.
    shape = max(shapes, key=elements_of) if shapes else None
    lab = None
    if shape is not None:
        fill = fill_of(signature, instances[0], shape)
        lab = Lab(model, instances, partial(make, signature, fill=fill), shape)
    return lab, Loaded(
        signature=SignatureMessage.of(signature),
        precision=model.precision,
        pads=model.fixed_sizes and signature.batched,
        shape=None if shape is None else {name: tuple(one) for name, one in shape.items()},
        elements=0 if shape is None else elements_of(shape),
        most_rows=largest(signature, shapes, settings) if shapes else 1,
        memory_bytes=resident_bytes(),
        integer_bits=model.integer_bits,
    )


def _silent(_: str) -> None:
    """Nobody looks on."""


def serve(orders: BinaryIO, reports: BinaryIO) -> None:
    """Carry orders out until there are no more."""

    def tell(message: Message) -> None:
        reports.write(line(message))
        reports.flush()

    lab: Lab | None = None
    for text in orders:
        told = order.validate_json(text)
        try:
            if isinstance(told, Load):
                _stand_back(told.settings)
                lab, loaded = _load(told)
                tell(loaded)
            else:
                tell(_there(lab).do(told))
        except Exception as error:  # noqa: BLE001 - the border of the process
            refused = refusal(error)
            tell(Failed(code=refused.code, message=refused.message))


def _there(lab: Lab | None) -> Lab:
    if lab is None:
        raise InferenceFailed("no shape was found that it runs at")
    return lab


def _stand_back(settings: ModelSettings) -> None:
    os.nice(settings.nice)  # as an engine does, before there are threads


def main() -> int:
    """Run the process."""
    serve(sys.stdin.buffer, begin())
    return 0


if __name__ == "__main__":
    sys.exit(main())
