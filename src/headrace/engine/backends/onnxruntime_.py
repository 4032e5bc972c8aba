"""ONNX Runtime on the CPU: one session, shared by all instances (``run`` releases the GIL)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings, Precision
from headrace.values import Array, DType, Signature, TensorSpec

_DTYPES: dict[str, DType] = {
    "tensor(bool)": DType.BOOL,
    "tensor(uint8)": DType.UINT8,
    "tensor(uint16)": DType.UINT16,
    "tensor(uint32)": DType.UINT32,
    "tensor(uint64)": DType.UINT64,
    "tensor(int8)": DType.INT8,
    "tensor(int16)": DType.INT16,
    "tensor(int32)": DType.INT32,
    "tensor(int64)": DType.INT64,
    "tensor(float16)": DType.FP16,
    "tensor(bfloat16)": DType.BF16,
    "tensor(float)": DType.FP32,
    "tensor(double)": DType.FP64,
    "tensor(string)": DType.BYTES,
}
# onnx.TensorProto.BFLOAT16: numpy has no such type, so ORT must be told.
_BFLOAT16 = 16


def load(path: Path, settings: ModelSettings) -> OrtModel:
    """Load an ONNX file; see ``contract.Load``."""
    if settings.precision is not Precision.F32:
        raise ModelLoadError(
            "ONNX Runtime computes what the model says on x86, precision "
            f"{settings.precision.value} is not to be had: use backend openvino"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Spinning threads take the cores of the receiver and of other instances.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return OrtModel(session)
    except Exception as error:  # ORT raises classes of its own module, one per status
        raise ModelLoadError(f"cannot load {path}: {str(error)[:500]}") from error


class OrtModel:
    """A loaded session."""

    fixed_sizes = False
    precision = "f32"

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        inputs = tuple(_spec(node) for node in session.get_inputs())
        outputs = tuple(_spec(node) for node in session.get_outputs())
        free = all(s.shape and not isinstance(s.shape[0], int) for s in (*inputs, *outputs))
        self.signature = Signature(inputs, outputs, batched=free)

    def instance(self) -> OrtInstance:
        """Make one more lane."""
        return OrtInstance(self._session, self.signature)


class OrtInstance:
    """One lane over the shared session."""

    def __init__(self, session: ort.InferenceSession, signature: Signature) -> None:
        self._session = session
        self._outputs = [spec.name for spec in signature.outputs]
        kinds = {spec.dtype for spec in (*signature.inputs, *signature.outputs)}
        self._plain = not kinds & {DType.BYTES, DType.BF16}
        self._signature = signature

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        try:
            if self._plain:
                values = self._session.run(self._outputs, dict(inputs))
            else:
                values = self._run_values(inputs)
        except Exception as error:  # ORT raises classes of its own module, one per status
            raise InferenceFailed(str(error)[:500]) from error
        return dict(zip(self._outputs, values, strict=True))

    def _run_values(self, inputs: Mapping[str, Array]) -> list[Array]:
        feeds = {spec.name: _value(spec, inputs[spec.name]) for spec in self._signature.inputs}
        found = self._session.run_with_ort_values(self._outputs, feeds)
        return [
            _array(spec, value) for spec, value in zip(self._signature.outputs, found, strict=True)
        ]


def _value(spec: TensorSpec, array: Array) -> ort.OrtValue:
    if spec.dtype is DType.BF16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(spec: TensorSpec, value: ort.OrtValue) -> Array:
    array: Array = value.numpy()
    if spec.dtype is DType.BF16:
        return array.view(DType.BF16.numpy)
    if spec.dtype is DType.BYTES:
        encoded = [s.encode() if isinstance(s, str) else s for s in array.ravel()]
        flat = np.empty(len(encoded), object)
        flat[:] = encoded
        return flat.reshape(array.shape)
    return array


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ModelLoadError(f"{node.name}: {node.type} cannot be served")
    return TensorSpec(node.name, _DTYPES[node.type], tuple(node.shape))
