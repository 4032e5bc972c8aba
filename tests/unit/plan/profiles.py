"""Profiles of models that nobody has measured."""

from __future__ import annotations

from typing import Any

from headrace.plan.machine import Front, Machine
from headrace.plan.make import machine_of
from headrace.plan.profile import ModelProfile
from headrace.plan.question import Question

SIZES = (1, 2, 4, 8, 16, 32)
FREE = Front(1e-9, 0.0)


def profile(
    fixed_s: float = 0.004, each_s: float = 0.0005, tail: float = 1.05, **said: Any
) -> ModelProfile:
    """Runs of ``fixed_s`` and ``each_s`` a row on two instances, an objective of 50 ms."""
    runs = [(rows, fixed_s + each_s * rows) for rows in SIZES]
    document = {
        "name": "digits",
        "version": 3,
        "backend": "openvino",
        "precision": "bf16",
        "cores": 2,
        "instances": 2,
        "threads": 1,
        "batch_sizes": SIZES,
        "pads": False,
        "measurements": [
            {"elements": 4, "rows": rows, "median_s": run_s, "p95_s": tail * run_s}
            for rows, run_s in runs
        ],
        "slo_ms": 50.0,
        "max_queue": 2048,
    }
    return ModelProfile.model_validate(document | said)


def question(**said: Any) -> Question:
    """Single rows of four elements, within 50 ms on two instances; two plays of one load."""
    few: dict[str, Any] = {"seeds": 2, "loads": (0.6,)}
    asked = {"instances": 2, "slo_s": 0.05, "elements": 4} | few
    return Question(**asked | said)


def machine(asked: Question, front: Front = FREE, **said: Any) -> Machine:
    """The machine of a profile, whose receiver costs nothing unless it is said."""
    return machine_of(profile(**said), asked, front=front)
