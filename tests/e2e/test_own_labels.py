"""Class names that are in a model file reach clients, unless the card gives others or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.e2e.clients import http
from tests.e2e.server import Server
from tests.unit.engine.test_own_labels import onnx_file

ASKED = {"examples": [{"x": [1.0, 2.0, 3.0, 4.0]}]}
SUM = float(np.float32(10))


@pytest.mark.slow
def test_names_in_a_file_reach_clients_unless_its_card_has_others_or_none(tmp_path: Path) -> None:
    cards = {"own": "", "carded": "labels: [a, b]\n", "none": "labels: []\n"}
    for name, card in cards.items():
        (tmp_path / f"models/{name}/1").mkdir(parents=True)
        onnx_file(tmp_path / f"models/{name}/1/model.onnx")
        (tmp_path / f"models/{name}/card.yaml").write_text(card)
    for _ in range(2):  # the second time from what the first one has kept
        with Server(tmp_path / "models") as running:
            found = {
                name: http(f"{running.url}/v1/models/{name}:classify", ASKED)[1]["results"]
                for name in cards
            }
        assert found == {
            "own": [[["cat", SUM], ["dog", SUM]]],
            "carded": [[["a", SUM], ["b", SUM]]],
            "none": [[["", SUM], ["", SUM]]],
        }
