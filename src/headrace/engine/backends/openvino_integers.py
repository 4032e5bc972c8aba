"""Numbers in a model that OpenVINO would make others of: its CPU plugin has integers of 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov

from headrace.engine.backends.openvino_graphs import all_ops

_WIDE = frozenset({ov.Type.i64, ov.Type.u64, ov.Type.u32})
_HALF, _WHOLE = np.iinfo(np.int32), np.iinfo(np.int64)
# "To the end", as exporters say it for slices; the last number of 32 bits says that as well.
_ENDS = np.array([_WHOLE.min, _WHOLE.min + 1, _WHOLE.max - 1, _WHOLE.max])
# What cuts takes any number beyond the axis for its end, and one looks at shapes only.
_CUTTERS = frozenset({"Slice", "StridedSlice", "ShapeOf"})


def too_wide(model: ov.Model) -> tuple[str, int] | None:
    """A constant with a number that does not fit, and that number; None: all fit."""
    for constant in all_ops(model):
        if constant.get_type_name() != "Constant" or constant.get_element_type() not in _WIDE:
            continue
        numbers = constant.data
        if not numbers.size or (numbers.min() >= _HALF.min and numbers.max() <= _HALF.max):
            continue
        wide = numbers[(numbers < _HALF.min) | (numbers > _HALF.max)]
        ends = wide.dtype == _ENDS.dtype and np.isin(wide, _ENDS).all()
        if not ends and not _only_cuts(constant):
            return constant.get_friendly_name(), int(wide[0])
    return None


def _only_cuts(constant: Any) -> bool:
    takers = constant.output(0).get_target_inputs()
    return all(taker.get_node().get_type_name() in _CUTTERS for taker in takers)
