"""What a lab does with the lanes that it has."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import cast

import numpy as np

from headrace.engine.backends.contract import Instance, Model
from headrace.tune.lab import Lab
from headrace.tune.messages import Time, Took
from headrace.values import Array


class Together:
    """An instance whose first run is not over before all of them run."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self._barrier = barrier
        self._has_run = False

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if not self._has_run:
            self._has_run = True
            self._barrier.wait()
        return inputs


def test_the_first_runs_of_all_lanes_are_at_once() -> None:
    barrier = threading.Barrier(64, timeout=30.0)
    lanes = [cast("Instance", Together(barrier)) for _ in range(64)]
    made = {"x": np.zeros((1, 4), np.float32)}
    lab = Lab(cast("Model", None), lanes, lambda _, __: made, {"x": (4,)})
    took = lab.do(Time(rows=1))
    assert isinstance(took, Took)
    assert took.times_s
