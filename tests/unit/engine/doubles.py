"""Doubles of what is not at hand: a model whose instances have several lanes, a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.values import Array, DType, Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 1)),),
    batched=True,
)


class Staged:
    """A model whose instances have so many lanes."""

    fixed_sizes, precision, integer_bits = False, "f32", 64
    signature = SIGNATURE

    @dataclass
    class Lane:
        """Which it is, and the areas that were pinned for it."""

        instance: int
        stage: int = 0
        pinned: list[int] = field(default_factory=list)
        released: int = 0

        def beside(self) -> Staged.Lane:
            return Staged.Lane(self.instance, self.stage + 1)

        def pin(self, areas: Sequence[memoryview]) -> Callable[[], None]:
            self.pinned = [len(area) for area in areas]

            def release() -> None:
                self.released += 1

            return release

        def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            return {"y": inputs["x"] * 2}

    def __init__(self, stages: int) -> None:
        self.stages = stages
        self._numbers = itertools.count()

    def instance(self) -> Staged.Lane:
        return Staged.Lane(next(self._numbers))
