"""Models that tests write to disk: doubles with settable delays and faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_fake(path: Path, **keys: Any) -> Path:
    """A ``.fake`` model, x (N,4) → y (N,4); see ``backends.fake`` for its keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(keys))
    return path


def write_sleeper(folder: Path, name: str = "sleeper") -> Path:
    """A model that takes 10 ms for every row of a request, and runs every request alone."""
    path = write_fake(folder / name / "1" / "model.fake", per_row_ms=10)
    card = {"batched": False, "warm_shapes": {"x": [[1, 4]]}}
    (folder / name / "card.yaml").write_text(json.dumps(card))
    return path.parent.parent


def write_config(path: Path, *models: dict[str, Any], **server: Any) -> Path:
    """A settings file."""
    path.write_text(json.dumps({"server": server, "models": list(models)}, default=str))
    return path
