"""The models measured, and real inputs for them: what a client would send, one row at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.load.apis.contract import Inputs
from zoo.download import Shelf, home
from zoo.models import fetch

_SEED = 7
_SHORT, _LONG = 16, 128  # words of a sentence
_DIFFERENT = 8  # requests that differ, so that no cache of anybody's helps
_FIRST_WORD, _LAST_WORD = 1000, 29000  # of BERT's vocabulary


@dataclass(frozen=True, slots=True)
class Measured:
    """A model of the zoo, and the share of the bare loop that serving it must reach.

    ``callers`` keep the server busy without a queue that says nothing: a few batches' worth.
    """

    name: str
    wanted_share: float
    callers: int


TINY = "mlp"
LIGHT = "minilm-int8"
"""Small enough to be loaded again in the middle of a measurement, and real."""

QUICK = ("efficientnet-lite0", "minilm-int8")
"""Real models that answer well within an objective of 50 ms on one core."""

REAL = (
    Measured("minilm-128", 0.95, 32),
    Measured("efficientnet-lite0", 0.88, 16),
    Measured("resnet50", 0.95, 8),
)


def folder(name: str) -> Path:
    """Return the ready model folder, fetched and built if it is not there yet."""
    return fetch([name], Shelf(home(os.environ)))[0]


def file(name: str) -> Path:
    """Return the model's file."""
    return folder(name) / "1" / "model.onnx"


def requests(name: str) -> list[Inputs]:
    """Return some requests of one row each."""
    random = np.random.default_rng(_SEED)
    return [_request(name, random) for _ in range(_DIFFERENT)]


def _request(name: str, random: np.random.Generator) -> Inputs:
    if name == TINY:
        return {"x": random.random((1, 784), np.float32)}
    if name.startswith("minilm"):
        length = _SHORT if name == LIGHT else _LONG
        words = random.integers(_FIRST_WORD, _LAST_WORD, (1, length), np.int64)
        ones = np.ones_like(words)
        return {"input_ids": words, "attention_mask": ones, "token_type_ids": ones * 0}
    return {"input": random.random((1, 3, 224, 224), np.float32)}
