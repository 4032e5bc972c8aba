"""ONNX files: external data, impossible sizes, graphs and functions that go round in circles."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.contract.bad_models.case import Case, holding

node = helper.make_node
Change = Callable[[ModelProto], object]

# More than any machine has.
_HUGE = 10**6


def model(*nodes: NodeProto, weights: Sequence[TensorProto] = ()) -> ModelProto:
    """x (N,4) to y (N,4), through these nodes; without any, through Relu."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")
    ]
    graph = helper.make_graph(
        nodes or (node("Relu", ["x"], ["y"]),), "bad", ports[:1], ports[1:], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def weighted(**fields: object) -> ModelProto:
    """y = x w, with fields of w (4,4) set to something else."""
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    made = model(node("MatMul", ["x", "w"], ["y"]), weights=[weight])
    for name, value in fields.items():
        if name == "dims":
            del made.graph.initializer[0].dims[:]
            made.graph.initializer[0].dims.extend(value)  # type: ignore[arg-type]
        else:
            setattr(made.graph.initializer[0], name, value)
    return made


def external(location: str, **keys: object) -> ModelProto:
    """y = x w, whose w is said to lie in another file."""
    made = weighted()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **keys}.items():
        tensor.external_data.add(key=key, value=str(value))
    return made


def _wide(*dims: int) -> ModelProto:
    """x and y of one row of these dimensions."""
    made = model()
    for port in (made.graph.input[0], made.graph.output[0]):
        shape = port.type.tensor_type.shape
        del shape.dim[1:]
        for dim in dims:
            shape.dim.add(dim_value=dim)
    return made


def saved(made: ModelProto, files: Mapping[str, bytes] | None = None) -> Callable[[Path], object]:
    """Write the model and what lies beside it."""

    def write(folder: Path) -> object:
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        return (folder / "model.onnx").write_bytes(made.SerializeToString())

    return write


def _linked_away(folder: Path) -> None:
    outside = folder.parent.parent.parent / "outside.bin"
    outside.write_bytes(bytes(64))
    (folder / "w.bin").symlink_to(outside)
    saved(external("w.bin"))(folder)


def _piped(folder: Path) -> None:
    os.mkfifo(folder / "w.bin")
    saved(external("w.bin"))(folder)


