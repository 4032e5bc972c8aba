"""An engine that comes while the server runs is warm at the shapes that clients send."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.values import DType
from tests.contract.models import node, write
from tests.e2e.clients import http
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

_LENGTH = 37


def test_a_version_that_takes_over_is_warm_at_the_lengths_of_the_traffic(tmp_path: Path) -> None:
    file = tmp_path / "models/free/1/model.onnx"
    shape = ("N", "length")
    write(
        file, [node("Relu", ["x"], ["y"])], {"x": (DType.FP32, shape)}, {"y": (DType.FP32, shape)}
    )
    flags = ("--model-control", "explicit", "--log-level", "debug")
    with Server(tmp_path / "models", *flags) as server:

        def measured() -> set[int]:
            profile = http(f"{server.url}/models/free/profile")[1]
            return {point["elements"] for point in profile["measurements"]}

        def heard() -> bool:
            status, answer, _ = http(f"{server.url}/predict", {"input": [[1.0] * _LENGTH]})
            assert status == 200, answer
            return "shapes_seen" in server.output

        assert _LENGTH not in measured()
        until(heard)
        file.touch()  # to the server that is another model
        status, answer, _ = http(f"{server.url}/v2/repository/models/free/load", {})
        assert status == 200, answer
        assert _LENGTH in measured()
