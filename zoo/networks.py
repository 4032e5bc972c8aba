"""The networks that are written layer by layer.

``efficientnet_lite0`` has its trained weights. ``resnet50`` and ``mlp`` have seeded random ones:
their answers mean nothing, their speed is that of the trained network.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.graph import Array, Graph, Norm, Padding, fold
from zoo.torch_file import Weights

SIDE = 224
CLASSES = 1000

_SEED = 0


class _Stage(NamedTuple):
    """Some blocks of EfficientNet in a row; only the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expands: bool


# EfficientNet-Lite0: no squeeze-and-excitation, ReLU6 throughout. Widths come with the weights.
_EFFICIENTNET_LITE0 = (
    _Stage(repeats=1, kernel=3, stride=1, expands=False),
    _Stage(repeats=2, kernel=3, stride=2, expands=True),
    _Stage(repeats=2, kernel=5, stride=2, expands=True),
    _Stage(repeats=3, kernel=3, stride=2, expands=True),
    _Stage(repeats=3, kernel=5, stride=1, expands=True),
    _Stage(repeats=4, kernel=5, stride=2, expands=True),
    _Stage(repeats=1, kernel=3, stride=1, expands=True),
)
_EFFICIENTNET_EPSILON = 1e-3

_RESNET50 = ((3, 64), (4, 128), (6, 256), (3, 512))
_RESNET_EXPANSION = 4


def efficientnet_lite0(weights: Weights, path: Path) -> None:
    """Write EfficientNet-Lite0: ``input`` (N,3,224,224), RGB, (x-127)/128 → ``logits`` (N,1000)."""
    network = _EfficientNet(Graph("efficientnet-lite0", "input", (3, SIDE, SIDE)), weights)
    graph = network.graph
    layer = graph.relu6(network.conv(graph.input, "_conv_stem", "_bn0", stride=2))
    number = 0
    for stage in _EFFICIENTNET_LITE0:
        for repeat in range(stage.repeats):
            layer = network.block(layer, number, stage, first=repeat == 0)
            number += 1
    layer = graph.mean(graph.relu6(network.conv(layer, "_conv_head", "_bn1")))
    layer = graph.dense(layer, weights["_fc.weight"], weights["_fc.bias"])
    graph.write(path, layer, "logits", CLASSES)


class _EfficientNet:
    """The layers of EfficientNet by the names that their weights have."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.graph = graph
        self._weights = weights

    def block(self, source: str, number: int, stage: _Stage, *, first: bool) -> str:
        """Expand, filter each channel, project; a block that keeps its shape adds its input."""
        name = f"_blocks.{number}."
        layer = source
        if stage.expands:
            layer = self.graph.relu6(self.conv(layer, f"{name}_expand_conv", f"{name}_bn0"))
        stride = stage.stride if first else 1
        layer = self.conv(
            layer, f"{name}_depthwise_conv", f"{name}_bn1", stride=stride, depthwise=True
        )
        layer = self.conv(self.graph.relu6(layer), f"{name}_project_conv", f"{name}_bn2")
        return layer if first else self.graph.add(layer, source)

    def conv(
        self, source: str, name: str, norm: str, *, stride: int = 1, depthwise: bool = False
    ) -> str:
        """A convolution with the normalisation after it."""
        weight, bias = fold(self._weights[f"{name}.weight"], self._norm(norm))
        return self.graph.conv(
            source,
            weight,
            bias,
            stride=stride,
            padding=_same(weight.shape[2], stride),
            groups=len(weight) if depthwise else 1,
        )

    def _norm(self, name: str) -> Norm:
        return Norm(
            scale=self._weights[f"{name}.weight"],
            shift=self._weights[f"{name}.bias"],
            mean=self._weights[f"{name}.running_mean"],
            variance=self._weights[f"{name}.running_var"],
            epsilon=_EFFICIENTNET_EPSILON,
        )


def _same(kernel: int, stride: int) -> Padding:
    """TensorFlow's SAME for even sides: what is odd goes after."""
    total = kernel - stride
    return Padding(total // 2, total - total // 2)


def resnet50(path: Path) -> None:
    """Write ResNet-50 (v1.5) with random weights: ``input`` (N,3,224,224) → ``logits`` (N,1000)."""
    graph = Graph("resnet50-random-weights", "input", (3, SIDE, SIDE))
    network = _Random(graph)
    layer = graph.relu(network.conv(graph.input, 3, 64, kernel=7, stride=2))
    layer = graph.max_pool(layer, 3, 2, Padding(1, 1))
    channels = 64
    for stage, (repeats, width) in enumerate(_RESNET50):
        for repeat in range(repeats):
            stride = 2 if stage and not repeat else 1
            layer = network.bottleneck(layer, channels, width, stride=stride)
            channels = width * _RESNET_EXPANSION
    layer = network.dense(graph.mean(layer), channels, CLASSES)
    graph.write(path, layer, "logits", CLASSES)


def mlp(path: Path) -> None:
    """Write a tiny network with random weights: ``x`` (N,784) → ``logits`` (N,10)."""
    graph = Graph("mlp-random-weights", "x", (784,))
    network = _Random(graph)
    layer = graph.relu(network.dense(graph.input, 784, 128))
    graph.write(path, network.dense(layer, 128, 10), "logits", 10)


class _Random:
    """Layers with seeded random weights, scaled so that numbers neither grow nor vanish."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._random = np.random.default_rng(_SEED)

    def conv(self, source: str, inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> str:
        """A convolution that keeps the side, or divides it by the stride."""
        weight = self._normal((outputs, inputs, kernel, kernel), inputs * kernel * kernel)
        padding = Padding(kernel // 2, kernel // 2)
        bias = np.zeros(outputs, np.float32)
        return self._graph.conv(source, weight, bias, stride=stride, padding=padding)

    def bottleneck(self, source: str, inputs: int, width: int, *, stride: int) -> str:
        """Squeeze, filter, expand, add the input; the stride is in the middle, as in v1.5."""
        graph, outputs = self._graph, width * _RESNET_EXPANSION
        layer = graph.relu(self.conv(source, inputs, width, kernel=1))
        layer = graph.relu(self.conv(layer, width, width, kernel=3, stride=stride))
        layer = self.conv(layer, width, outputs, kernel=1)
        if inputs != outputs:
            source = self.conv(source, inputs, outputs, kernel=1, stride=stride)
        return graph.relu(graph.add(layer, source))

    def dense(self, source: str, inputs: int, outputs: int) -> str:
        """A matrix and a bias of zeros."""
        weight = self._normal((outputs, inputs), inputs)
        return self._graph.dense(source, weight, np.zeros(outputs, np.float32))

    def _normal(self, shape: tuple[int, ...], fan_in: int) -> Array:
        return self._random.standard_normal(shape, np.float32) * np.float32(math.sqrt(1 / fan_in))
