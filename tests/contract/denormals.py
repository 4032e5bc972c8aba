"""Tests that load models in their own process must not take its denormals from the others."""

from __future__ import annotations

import onnxruntime
import pytest

from headrace.values import DType
from tests.contract import models


@pytest.fixture(scope="session", autouse=True)
def keep_denormals(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the process's first ONNX Runtime session one that flushes nothing to zero.

    The first session sets how its thread, and all threads made by it, treat denormals, for good.
    In an engine that is what we want; here hypothesis draws them.
    """
    path = models.identity(tmp_path_factory.mktemp("first") / "model.onnx", DType.FP32)
    onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
