"""ONNX files: what is whole passes, with the size of its weights; how far functions unfold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from headrace.engine.checks import onnx_file
from headrace.errors import ModelLoadError
from headrace.values import DType
from tests.contract import models
from tests.contract.bad_models.onnx_ import external, functions, model, node, weighted

HERE = Path("model.onnx")


def look(made: ModelProto) -> int:
    return onnx_file.look(made.SerializeToString(), HERE)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 5), np.float32),
        np.zeros(0, np.float32),
        np.float64(1),
        np.zeros((2, 2), np.float16),
        np.zeros(7, np.int8),
        np.zeros(3, bool),
        np.zeros(2, np.complex64),
        np.array(["a", "b"], object),
    ],
)
def test_weights_of_every_type_pass(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> None:
    made = model(weights=[numpy_helper.from_array(np.asarray(array), "w")])
    if array.dtype != object:
        assert look(made) == array.nbytes
    assert look(made) >= 0


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TensorProto.FLOAT, [1.0, 2.0, 3.0]),
        (TensorProto.INT64, [1, 2, -3]),
        (TensorProto.INT4, [1, 2, 3]),
        (TensorProto.UINT64, [1, 2, 3]),
        (TensorProto.DOUBLE, [1.0, 2.0, 3.0]),
        (TensorProto.BOOL, [True, False, True]),
        (TensorProto.FLOAT16, [1.0, 2.0, 3.0]),
    ],
)
def test_weights_in_lists_pass(kind: int, values: list[float]) -> None:
    made = model(weights=[helper.make_tensor("w", kind, [3], values)])
    assert look(made) > 0


def test_constants_and_graphs_within_nodes_are_looked_at_too() -> None:
    weight = numpy_helper.from_array(np.zeros(6, np.float32))
    inner = helper.make_graph(
        [node("Constant", [], ["c"], value=weight)],
        "then",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [6])],
    )
    made = model(node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
    assert look(made) == 48
    made.graph.node[0].attribute[0].g.node[0].attribute[0].t.dims[0] = 10**9
    with pytest.raises(ModelLoadError, match="of 4000000000 bytes, and holds 24"):
        look(made)


def test_a_sparse_weight_takes_what_it_is_with_its_zeros() -> None:
    made = model()
    sparse = made.graph.sparse_initializer.add(dims=[10**6, 10**6])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64)))
    assert look(made) > 10**12


def test_the_newest_opset_passes_and_a_newer_one_of_others_too() -> None:
    made = model()
    made.opset_import[0].version = onnx_file.NEWEST_OPSET
    made.opset_import.append(helper.make_opsetid("com.acme", 999))
    assert look(made) == 0


def test_functions_that_end_pass_whatever_calls_them() -> None:
    chain = functions(("f", "g"), ("g", "h"), ("h", "Relu"))
    assert look(chain) == 0
    inner = helper.make_graph([node("h", ["x"], ["z"], domain="own")], "then", [], [])
    hidden = functions(("f", "h"), ("h", "Relu"))
    hidden.functions[0].node[0].attribute.append(
        AttributeProto(name="then", type=AttributeProto.GRAPH, g=inner)
    )
    assert look(hidden) == 0
    hidden.functions[1].node[0].op_type = "f"
    hidden.functions[1].node[0].domain = "own"
    with pytest.raises(ModelLoadError, match="call themselves without end: f, h"):
        look(hidden)


def test_an_operator_called_as_a_function_of_another_domain_is_no_call() -> None:
    made = functions(("Relu", "Relu"))
    assert look(made) == 0


def test_what_lies_in_another_file_counts_with_it(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(64))
    content = external("w.bin").SerializeToString()
    assert onnx_file.look(content, tmp_path / "model.onnx") == 64


def test_a_whole_model_is_what_it_says(tmp_path: Path) -> None:
    path = models.product(tmp_path / "m.onnx", np.zeros((4, 3)))
    assert onnx_file.look(path.read_bytes(), path) == 48
    assert look(weighted()) == 64
    identity = models.identity(tmp_path / "i.onnx", DType.BYTES)
    assert onnx_file.look(identity.read_bytes(), identity) == 0
