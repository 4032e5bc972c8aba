"""The operators of a model that OpenVINO has read, in the bodies of loops and branches too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openvino as ov


def all_ops(model: ov.Model) -> Iterator[Any]:
    """Yield each, in an order in which they may run; of what a body is in after its own."""
    for op in model.get_ordered_ops():
        for body in _bodies(op):
            yield from all_ops(body)
        yield op


def _bodies(op: Any) -> Iterator[ov.Model]:
    kind = op.get_type_name()
    if kind in {"Loop", "TensorIterator"}:
        yield op.get_function()
    elif kind == "If":
        yield op.get_then_body()
        yield op.get_else_body()
