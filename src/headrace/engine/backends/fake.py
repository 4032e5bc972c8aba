"""A double with settable delays and faults: a ``.fake`` file (YAML) in the place of a model.

It echoes: output *i* is input *i*, times ``scale``. Shipped for tests, benchmarks of the scheduler
and demonstrations of failures; nobody serves one by accident.

::

    inputs: {x: [FP32, [null, 4]]}      # name: [datatype, shape], null: free
    outputs: {y: [FP32, [null, 4]]}
    scale: 2                            # y = 2 x
    base_ms: 4                          # a run takes base_ms + per_row_ms * rows
    per_row_ms: 0.5
    copy_ms: 2                          # and that before, in which another lane may compute
    stages: 2                           # lanes of an instance, which compute one after the other
    load_ms: 100
    fail_at: 13                         # a batch with this value in it raises
    crash_at: 666                       # a batch with this value in it kills the process
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import Array, DType, Signature, TensorSpec

Shape = tuple[int | None, ...]


class FakeCard(BaseModel):
    """What a ``.fake`` file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: dict[str, tuple[DType, Shape]] = {"x": (DType.FP32, (None, 4))}
    outputs: dict[str, tuple[DType, Shape]] = {"y": (DType.FP32, (None, 4))}
    scale: float = 1.0
    base_ms: float = 0.0
    per_row_ms: float = 0.0
    copy_ms: float = 0.0
    stages: Annotated[int, Field(ge=1, le=4)] = 1
    load_ms: float = 0.0
    fail_at: float | None = None
    crash_at: float | None = None


def load(path: Path, settings: ModelSettings) -> FakeModel:  # noqa: ARG001 - the contract's
    """Load a ``.fake`` file; see ``contract.Load``."""
    try:
        card = FakeCard.model_validate(yaml.safe_load(path.read_text()) or {})
    except (OSError, ValueError, ValidationError, yaml.YAMLError) as error:
        raise ModelLoadError(f"cannot load {path}: {error}") from error
    time.sleep(card.load_ms / 1e3)
    return FakeModel(card)


class FakeModel:
    """A double."""

    fixed_sizes = False
    integer_bits = 64
    precision = "f32"

    def __init__(self, card: FakeCard) -> None:
        self._card = card
        self.stages = card.stages
        inputs = tuple(TensorSpec(n, d, s) for n, (d, s) in card.inputs.items())
        outputs = tuple(TensorSpec(n, d, s) for n, (d, s) in card.outputs.items())
        free = all(s.shape and s.shape[0] is None for s in (*inputs, *outputs))
        self.signature = Signature(inputs, outputs, batched=free)

    def instance(self) -> FakeInstance:
        """Make one more lane."""
        return FakeInstance(self._card, self.signature, threading.Lock())


class FakeInstance:
    """One lane: sleeps as long as a real model would compute."""

    def __init__(self, card: FakeCard, signature: Signature, computing: threading.Lock) -> None:
        self._card = card
        self._signature = signature
        self._computing = computing

    def beside(self) -> FakeInstance:
        """Another lane of the same instance."""
        return FakeInstance(self._card, self._signature, self._computing)

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        card = self._card
        arrays = [inputs[spec.name] for spec in self._signature.inputs]
        rows = len(arrays[0]) if arrays[0].ndim else 1
        if card.crash_at is not None and any(np.any(a == card.crash_at) for a in arrays):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(card.copy_ms / 1e3)
        with self._computing:
            time.sleep((card.base_ms + card.per_row_ms * rows) / 1e3)
        if card.fail_at is not None and any(np.any(a == card.fail_at) for a in arrays):
            raise InferenceFailed(f"the value {card.fail_at:g} is in this batch")
        outputs = {}
        for index, spec in enumerate(self._signature.outputs):
            source = arrays[min(index, len(arrays) - 1)]
            if spec.dtype is not DType.BYTES:
                # Not by 1: a double of 64-bit integers that makes floats of them is none.
                scaled = source if card.scale == 1 else source * card.scale
                source = scaled.astype(spec.dtype.numpy)
            outputs[spec.name] = source
        return outputs
