"""Tiny ONNX models and doubles of models, made by the tests that serve or load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from headrace.values import Array, DType

Dims = Sequence[int | str]
Ports = Mapping[str, tuple[DType, Dims]]

ONNX_TYPES: dict[DType, int] = {
    DType.BOOL: TensorProto.BOOL,
    DType.UINT8: TensorProto.UINT8,
    DType.UINT16: TensorProto.UINT16,
    DType.UINT32: TensorProto.UINT32,
    DType.UINT64: TensorProto.UINT64,
    DType.INT8: TensorProto.INT8,
    DType.INT16: TensorProto.INT16,
    DType.INT32: TensorProto.INT32,
    DType.INT64: TensorProto.INT64,
    DType.FP16: TensorProto.FLOAT16,
    DType.BF16: TensorProto.BFLOAT16,
    DType.FP32: TensorProto.FLOAT,
    DType.FP64: TensorProto.DOUBLE,
    DType.BYTES: TensorProto.STRING,
}

node = helper.make_node

_FOUR = '{{"{}": ("FP32", [None, 4])}}'


def write(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Ports,
    outputs: Ports,
    constants: Mapping[str, Array] | None = None,
) -> Path:
    """Write an ONNX model."""
    weights = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "tiny", _infos(inputs), _infos(outputs), weights)
    opset = [helper.make_opsetid("", 17)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def _infos(ports: Ports) -> list[Any]:
    return [
        helper.make_tensor_value_info(name, ONNX_TYPES[dtype], list(dims))
        for name, (dtype, dims) in ports.items()
    ]


def identity(path: Path, dtype: DType, dims: Dims = ("N", 3)) -> Path:
    """Input x, output y: the same."""
    ports = {"x": (dtype, dims)}
    return write(path, [node("Identity", ["x"], ["y"])], ports, {"y": (dtype, dims)})


def half_plus(path: Path, what: float) -> Path:
    """An ONNX model of one number a row: y = x / 2 + what."""
    constants = {"half": np.array([0.5], np.float32), "what": np.array([what], np.float32)}
    nodes = [node("Mul", ["x", "half"], ["h"]), node("Add", ["h", "what"], ["y"])]
    return write(path, nodes, {"x": (DType.FP32, ["N"])}, {"y": (DType.FP32, ["N"])}, constants)


def product(path: Path, weights: Array, dims: Dims = ("N", 4)) -> Path:
    """Input x, output y: the matrix product of x and the weights."""
    return write(
        path,
        [node("MatMul", ["x", "w"], ["y"])],
        {"x": (DType.FP32, dims)},
        {"y": (DType.FP32, (*dims[:-1], weights.shape[-1]))},
        {"w": weights.astype(np.float32)},
    )


def double(path: Path, text: str) -> Path:
    """A ``.fake`` file: a double of a model, which answers with its inputs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def python(path: Path, body: str, inputs: str = "", outputs: str = "") -> Path:
    """A Python file with a class; ``body`` is what ``infer`` does, a line a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    path.write_text(
        "import numpy as np\n\n\nclass Model:\n"
        f"    inputs = {inputs or _FOUR.format('x')}\n"
        f"    outputs = {outputs or _FOUR.format('y')}\n\n"
        f"    def infer(self, batch):\n{lines}"
    )
    return path


def attention(path: Path, kinds: int = 2) -> Path:
    """Words, their kinds and a mask, as long: each word is mixed with all others of its row."""
    random = np.random.default_rng(1)
    size = 8
    weights = {
        "of_words": random.standard_normal((50, size), np.float32),
        "of_kinds": random.standard_normal((kinds, size), np.float32),
        "ask": random.standard_normal((size, size), np.float32),
        "key": random.standard_normal((size, size), np.float32),
        "one": np.array(1, np.float32),
        "never": np.array(-1e9, np.float32),
        "of_places": random.standard_normal((128, size), np.float32),
        "axis": np.array([1]),
        "start": np.array([0]),
    }
    nodes = [
        node("Gather", ["of_words", "ids"], ["word"]),
        node("Gather", ["of_kinds", "kinds"], ["kind"]),
        node("Shape", ["ids"], ["sizes"]),
        node("Gather", ["sizes", "axis"], ["length"]),
        node("Slice", ["of_places", "start", "length", "start"], ["place"]),
        node("Add", ["word", "place"], ["placed"]),
        node("Add", ["placed", "kind"], ["x"]),
        node("MatMul", ["x", "ask"], ["asked"]),
        node("MatMul", ["x", "key"], ["keys"]),
        node("Transpose", ["keys"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["asked", "turned"], ["likeness"]),
        node("Cast", ["mask"], ["there"], to=1),
        node("Sub", ["one", "there"], ["absent"]),
        node("Mul", ["absent", "never"], ["less"]),
        node("Unsqueeze", ["less", "axis"], ["of_all"]),
        node("Add", ["likeness", "of_all"], ["heard"]),
        node("Softmax", ["heard"], ["share"], axis=-1),
        node("MatMul", ["share", "x"], ["y"]),
    ]
    inputs = dict.fromkeys(("ids", "mask", "kinds"), (DType.INT64, ("N", "S")))
    return write(path, nodes, inputs, {"y": (DType.FP32, ("N", "S", size))}, weights)


def heads(path: Path) -> Path:
    """Words of two heads, and a mask that is looked up at as many places as there are words."""
    random = np.random.default_rng(1)
    weights = {
        "of_words": random.standard_normal((50, 8), np.float32),
        "one": np.array([1]),
        "first": np.array(0),
        "step": np.array(1),
        "any": np.array([-1]),
        "four": np.array([4]),
        "eight": np.array([8]),
    }
    nodes = [
        node("Gather", ["of_words", "ids"], ["x"]),
        node("Shape", ["ids"], ["sizes"]),
        node("Gather", ["sizes", "one"], ["length"]),
        node("Squeeze", ["length"], ["end"]),
        node("Range", ["first", "end", "step"], ["places"]),
        node("Gather", ["mask", "places"], ["looked_up"], axis=1),
        node("Cast", ["looked_up"], ["there"], to=1),
        node("Concat", ["any", "length", "four"], ["split"], axis=0),
        node("Reshape", ["x", "split"], ["heads"]),
        node("Transpose", ["heads"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["heads", "turned"], ["likeness"]),
        node("Concat", ["there", "there"], ["twice"], axis=1),
        node("Concat", ["any", "one", "length"], ["of_heads"], axis=0),
        node("Reshape", ["twice", "of_heads"], ["of_all"]),
        node("Mul", ["likeness", "of_all"], ["share"]),
        node("MatMul", ["share", "heads"], ["mixed"]),
        node("Concat", ["any", "length", "eight"], ["joined"], axis=0),
        node("Reshape", ["mixed", "joined"], ["y"]),
    ]
    inputs = dict.fromkeys(("ids", "mask"), (DType.INT64, ("N", "S")))
    return write(path, nodes, inputs, {"y": (DType.FP32, ("N", "S", 8))}, weights)
