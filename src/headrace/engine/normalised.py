"""Bytes made numbers before a library that cannot do it itself; see ``headrace.normalise``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from headrace.engine.backends.contract import Instance, Model
from headrace.normalise import Step, plan
from headrace.settings import ModelSettings
from headrace.values import Array, Signature


def adapt(model: Model, settings: ModelSettings) -> Model:
    """Put it before a model whose card asks for it and whose backend does not do it.

    Raises:
        ModelLoadError: the card's ``normalise`` does not fit the model; the message names the fix.
    """
    if not settings.normalise or getattr(model, "normalises", False):
        return model
    return NormalisedModel(model, *plan(model.signature, settings.normalise))


class NormalisedModel:
    """A loaded model that takes bytes."""

    def __init__(self, model: Model, signature: Signature, steps: Sequence[Step]) -> None:
        self._model = model
        self._steps = steps
        self.signature = signature
        self.fixed_sizes = model.fixed_sizes
        self.precision = model.precision
        self.integer_bits = model.integer_bits
        self.stages = getattr(model, "stages", 1)

    def instance(self) -> NormalisedInstance:
        """Make one more lane."""
        return NormalisedInstance(self._model.instance(), self._steps)


class NormalisedInstance:
    """One lane."""

    def __init__(self, instance: Instance, steps: Sequence[Step]) -> None:
        self._instance = instance
        self._steps = steps
        self._factors = [
            tuple(
                np.array(one, np.float32).reshape(step.shape) for one in (step.factor, step.offset)
            )
            for step in steps
        ]

    def beside(self) -> NormalisedInstance:
        """Another lane of the same instance, where the model has ``stages``."""
        beside: Callable[[], Instance] = getattr(self._instance, "beside")  # noqa: B009
        return NormalisedInstance(beside(), self._steps)

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        made = {}
        for step, (factor, offset) in zip(self._steps, self._factors, strict=True):
            array = inputs[step.name]
            if step.moved_to is not None:
                array = np.moveaxis(array, -1, step.moved_to)
            numbers = array.astype(np.float32, order="C")
            numbers *= factor
            numbers += offset
            made[step.name] = numbers.astype(step.dtype.numpy, copy=False)
        return self._instance.run({**inputs, **made})
