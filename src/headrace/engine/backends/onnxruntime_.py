"""ONNX Runtime: one session, shared by all instances (``run`` releases the GIL).

Its strings are UTF-8 text: other bytes cannot be given to a model that takes strings.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from headrace.device import CPU, gpu_index
from headrace.engine.backends import onnxruntime_cuda as cuda
from headrace.engine.backends.contract import Instance
from headrace.engine.backends.failures import failure
from headrace.errors import DeviceMissing, ModelLoadError
from headrace.formats import onnx_
from headrace.settings import BackendName, ModelSettings, Precision
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
# Of TensorRT.
_PRECISIONS = frozenset({Precision.F32, Precision.F16, Precision.BF16})
# Errors are raised as well: what it prints of them would be lines of another form in the log. But
# why a library of a GPU could not be loaded is only printed.
_FATAL, _ERROR = 4, 3
# onnx.TensorProto.BFLOAT16
_BFLOAT16 = 16


def load(path: Path, settings: ModelSettings, engines: Path | None = None) -> OrtModel:
    """Load an ONNX file; see ``contract.Load``. TensorRT keeps what it has built in ``engines``."""
    tensorrt, on_gpu = settings.backend is BackendName.TENSORRT, settings.device != CPU
    ort.set_default_logger_severity(_ERROR if on_gpu else _FATAL)  # that of its sessions, too
    if tensorrt and not on_gpu:
        raise ModelLoadError(f"cannot load {path}: TensorRT runs on a GPU: say device: cuda")
    if settings.precision not in (_PRECISIONS if tensorrt else {Precision.F32}):
        raise ModelLoadError(
            f"cannot load {path}: ONNX Runtime computes in the model's own precision, "
            f"{settings.precision.value} is not to be had: use backend "
            f"{'tensorrt' if on_gpu else 'openvino'} or precision f32"
        )
    if on_gpu:
        cuda.check_there(settings)
        cuda.keep_precise(settings)
        cuda.load_libraries(settings)
    try:
        session = _open(path, settings, engines)
        _check_ranks(session, path)
        if on_gpu:
            cuda.check_used(session, settings)
        return OrtModel(session, settings, _check(settings))
    except (DeviceMissing, ModelLoadError):
        raise
    except Exception as error:  # ORT raises classes of its own module, one per status
        raise ModelLoadError(
            f"cannot load {path}: {str(error)[:500]}; it must be a whole ONNX file of operators "
            "that ONNX Runtime has"
        ) from error


def _open(path: Path, settings: ModelSettings, engines: Path | None) -> ort.InferenceSession:
    options = _options(settings)
    on_cpu = _session(path, options, [cuda.CPU])
    if settings.device == CPU:
        return on_cpu
    wanted = cuda.providers(settings, _signature(on_cpu), engines)
    try:
        return _session(path, options, wanted)
    except Exception as error:  # ORT raises classes of its own module, one per status
        raise cuda.refusal(path, settings, error) from error


def _session(
    path: Path, options: ort.SessionOptions, wanted: Sequence[cuda.Provider]
) -> ort.InferenceSession:
    # By itself it would go on with fewer of them, after a run that failed too.
    return ort.InferenceSession(str(path), options, providers=wanted, enable_fallback=0)


def _check(settings: ModelSettings) -> Callable[[], None]:
    """What is asked after a run that failed."""
    index = gpu_index(settings.device)
    return _nothing if index is None else cuda.probe(index)


def _nothing() -> None:
    """All is well with a processor."""


def _check_ranks(session: ort.InferenceSession, path: Path) -> None:
    """Refuse inputs of any rank, which ORT tells as single numbers.

    Raises:
        ModelLoadError: there is one.
    """
    single = {node.name for node in session.get_inputs() if not node.shape}
    if not single:
        return
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    unknown = single & onnx_.rankless(data)
    if unknown:
        raise ModelLoadError(
            f"cannot load {path}: input {min(unknown)!r} has no known rank: export it with one"
        )


def _options(settings: ModelSettings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Spinning threads take the cores of the receiver and of other instances.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def _signature(session: ort.InferenceSession) -> Signature:
    inputs = tuple(_spec(node) for node in session.get_inputs())
    outputs = tuple(_spec(node) for node in session.get_outputs())
    free = all(s.shape and not isinstance(s.shape[0], int) for s in (*inputs, *outputs))
    return Signature(inputs, outputs, batched=free)


class OrtModel:
    """A loaded session."""

    integer_bits = 64
    text_only = True

    def __init__(
        self,
        session: ort.InferenceSession,
        settings: ModelSettings,
        check: Callable[[], None] = _nothing,
    ) -> None:
        self._session = session
        self._check = check
        gpu = gpu_index(settings.device)
        self.signature = _signature(session)
        self.precision = settings.precision.value
        kinds = {s.dtype for s in (*self.signature.inputs, *self.signature.outputs)}
        if {DType.BF16, DType.BYTES} <= kinds:
            raise ModelLoadError("strings and bfloat16 in one signature cannot be served")
        # On a GPU the first run at a new shape takes memory and chooses algorithms.
        self.fixed_sizes = gpu is not None
        # On which GPU inputs are bound before a run; neither bfloat16 nor strings can be.
        self._bound = None if kinds & {DType.BF16, DType.BYTES} else gpu
        self.stages = 1 if self._bound is None else 2

    def instance(self) -> Instance:
        """Make one more lane."""
        if self._bound is None:
            return OrtInstance(self._session, self.signature, self._check)
        on_cpu = cuda.inputs_on_cpu(self._session)
        return cuda.BoundInstance(
            cuda.Shared(
                session=self._session,
                signature=self.signature,
                device=("cuda", self._bound),
                on_cpu=on_cpu,
                computing=threading.Lock(),
                check=self._check,
            )
        )


class OrtInstance:
    """One lane over the shared session."""

    def __init__(
        self, session: ort.InferenceSession, signature: Signature, check: Callable[[], None]
    ) -> None:
        self._session = session
        self._check = check
        self._outputs = [spec.name for spec in signature.outputs]
        self._signature = signature
        kinds = {spec.dtype for spec in (*signature.inputs, *signature.outputs)}
        self._call: Callable[[Mapping[str, Array]], list[Array]] = self._run_plain
        if DType.BF16 in kinds:
            self._call = self._run_values
        elif DType.BYTES in kinds:
            self._call = self._run_strings

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        try:
            values = self._call(inputs)
        except Exception as error:  # ORT raises classes of its own module, one per status
            self._check()
            raise failure(str(error)) from error
        return dict(zip(self._outputs, values, strict=True))

    def _run_plain(self, inputs: Mapping[str, Array]) -> list[Array]:
        found: list[Array] = self._session.run(self._outputs, dict(inputs))
        return found

    def _run_strings(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Of bytes ORT would make their Python notation, so it gets text and gives text."""
        feeds = {name: _text(array) for name, array in inputs.items()}
        return [_bytes(array) for array in self._session.run(self._outputs, feeds)]

    def _run_values(self, inputs: Mapping[str, Array]) -> list[Array]:
        """ORT must be told of bfloat16, which numpy does not know."""
        feeds = {spec.name: _value(spec, inputs[spec.name]) for spec in self._signature.inputs}
        found = self._session.run_with_ort_values(self._outputs, feeds)
        return [
            _array(spec, value) for spec, value in zip(self._signature.outputs, found, strict=True)
        ]


def _text(array: Array) -> Array:
    return _each(array, bytes.decode) if array.dtype == object else array


def _bytes(array: Array) -> Array:
    return _each(array, str.encode) if array.dtype == object else array


def _each(array: Array, change: Callable[[Any], Any]) -> Array:
    changed = np.empty(array.size, object)
    changed[:] = [change(element) for element in array.flat]
    return changed.reshape(array.shape)


def _value(spec: TensorSpec, array: Array) -> ort.OrtValue:
    if spec.dtype is DType.BF16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(spec: TensorSpec, value: ort.OrtValue) -> Array:
    if spec.dtype is not DType.BF16:
        plain: Array = value.numpy()
        return plain
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, DType.BF16.numpy).reshape(value.shape())


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ModelLoadError(f"{node.name}: {node.type} cannot be served")
    return TensorSpec(node.name, _DTYPES[node.type], tuple(node.shape))
