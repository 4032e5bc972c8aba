"""OpenVINO on the CPU: one compiled model with a stream for every instance.

Every ``InferRequest`` belongs to one thread and always shares its inputs (never mixed with copying
calls: OpenVINO 2026.4 corrupts its heap when the two alternate on one request).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import Array, Dim, DType, Signature, TensorSpec

_DTYPES: dict[str, DType] = {
    "boolean": DType.BOOL,
    "u8": DType.UINT8,
    "u16": DType.UINT16,
    "u32": DType.UINT32,
    "u64": DType.UINT64,
    "i8": DType.INT8,
    "i16": DType.INT16,
    "i32": DType.INT32,
    "i64": DType.INT64,
    "f16": DType.FP16,
    "bf16": DType.BF16,
    "f32": DType.FP32,
    "f64": DType.FP64,
    "string": DType.BYTES,
}

_PRECISIONS = {ov.Type.f32: "f32", ov.Type.bf16: "bf16", ov.Type.f16: "f16"}


def load(path: Path, settings: ModelSettings) -> OpenVinoModel:
    """Load an ONNX or IR file; see ``contract.Load``."""
    instances = settings.instances or 1
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": settings.precision.value,
        "NUM_STREAMS": instances,
        "INFERENCE_NUM_THREADS": instances * settings.threads,
        # The cores are shared with the receiver and with other engines.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        core = ov.Core()
        model = core.read_model(path)
        signature = _signature(model)
        if any(s.dtype is DType.BYTES for s in (*signature.inputs, *signature.outputs)):
            raise ModelLoadError("OpenVINO runs no string tensors here: use backend onnxruntime")
        return OpenVinoModel(core.compile_model(model, "CPU", options), signature)
    except RuntimeError as error:
        raise ModelLoadError(f"cannot load {path}: {str(error)[:500]}") from error


class OpenVinoModel:
    """A compiled model."""

    def __init__(self, compiled: ov.CompiledModel, signature: Signature) -> None:
        self._compiled = compiled
        self.signature = signature
        # The first run at a new shape builds kernels for it: some milliseconds that no request
        # pays.
        self.fixed_sizes = signature.batched
        self.precision = _PRECISIONS[compiled.get_property("INFERENCE_PRECISION_HINT")]

    def instance(self) -> OpenVinoInstance:
        """Make one more lane."""
        return OpenVinoInstance(self._compiled.create_infer_request(), self.signature)


class OpenVinoInstance:
    """One lane: one infer request."""

    def __init__(self, request: ov.InferRequest, signature: Signature) -> None:
        self._request = request
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = [spec.name for spec in signature.outputs]
        self._bf16 = {
            spec.name
            for spec in (*signature.inputs, *signature.outputs)
            if spec.dtype is DType.BF16
        }

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        request = self._request
        try:
            for index, name in enumerate(self._inputs):
                request.set_input_tensor(index, self._tensor(name, inputs[name]))
            request.infer()
            return {
                name: self._array(name, request.get_output_tensor(index))
                for index, name in enumerate(self._outputs)
            }
        except RuntimeError as error:
            raise InferenceFailed(str(error)[:500]) from error

    def _tensor(self, name: str, array: Array) -> ov.Tensor:
        if name in self._bf16:
            return ov.Tensor(array.view(np.uint16), array.shape, ov.Type.bf16)
        return ov.Tensor(array, shared_memory=True)

    def _array(self, name: str, tensor: Any) -> Array:
        data: Array = tensor.data
        return data.view(DType.BF16.numpy) if name in self._bf16 else data


def _signature(model: ov.Model) -> Signature:
    inputs = tuple(_spec(port, index, "input") for index, port in enumerate(model.inputs))
    outputs = tuple(_spec(port, index, "output") for index, port in enumerate(model.outputs))
    free = all(s.shape and not isinstance(s.shape[0], int) for s in (*inputs, *outputs))
    return Signature(inputs, outputs, batched=free)


def _spec(port: Any, index: int, kind: str) -> TensorSpec:
    element = port.element_type.to_string()
    if element not in _DTYPES:
        raise ModelLoadError(f"{kind} {index}: {element} cannot be served")
    name = port.any_name if port.names else f"{kind}_{index}"
    return TensorSpec(name, _DTYPES[element], tuple(map(_dim, port.partial_shape)))


def _dim(dim: Any) -> Dim:
    # OpenVINO forgets ONNX's names of free axes; warm-up finds out which of them belong together.
    return int(dim.get_length()) if dim.is_static else None
