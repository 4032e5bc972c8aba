"""ONNX models whose weights lie in other files."""

from __future__ import annotations

import onnx


def external(*locations: str) -> bytes:
    """A model with a tensor in each of these files, one of them in a branch."""
    model = onnx.ModelProto(ir_version=9)
    branch = model.graph.node.add(op_type="If").attribute.add(name="then_branch")
    for number, location in enumerate(locations):
        tensors = branch.g.initializer if number == 1 else model.graph.initializer
        tensor = tensors.add(name=f"w{number}", data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()
