"""An ONNX graph written layer by layer.

Each method adds one layer and returns the name of its output, so a network reads as it runs. Batch
normalisation is folded into the convolution before it, as every runtime would do while loading.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zoo.errors import LibraryMissing

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise LibraryMissing("writing this model needs onnx: pip install onnx") from error

Array = npt.NDArray[np.float32]

# Old enough for every runtime of today.
_OPSET = 17
_IR_VERSION = 9
_RELU6 = (0.0, 6.0)


class Norm(NamedTuple):
    """Batch normalisation as training left it."""

    scale: Array
    shift: Array
    mean: Array
    variance: Array
    epsilon: float


class Padding(NamedTuple):
    """What a convolution adds before and after each spatial axis."""

    before: int
    after: int


def fold(weight: Array, norm: Norm) -> tuple[Array, Array]:
    """Fold a normalisation into the convolution before it: weight and bias."""
    factor = norm.scale / np.sqrt(norm.variance + norm.epsilon)
    bias = norm.shift - norm.mean * factor
    return (weight * factor[:, None, None, None]).astype(np.float32), bias.astype(np.float32)


class Graph:
    """Collects layers, then writes them as an ONNX file."""

    def __init__(self, name: str, input_name: str, input_shape: Sequence[int]) -> None:
        self._name = name
        self.input = input_name
        self._input_shape: list[str | int | None] = ["N", *input_shape]
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def conv(
        self,
        source: str,
        weight: Array,
        bias: Array,
        *,
        stride: int = 1,
        padding: Padding = Padding(0, 0),  # noqa: B008 - a frozen value
        groups: int = 1,
    ) -> str:
        """A square convolution over NCHW."""
        before, after = padding
        return self._add(
            "Conv",
            [source, self._weight(weight), self._weight(bias)],
            kernel_shape=list(weight.shape[2:]),
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=groups,
        )

    def relu(self, source: str) -> str:
        """Nothing below 0."""
        return self._add("Relu", [source])

    def relu6(self, source: str) -> str:
        """Nothing below 0 or above 6."""
        low, high = (self._weight(np.array(bound, np.float32)) for bound in _RELU6)
        return self._add("Clip", [source, low, high])

    def add(self, left: str, right: str) -> str:
        """The sum of two layers of one shape."""
        return self._add("Add", [left, right])

    def max_pool(self, source: str, size: int, stride: int, padding: Padding) -> str:
        """The largest of each square."""
        before, after = padding
        return self._add(
            "MaxPool",
            [source],
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[before, before, after, after],
        )

    def mean(self, source: str) -> str:
        """The mean of each channel: (N,C,H,W) becomes (N,C)."""
        return self._add("Flatten", [self._add("GlobalAveragePool", [source])], axis=1)

    def dense(self, source: str, weight: Array, bias: Array) -> str:
        """A matrix of (outputs, inputs), and a bias."""
        return self._add("Gemm", [source, self._weight(weight), self._weight(bias)], transB=1)

    def write(self, path: Path, source: str, output_name: str, classes: int) -> None:
        """Write the file; ``source`` becomes the output, (N, ``classes``)."""
        self._nodes.append(helper.make_node("Identity", [source], [output_name]))
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(self.input, TensorProto.FLOAT, self._input_shape)],
            [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ("N", classes))],
            self._weights,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))

    def _weight(self, values: Array) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name
