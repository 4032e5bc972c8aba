"""Places in a table are looked at before they are used: OpenVINO itself looks at few of them.

``GatherND`` of 2026.4 reads behind its table, ``ScatterElementsUpdate`` writes before it, and
``Gather`` answers zeros: another client's numbers, a dead process, or the embedding of no word.
ONNX calls such a place an error, and so it is here: what comes with a request, or is computed, is
looked at by operators before that one, which raise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from headrace.engine.backends.openvino_graphs import all_ops

RAISED = "indices values of GatherElement exceed data size"
"""What is raised where a place is in no table."""

# Which input is the axis that the places are of.
_OF_AN_AXIS = {"Gather": 2, "ScatterElementsUpdate": 3, "ScatterUpdate": 3}
_OF_SEVERAL = "GatherND"
# Of these ``Gather`` counts no places from the end.
_FROM_0_ONLY = frozenset({"opset1", "opset7"})
# Longer tables of numbers are not worth their memory.
_LONGEST = 2**20


def check_places(model: ov.Model) -> None:
    """Have every operator look at the places it is given, but for those that the model says."""
    for op in list(all_ops(model)):
        kind = op.get_type_name()
        if kind not in _OF_AN_AXIS and kind != _OF_SEVERAL:
            continue
        if op.input_value(1).get_node().get_type_name() == "Constant":
            continue
        op.input(1).replace_source_output(_checked(op, kind).output(0))
    model.validate_nodes_and_infer_types()


def _checked(op: Any, kind: str) -> ov.Node:
    """The places of an operator, looked at."""
    places = ops.convert(op.input_value(1), "i64")
    if kind == _OF_SEVERAL:
        many = op.get_input_partial_shape(1)[-1].get_length()  # OpenVINO compiles no others
        sizes = _several(op, many)
        return _compared(places, ops.negative(sizes), sizes, many)
    axis = op.input_value(_OF_AN_AXIS[kind])
    size = _size(op, axis)
    if kind == "Gather" and op.get_type_info().version_id in _FROM_0_ONLY:
        return _compared(places, ops.constant(0, ov.Type.i64), _one(op, axis), 1)
    if size is not None and size <= _LONGEST:
        return _looked_up(places, size)
    return _compared(places, ops.negative(_one(op, axis)), _one(op, axis), 1)


def _size(op: Any, axis: ov.Output) -> int | None:
    """How long that axis is, if that is known."""
    table, node = op.get_input_partial_shape(0), axis.get_node()
    if table.rank.is_dynamic or node.get_type_name() != "Constant":
        return None
    size = table[int(node.data.item()) % table.rank.get_length()]
    return size.get_length() if size.is_static else None


def _one(op: Any, axis: ov.Output) -> ov.Node:
    """The size of the axis that the places are of."""
    return ops.gather(_shape(op), axis, 0)


def _several(op: Any, many: int) -> ov.Node:
    """The sizes of so many axes, of each of which a place has a number."""
    first = op.get_attributes()["batch_dims"]
    return ops.gather(_shape(op), list(range(first, first + many)), 0)


def _shape(op: Any) -> ov.Node:
    return ops.shape_of(op.input_value(0), "i64")


def _looked_up(places: ov.Node, size: int) -> ov.Node:
    """The same places, from 0 on; at run time an error where one is not in a table of this size.

    Number n of the table is n, and ``GatherElements`` does look at where it takes it from.
    """
    table = ops.constant(np.arange(size))
    taken = ops.gather_elements(table, ops.reshape(places, [-1], special_zero=False), 0)
    return ops.reshape(taken, ops.shape_of(places), special_zero=False)


def _compared(places: ov.Node, first: ov.Node, behind: ov.Node, numbers: int) -> ov.Node:
    """The same places; at run time an error where one is before the first or behind the last.

    A place is of so many ``numbers``, each of an axis. Whether one is outside is itself a place in
    a table of one number: where it is 1 that raises, and else it takes the 0 which is added to the
    places, so that they wait for it.
    """
    rows = ops.reshape(places, [-1, numbers], special_zero=False)
    # Of no place at all the least is the largest number there is, and the other way round.
    outside = ops.logical_or(
        ops.less(ops.reduce_min(rows, [0], keep_dims=False), first),
        ops.greater_equal(ops.reduce_max(rows, [0], keep_dims=False), behind),
    )
    found = ops.convert(ops.reduce_logical_or(outside, [0], keep_dims=True), "i64")
    nothing = ops.reduce_sum(ops.gather_elements(found, found, 0), [0], keep_dims=False)
    return ops.add(places, nothing)
