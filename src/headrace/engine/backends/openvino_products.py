"""Products with weights look at what they multiply: in f32 OpenVINO itself does not.

Its product with constants (``FullyConnected`` of 2026.4, for ``MatMul`` and ``Einsum``) reads as
many numbers of a row as the weights have, also where the row that came is shorter: the rest is
whatever lies behind it, of another client maybe. So a row whose length is free is told the one it
must have, by a reshape that moves nothing and raises where the length is another.
"""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as ops

from headrace.engine.backends.openvino_graphs import all_ops


def check_lengths(model: ov.Model) -> None:
    """Have every product whose rows are of any length, and whose weights are not, look at them."""
    for node in list(all_ops(model)):
        if node.get_type_name() == "MatMul":
            for side in (0, 1):
                _check(node, side)
        elif node.get_type_name() == "Einsum":
            _check_letters(node)
    model.validate_nodes_and_infer_types()


def _check(product: ov.Node, side: int) -> None:
    mine, theirs = (product.input(one).get_partial_shape() for one in (side, 1 - side))
    if mine.rank.is_dynamic or theirs.rank.is_dynamic:
        return
    axis = _axis(product, side, mine.rank.get_length())
    length = theirs[_axis(product, 1 - side, theirs.rank.get_length())]
    if mine[axis].is_static or length.is_dynamic:
        return
    _tell(product, side, axis, length.get_length())


def _tell(product: ov.Node, side: int, axis: int, length: int) -> None:
    """Have an axis of one side be of that length, or raise."""
    shape = [0] * product.input(side).get_partial_shape().rank.get_length()  # 0: as it is
    shape[axis] = length
    told = ops.reshape(product.input_value(side), shape, special_zero=True)
    product.input(side).replace_source_output(told.output(0))


def _check_letters(product: ov.Node) -> None:
    """Have all axes of one letter be as long as the one whose length is known."""
    given, _, _ = product.get_attributes()["equation"].partition("->")
    terms = [term.strip() for term in given.split(",")]
    shapes = [port.get_partial_shape() for port in product.inputs()]
    if "." in given or any(shape.rank.is_dynamic for shape in shapes):
        return  # with an ellipsis the letters do not say which axis is which
    axes = [
        (side, axis, letter) for side, term in enumerate(terms) for axis, letter in enumerate(term)
    ]
    known = {
        letter: shapes[side][axis].get_length()
        for side, axis, letter in axes
        if shapes[side][axis].is_static and shapes[side][axis].get_length() != 1  # fits any
    }
    for side, axis, letter in axes:
        if shapes[side][axis].is_dynamic and letter in known:
            _tell(product, side, axis, known[letter])


def _axis(product: ov.Node, side: int, rank: int) -> int:
    """The axis of one side that is summed over."""
    if rank == 1:
        return 0
    transposed = product.get_attributes()["transpose_b" if side else "transpose_a"]
    # Rows of the left, columns of the right.
    return rank - 1 if transposed == bool(side) else rank - 2
