"""The first layers of a network computed in f32 though the rest is in bf16.

What the first layers round all others carry on: of EfficientNet-Lite0 in bf16 the first two of 50
make seven tenths of the error, and take no longer in f32. OpenVINO leaves an operator in its own
arithmetic that has a certain mark (its ``disable_precision_conversion``, in files ``precise``).
Python cannot make that mark, but can give it on: a file of three operators brings it.
"""

from __future__ import annotations

from typing import Any

import openvino as ov

# What multiplies with weights, and what stands between these goes with the one before it.
_LAYERS = frozenset(
    {
        "Convolution",
        "GroupConvolution",
        "ConvolutionBackpropData",
        "GroupConvolutionBackpropData",
        "MatMul",
        "LSTMSequence",
        "GRUSequence",
        "RNNSequence",
        "LSTMCell",
        "GRUCell",
        "RNNCell",
    }
)
# The same, as they are called once they are compiled.
_COMPILED = frozenset({*_LAYERS, "FullyConnected", "Deconvolution", "RNNSeq"})
# These compute nothing.
_ENDS = frozenset({"Parameter", "Constant", "Result"})
_MARKED = "marked"
_PORT = '<port id="0" precision="FP32"><dim>1</dim></port>'
_BRINGS_MARK = f"""<?xml version="1.0"?>
<net name="mark" version="11">
  <layers>
    <layer id="0" name="x" type="Parameter" version="opset1">
      <data shape="1" element_type="f32"/><output>{_PORT}</output>
    </layer>
    <layer id="1" name="{_MARKED}" type="ReLU" version="opset1">
      <rt_info><attribute name="precise" version="0"/></rt_info>
      <input>{_PORT}</input><output>{_PORT.replace('"0"', '"1"')}</output>
    </layer>
    <layer id="2" name="y" type="Result" version="opset1"><input>{_PORT}</input></layer>
  </layers>
  <edges>
    <edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
    <edge from-layer="1" from-port="1" to-layer="2" to-port="0"/>
  </edges>
</net>
"""


def count(model: ov.Model) -> int:
    """How many layers a model has."""
    return sum(op.get_type_name() in _LAYERS for op in model.get_ops())


def keep_f32(core: ov.Core, model: ov.Model, layers: int) -> None:
    """Mark so many of the first layers, in the order they run in, with what lies between them."""
    marks = _marks(core)
    seen = 0
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        seen += kind in _LAYERS
        if seen > layers:
            return
        if kind not in _ENDS:
            for name, mark in marks:
                op.set_rt_info(mark, name)


def kept(compiled: ov.CompiledModel) -> bool:
    """Whether some layer of a compiled model computes in f32."""
    return any(
        op.get_rt_info()["runtimePrecision"].astype(str) == "f32"
        for op in compiled.get_runtime_model().get_ops()
        if op.get_rt_info()["layerType"].astype(str) in _COMPILED
    )


def _marks(core: ov.Core) -> list[tuple[str, Any]]:
    model = core.read_model(_BRINGS_MARK.encode())
    marked = next(op for op in model.get_ops() if op.get_friendly_name() == _MARKED)
    return list(marked.get_rt_info().items())
