"""A server for the fronts' contract: one real model, and doubles for what a real one rarely is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.contract import models
from tests.contract.denormals import keep_denormals
from tests.e2e.server import Server

__all__ = ["keep_denormals", "served", "tf_served"]

WEIGHTS = (np.arange(12, dtype=np.float32).reshape(4, 3) - 5) / 2

PAIR = """
inputs: {left: [FP32, [null, 2]], right: [INT64, [null]]}
outputs: {l: [FP32, [null, 2]], r: [INT64, [null]]}
"""
SLOW_MS = 150
BOTH = """
inputs: {a: [FP32, [null, 2]], b: [FP32, [null]]}
outputs: {scores: [FP32, [null, 2]], value: [FP32, [null]]}
"""
WORDS = "inputs: {text: [BYTES, [null]]}\noutputs: {text: [BYTES, [null]]}\n"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of `linear` (real, versions 1 and 3), `pair`, `slow` and `broken`."""
    root = tmp_path_factory.mktemp("fronts")
    models.product(root / "linear/1/model.onnx", WEIGHTS)
    models.product(root / "linear/3/model.onnx", WEIGHTS * 10)
    models.double(root / "pair/1/model.fake", PAIR)
    models.double(root / "slow/1/model.fake", f"base_ms: {SLOW_MS}\n")
    (root / "slow/card.yaml").write_text("max_batch: 1\n")  # larger ones would be warmed up, slowly
    models.double(root / "broken/1/model.fake", "inputs: nothing that makes sense\n")
    with Server(Path(root)) as running:
        yield running


@pytest.fixture(scope="session")
def tf_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of what TensorFlow Serving's clients ask for, and that browsers may ask.

    `scores` (versions 1 and 3, labels for both, classes with names) is a classifier, `value` a
    regressor, `both` either, `words` has strings, `half_plus_three` is everybody's first model,
    and `renamed` the same with another signature name.
    """
    root = tmp_path_factory.mktemp("tfserving")
    models.product(root / "scores/1/model.onnx", WEIGHTS)
    models.product(root / "scores/3/model.onnx", WEIGHTS * 10)
    models.product(root / "value/1/model.onnx", WEIGHTS[:, :1])
    models.half_plus(root / "half_plus_three/1/model.onnx", 3)
    models.double(root / "both/1/model.fake", BOTH)
    models.double(root / "words/1/model.fake", WORDS)
    others = ("value", "both", "words", "half_plus_three")
    (root / "settings.json").write_text(
        json.dumps(
            {
                "server": {"cors_origins": ["https://shop.example"]},
                "models": [
                    {
                        "path": str(root / "scores"),
                        "version_labels": {"stable": 1, "canary": 3},
                        "labels": ["cat", "dog", "fish"],
                    },
                    *({"path": str(root / name)} for name in others),
                    {
                        "path": str(root / "half_plus_three"),
                        "name": "renamed",
                        "signature_name": "predict_images",
                    },
                ],
            }
        )
    )
    with Server("--config", root / "settings.json") as running:
        yield running
