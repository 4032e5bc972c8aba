"""Layers, run by ONNX Runtime and compared with arithmetic written out."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from zoo.errors import LibraryMissing
from zoo.graph import Graph, Norm, Padding, fold

RANDOM = np.random.default_rng(1)


def _normal(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def _run(graph: Graph, path: Path, source: str, x: Any) -> Any:
    graph.write(path / "g.onnx", source, "y", 3)
    session = onnxruntime.InferenceSession(str(path / "g.onnx"))
    return session.run(["y"], {graph.input: x})[0]


def test_a_folded_normalisation_gives_what_convolution_and_normalisation_gave(
    tmp_path: Path,
) -> None:
    weight = _normal(3, 2, 1, 1)
    norm = Norm(_normal(3), _normal(3), _normal(3), np.abs(_normal(3)), epsilon=1e-3)
    graph = Graph("folded", "x", (2, 4, 4))
    x = _normal(5, 2, 4, 4)
    answer = _run(graph, tmp_path, graph.mean(graph.conv("x", *fold(weight, norm))), x)
    plain = np.einsum("nchw,oc->nohw", x, weight[:, :, 0, 0]).mean((2, 3))
    expected = (plain - norm.mean) / np.sqrt(norm.variance + 1e-3) * norm.scale + norm.shift
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)


def test_padding_strides_and_groups_are_those_asked_for(tmp_path: Path) -> None:
    graph = Graph("conv", "x", (3, 4, 4))
    ones = np.ones((3, 1, 3, 3), np.float32)
    layer = graph.conv(
        "x", ones, np.zeros(3, np.float32), stride=2, padding=Padding(0, 1), groups=3
    )
    x = _normal(2, 3, 4, 4)
    padded = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))
    windows = [padded[:, :, i : i + 3, j : j + 3].sum((2, 3)) for i in (0, 2) for j in (0, 2)]
    answer = _run(graph, tmp_path, graph.mean(layer), x)
    np.testing.assert_allclose(answer, np.mean(windows, 0), rtol=1e-4, atol=1e-5)


def test_relu6_cuts_at_both_ends_and_dense_is_a_matrix_with_a_bias(tmp_path: Path) -> None:
    graph = Graph("dense", "x", (4,))
    weight, bias = _normal(3, 4), _normal(3)
    x = _normal(6, 4) * 10
    answer = _run(graph, tmp_path, graph.dense(graph.relu6("x"), weight, bias), x)
    np.testing.assert_allclose(answer, np.clip(x, 0, 6) @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_without_onnx_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "zoo.graph")
    with pytest.raises(LibraryMissing, match="pip install onnx"):
        importlib.import_module("zoo.graph")
