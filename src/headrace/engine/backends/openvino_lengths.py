"""Sequences that end before others of their batch: OpenVINO's CPU plugin runs them to the end.

Its LSTM, GRU and RNN (2026.4) take no notice of the lengths that they are given, ONNX's
``sequence_lens``.
"""

from __future__ import annotations

from typing import Any

import openvino as ov

from headrace.engine.backends.openvino_graphs import all_ops

# Which input has the lengths; input 0 has the sequences, of which axis 1 is the steps.
_LENGTHS = {"LSTMSequence": 3, "GRUSequence": 2, "RNNSequence": 2}


def shorter(model: ov.Model) -> str | None:
    """What may be given sequences that are shorter than its steps; None: nothing."""
    for op in all_ops(model):
        given = _LENGTHS.get(op.get_type_name())
        if given is not None and not _is_whole(op, given):
            return str(op.get_friendly_name())
    return None


def _is_whole(op: Any, given: int) -> bool:
    """Whether it runs to the end of its sequences anyhow."""
    lengths = op.input_value(given).get_node()
    if lengths.get_type_name() != "Constant":
        return not _is_told(lengths)
    steps = op.get_input_partial_shape(0)[1]
    return steps.is_static and bool((lengths.data == steps.get_length()).all())


def _is_told(lengths: Any) -> bool:
    """Whether they are computed of more than shapes, as those are that nobody has given."""
    seen, left = set(), [lengths]
    while left:
        node = left.pop()
        kind = node.get_type_name()
        if kind == "Parameter":
            return True
        if kind == "ShapeOf" or node.get_friendly_name() in seen:
            continue
        seen.add(node.get_friendly_name())
        left += [source.get_node() for source in node.input_values()]
    return False
