"""Models on disk and servers that run them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.e2e.server import Server


def write_linear(path: Path, scale: float) -> Path:
    """An ONNX model of one matrix: x (N,4) → y (N,3), every weight a multiple of ``scale``."""
    weights = (np.arange(12, dtype=np.float32).reshape(4, 3) - 5) * np.float32(scale)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


@pytest.fixture(scope="session", autouse=True)
def _cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers of tests write nothing into the cache of whoever runs them, but share one."""
    mine = tmp_path_factory.getbasetemp()
    ours = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_SERVER__CACHE_DIR", str(ours / "cache"))
        yield


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models: `linear` with versions 1 and 3, `labelled` with a card."""
    root = tmp_path_factory.mktemp("models")
    write_linear(root / "linear/1/model.onnx", 1.0)
    write_linear(root / "linear/3/model.onnx", 10.0)
    write_linear(root / "labelled/1/model.onnx", 1.0)
    (root / "labelled/labels.txt").write_text("cat\ndog\nfish\n")
    (root / "labelled/card.yaml").write_text(
        "labels: labels.txt\nresults:\n  - {output: y, apply: softmax}\n"
    )
    return root


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[Server]:
    """One server over the repository, shared by the tests that do not hurt it."""
    with Server(repository, "--listen", "127.0.0.1:0", "--default-model", "linear") as running:
        yield running