def functions(*calls: tuple[str, str]) -> ModelProto:
    """A model of functions, each of which calls another: (name, whom it calls)."""
    made = model(node(calls[0][0], ["x"], ["y"], domain="own"))
    made.opset_import.append(helper.make_opsetid("own", 1))
    for name, callee in calls:
        domain = "" if callee == "Relu" else "own"
        made.functions.append(
            helper.make_function(
                "own",
                name,
                ["a"],
                ["b"],
                [node(callee, ["a"], ["b"], domain=domain)],
                [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
            )
        )
    return made


def _doubling(times: int) -> ModelProto:
    """Functions that each call the next twice: small in the file, 2 to the power when inlined."""
    made = functions(*[(f"f{i}", f"f{i + 1}") for i in range(times)], (f"f{times}", "Relu"))
    for function in made.functions[:-1]:
        callee = function.node[0].op_type
        del function.node[:]
        function.node.extend(
            [
                node(callee, ["a"], ["c"], domain="own"),
                node(callee, ["c"], ["b"], domain="own"),
            ]
        )
    return made


def _nested(levels: int) -> bytes:
    """An If in an If in an If: written by hand, for the library refuses to."""
    inner = b""
    for _ in range(levels):
        graph = _field(1, _field(4, b"If") + _field(5, _field(6, inner) + b"\xa0\x01\x05"))
        inner = graph
    return b"\x08\x09" + _field(7, inner) + _field(8, b"\x10\x11")


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def _merged() -> bytes:
    """A constant in two parts: that it lies in another file, and, of what is read as one, where."""
    made = model(node("Constant", [], ["w"], value=external("w.bin").graph.initializer[0]))
    made.graph.node.append(node("MatMul", ["x", "w"], ["y"]))
    attribute = made.graph.node[0].attribute[0]
    where = TensorProto(data_type=TensorProto.FLOAT, dims=[4, 4], raw_data=bytes(64))
    where.external_data.add(key="location", value="/etc/passwd")
    twice = attribute.SerializeToString() + _field(5, where.SerializeToString())
    del made.graph.node[0].attribute[:]
    nodes = _field(1, made.graph.node[0].SerializeToString() + _field(5, twice))
    del made.graph.node[0]
    graph = nodes + made.graph.SerializeToString()
    made.ClearField("graph")
    return made.SerializeToString() + _field(7, graph)


def _sparse_twice() -> bytes:
    """Sparse weights whose values are there twice."""
    values = _field(1, numpy_helper.from_array(np.ones(1, np.float32), "w").SerializeToString())
    made = model()
    graph = made.graph.SerializeToString() + _field(15, values + values)
    made.ClearField("graph")
    return made.SerializeToString() + _field(7, graph)


def _by_default() -> ModelProto:
    """A function with weights for what a call of it does not say."""
    given = helper.make_attribute("w", external("/etc/passwd").graph.initializer[0])
    made = functions(("f", "Relu"))
    made.functions[0].attribute_proto.append(given)
    return made


def _constant() -> ModelProto:
    """y = w, whoever asks."""
    made = weighted()
    made.graph.node[0].CopyFrom(node("Identity", ["w"], ["y"]))
    del made.graph.input[:]
    return made


def _with(change: Change, made: ModelProto | None = None) -> ModelProto:
    found = model() if made is None else made
    change(found)
    return found


_WHOLE = weighted().SerializeToString()
_BAD_NAME = model().SerializeToString().replace(b"\x01x", b"\x01\xff")

CASES: tuple[Case, ...] = (
    Case("inputs-none", "no inputs, and a request needs one", saved(_constant())),
    Case("data-absolute", "outside the folder", saved(external("/etc/passwd"))),
    Case("data-above", "outside the folder", saved(external("../../../../outside.bin"))),
    Case("data-linked-away", "leads outside", _linked_away),
    Case("data-missing", r"'w\.bin', which is missing", saved(external("w.bin"))),
    Case("data-short", "which has 10 bytes", saved(external("w.bin"), {"w.bin": bytes(10)})),
    Case(
        "data-beyond",
        "up to byte 4160",
        saved(external("w.bin", offset=4096, length=64), {"w.bin": bytes(64)}),
    ),
    Case(
        "data-offset-huge",
        "offset .* is no number",
        saved(external("w.bin", offset=2**70), {"w.bin": bytes(64)}),
    ),
    Case(
        "data-offset-nonsense",
        "'all of it'",
        saved(external("w.bin", offset="all of it"), {"w.bin": bytes(64)}),
    ),
    Case(
        "data-length-wrong",
        "8 bytes of another file",
        saved(external("w.bin", length=8), {"w.bin": bytes(64)}),
    ),
    Case("data-nowhere", "which is no file", saved(external(""))),
    Case("data-in-two-parts", "two values where one attribute", holding("model.onnx", _merged())),
    Case("data-of-two", "two values where one sparse", holding("model.onnx", _sparse_twice())),
    Case("data-by-default", "outside the folder", saved(_by_default())),
    Case("data-a-pipe", "not a regular file", _piped),
    Case(
        "weights-declared-terabytes",
        "4000000000000 bytes, and holds 0",
        saved(weighted(dims=[_HUGE, _HUGE], raw_data=b"")),
    ),
    Case(
        "weights-declared-beyond-numbers",
        "more elements than there can be",
        saved(weighted(dims=[2**62, 2**62])),
    ),
    Case("weights-negative", "negative size", saved(weighted(dims=[-4, 4]))),
    Case("weights-short", "of 64 bytes, and holds 60", saved(weighted(raw_data=bytes(60)))),
    Case("weights-of-no-type", "cannot load", saved(weighted(data_type=99))),
    Case("input-of-terabytes", "takes 3814697 MiB.*slot_mib", saved(_wide(_HUGE, _HUGE))),
    Case("function-calls-itself", "call themselves without end: f", saved(functions(("f", "f")))),
    Case(
        "functions-in-a-ring",
        "call themselves without end: f, g, h",
        saved(functions(("f", "g"), ("g", "h"), ("h", "f"))),
    ),
    Case("functions-doubling", "more than 1000000 nodes", saved(_doubling(40))),
    Case("graphs-nested", "nested more than 100 deep", holding("model.onnx", _nested(5000))),
    Case(
        "nodes-in-a-ring",
        "node",
        saved(model(node("Add", ["x", "b"], ["a"]), node("Add", ["a", "a"], ["b"]))),
    ),
    Case("operator-unknown", "Frobnicate", saved(model(node("Frobnicate", ["x"], ["y"])))),
    Case(
        "domain-unknown",
        "Frobnicate",
        saved(model(node("Frobnicate", ["x"], ["y"], domain="com.acme"))),
    ),
    Case(
        "opset-too-new",
        "opset 999, and 28 is the newest",
        saved(_with(lambda m: setattr(m.opset_import[0], "version", 999))),
    ),
    Case("graph-missing", "no graph", saved(_with(lambda m: m.ClearField("graph")))),
    Case("outputs-missing", "no outputs", saved(_with(lambda m: m.graph.ClearField("output")))),
    Case("input-unknown", "nobody", saved(model(node("Relu", ["nobody"], ["y"])))),
    Case("halved", "cut off: it has 78 bytes", holding("model.onnx", _WHOLE[: len(_WHOLE) // 2])),
    Case("last-byte-missing", "cut off", holding("model.onnx", _WHOLE[:-1])),
    Case("noise", "no protobuf", holding("model.onnx", np.random.default_rng(1).bytes(4096))),
    Case("name-not-text", "not UTF-8", holding("model.onnx", _BAD_NAME)),
    Case("zeros", "begins with zeros", holding("model.onnx", bytes(4096))),
)
