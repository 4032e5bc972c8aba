"""Models that tests write to disk: doubles with settable delays and faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from headrace.values import DType
from tests.contract.models import node, write


def write_fake(path: Path, **keys: Any) -> Path:
    """A ``.fake`` model, x (N,4) → y (N,4); see ``backends.fake`` for its keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(keys))
    return path


def write_sleeper(folder: Path, name: str = "sleeper", per_row_ms: float = 10) -> Path:
    """A model that takes so long for every row of a request, and runs every request alone."""
    path = write_fake(folder / name / "1" / "model.fake", per_row_ms=per_row_ms)
    card = {"batched": False, "warm_shapes": {"x": [[1, 4]]}}
    (folder / name / "card.yaml").write_text(json.dumps(card))
    return path.parent.parent


def write_config(path: Path, *models: dict[str, Any], **server: Any) -> Path:
    """A settings file."""
    path.write_text(json.dumps({"server": server, "models": list(models)}, default=str))
    return path


def write_sum(folder: Path, version: int = 1, scale: float = 1, **card: Any) -> Path:
    """A real model with a memory: y (N,2) is the sum of everything that came, times ``scale``.

    Its state (1,N,2) has the rows on axis 1; ``scale`` is an input that the card makes constant.
    """
    write(
        folder / str(version) / "model.onnx",
        [
            node("Mul", ["x", "scale"], ["scaled"]),
            node("Squeeze", ["state", "axis"], ["before"]),
            node("Add", ["scaled", "before"], ["y"]),
            node("Unsqueeze", ["y", "axis"], ["stateN"]),
        ],
        {
            "x": (DType.FP32, ("N", 2)),
            "state": (DType.FP32, (1, "N", 2)),
            "scale": (DType.FP32, ()),
        },
        {"y": (DType.FP32, ("N", 2)), "stateN": (DType.FP32, (1, "N", 2))},
        {"axis": np.zeros(1, np.int64)},
    )
    sequence = {
        "state": [{"input": "state", "output": "stateN", "batch_axis": 1}],
        "constants": {"scale": scale},
    }
    text = json.dumps({"sequence": sequence | card})
    (folder / str(version) / "card.yaml").write_text(text)
    return folder


def write_delay(folder: Path, **keys: Any) -> Path:
    """A double with a memory: y is the x of the request before, at first 7."""
    ports = {
        "inputs": {"x": ["FP32", [None, 2]], "state": ["FP32", [None, 2]]},
        "outputs": {"stateN": ["FP32", [None, 2]], "y": ["FP32", [None, 2]]},
    }
    write_fake(folder / "1" / "model.fake", **ports, **keys)
    state = {"input": "state", "output": "stateN", "initial": 7}
    (folder / "card.yaml").write_text(json.dumps({"sequence": {"state": [state]}}))
    return folder
