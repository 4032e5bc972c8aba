"""TensorFlow Serving's clients may name the only signature of a SavedModel, as it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.test_formats import TENSORFLOW, X, needs_tensorflow, written
from tests.e2e.clients import http
from tests.e2e.server import Server


@needs_tensorflow
@pytest.mark.slow
def test_the_only_signature_is_asked_for_by_its_name(tmp_path: Path) -> None:
    written(TENSORFLOW, tmp_path)
    for _ in range(2):  # the second time from what the first one has kept
        with Server(tmp_path / "one") as running:
            url = f"{running.url}/v1/models/one"
            for name in ("more", ""):
                status, answer, _ = http(
                    f"{url}:predict", {"signature_name": name, "instances": X.tolist()}
                )
                assert status == 200
                assert len(answer["predictions"]) == 3
            wrong = {"signature_name": "serving_default", "instances": X.tolist()}
            assert http(f"{url}:predict", wrong)[0] == 400
            told = http(f"{url}/metadata")[1]["metadata"]["signature_def"]
            assert list(told["signature_def"]) == ["more"]
