"""OpenVINO on the CPU: one compiled model with a stream for every instance.

Every ``InferRequest`` belongs to one thread and always shares its inputs (never mixed with copying
calls: OpenVINO 2026.4 corrupts its heap when the two alternate on one request).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openvino as ov

from headrace.engine.backends import (
    openvino_indices,
    openvino_integers,
    openvino_layers,
    openvino_lengths,
    openvino_products,
    openvino_source,
)
from headrace.engine.backends.failures import OUTSIDE, failure
from headrace.engine.backends.openvino_recovery import Graphs
from headrace.engine.backends.openvino_streams import Compiled, with_threads
from headrace.errors import InferenceFailed, InvalidInput, ModelLoadError
from headrace.settings import ModelSettings, Placement, Precision
from headrace.values import Array, Dim, DType, Signature, TensorSpec
from headrace.weights import stamp

_DTYPES: dict[ov.Type, DType] = {
    ov.Type.boolean: DType.BOOL,
    ov.Type.u8: DType.UINT8,
    ov.Type.u16: DType.UINT16,
    ov.Type.u32: DType.UINT32,
    ov.Type.u64: DType.UINT64,
    ov.Type.i8: DType.INT8,
    ov.Type.i16: DType.INT16,
    ov.Type.i32: DType.INT32,
    # The CPU plugin computes in 32 bits: what does not fit them wraps around, or is cut to the last
    # that does. Inputs and constants are looked at; what is computed of them is not.
    ov.Type.i64: DType.INT64,
    ov.Type.f16: DType.FP16,
    ov.Type.bf16: DType.BF16,
    ov.Type.f32: DType.FP32,
}
_TYPES = {dtype: kind for kind, dtype in _DTYPES.items()}

_PRECISIONS = {ov.Type.f32: "f32", ov.Type.bf16: "bf16", ov.Type.f16: "f16"}
_BYTES = frozenset({ov.Type.i8, ov.Type.u8})
# What has fewer elements is a zero point, or an index, and no matrix.
_LEAST_WEIGHTS = 1024


def load(path: Path, settings: ModelSettings) -> OpenVinoModel:
    """Load an ONNX, IR, TFLite or SavedModel file; see ``contract.Load``."""
    try:
        compiled, signature = _compiled(path, settings)
        as_it_is = stamp(path)

        def again() -> Compiled:
            found, its = _compiled(path, settings)
            if its != signature or stamp(path) != as_it_is:
                raise ModelLoadError("its file is another by now")
            return found

        loaded = OpenVinoModel(compiled, signature, settings.precision, again)
    except RuntimeError as error:
        raise ModelLoadError(
            f"cannot load {path}: {str(error)[:500]}; it must be a whole ONNX, OpenVINO IR, "
            "TFLite or SavedModel file of operators that OpenVINO has"
        ) from error
    if loaded.precision != settings.precision.value:
        raise ModelLoadError(
            f"cannot load {path}: precision {settings.precision.value} is not to be had on this "
            f"processor, which would compute in {loaded.precision}: ask for that, or for f32"
        )
    return loaded


def _compiled(path: Path, settings: ModelSettings) -> tuple[Compiled, Signature]:
    """Read and compile a file.

    Raises:
        ModelLoadError: it would not answer as it should. RuntimeError: OpenVINO cannot.
    """
    core = ov.Core()
    model = openvino_source.read(core, path, settings.signature_name)
    signature = _signature(model, path)
    openvino_source.mark(model.inputs, "input", [spec.name for spec in signature.inputs])
    openvino_source.mark(model.outputs, "output", [spec.name for spec in signature.outputs])
    _check_weights(model, path, settings)
    _check_integers(model, path)
    _check_lengths(model, path)
    openvino_products.check_lengths(model)
    openvino_indices.check_places(model)
    layers = settings.f32_layers if settings.precision is Precision.BF16 else 0
    if layers:
        _keep_f32(core, model, layers, path)
    compiled = with_threads(lambda: core.compile_model(model, "CPU", _options(settings)))
    if layers and not openvino_layers.kept(compiled.model):
        raise ModelLoadError(
            f"cannot load {path}: this OpenVINO ({ov.__version__}) computes all layers in "
            "bf16: leave f32_layers out, or install the version that Headrace asks for"
        )
    return compiled, signature


def revive(path: Path, settings: ModelSettings, blob: Array) -> OpenVinoModel:
    """Load what ``OpenVinoModel.export`` gave away for the same file and settings.

    Raises:
        ModelLoadError: it is not to be had from this.
    """

    def compiled() -> Compiled:
        given = ov.Tensor(blob), "CPU", _options(settings)
        return with_threads(lambda: ov.Core().import_model(*given))

    try:
        first = compiled()
        # It keeps the blob, in which weights may lie.
        signature = _signature(first.model, path)
        loaded = OpenVinoModel(first, signature, settings.precision, compiled)
    except RuntimeError as error:
        raise ModelLoadError(f"cannot use the compiled {path}: {str(error)[:500]}") from error
    if loaded.precision != settings.precision.value:
        raise ModelLoadError(f"cannot use the compiled {path}: it computes in {loaded.precision}")
    return loaded


def _check_weights(model: ov.Model, path: Path, settings: ModelSettings) -> None:
    """Refuse 8 bits of a model that has none.

    Raises:
        ModelLoadError: it has no weights of 8 bits.
    """
    if settings.precision is Precision.INT8 and not any(
        one.get_type_name() == "Constant"
        and one.get_output_element_type(0) in _BYTES
        and math.prod(one.get_output_shape(0)) >= _LEAST_WEIGHTS
        for one in model.get_ops()
    ):
        raise ModelLoadError(
            f"cannot load {path}: precision int8 is for models with weights of 8 bits, and this "
            "has none: quantise it first, or ask for f32"
        )


def _check_integers(model: ov.Model, path: Path) -> None:
    """Refuse constants that would be answered with other numbers.

    Raises:
        ModelLoadError: one does not fit.
    """
    found = openvino_integers.too_wide(model)
    if found is not None:
        name, number = found
        raise ModelLoadError(
            f"cannot load {path}: its constant {name!r} has the number {number}, which does not "
            f"fit the 32 bits that OpenVINO computes integers in: {_otherwise(path)}"
        )


def _check_lengths(model: ov.Model, path: Path) -> None:
    """Refuse sequences that would be answered as longer ones.

    Raises:
        ModelLoadError: some may be shorter than others.
    """
    found = openvino_lengths.shorter(model)
    if found is not None:
        raise ModelLoadError(
            f"cannot load {path}: its {found!r} is told the lengths of its sequences "
            f"(sequence_lens), which OpenVINO takes no notice of: {_otherwise(path)}"
        )


def _otherwise(path: Path) -> str:
    """What to do with a model that OpenVINO is not for: ONNX Runtime reads ONNX only."""
    use = "use backend onnxruntime"
    return use if path.suffix == ".onnx" else f"save it as ONNX and {use}"


def _keep_f32(core: ov.Core, model: ov.Model, layers: int, path: Path) -> None:
    """Have the first layers computed in f32.

    Raises:
        ModelLoadError: it has no more of them.
    """
    has = openvino_layers.count(model)
    if layers >= has:
        raise ModelLoadError(
            f"cannot load {path}: it has {has} layers, and f32_layers {layers} leaves none for "
            "bf16: say fewer, or precision f32"
        )
    openvino_layers.keep_f32(core, model, layers)


def _options(settings: ModelSettings) -> dict[str, Any]:
    instances = settings.instances or 1
    threads = instances * settings.threads
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": (
            "f32" if settings.precision is Precision.INT8 else settings.precision.value
        ),
        # One stream of one thread loses what the run raised (OpenVINO 2026.4): it seems to succeed,
        # with the outputs of the run before. 0 streams run in the thread that asks, and raise.
        "NUM_STREAMS": 0 if threads == 1 else instances,
        "INFERENCE_NUM_THREADS": threads,
        # Mostly the cores are shared, with the receiver and with other engines. A stream with cores
        # of its own is told by OpenVINO alone which, of those of this process: its threads take no
        # mask from the one that makes them.
        "ENABLE_CPU_PINNING": settings.placement is Placement.CORES,
    }
    if settings.placement is Placement.CORES:
        options["ENABLE_HYPER_THREADING"] = True  # they may be halves of physical cores
    if settings.precision is Precision.F32:
        # Without this it rounds what it multiplies 8-bit weights with to 8 bits, too.
        options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
    return options


class OpenVinoModel:
    """A compiled model; ``again`` compiles it once more."""

    integer_bits = 32
    # The first run at a new shape builds kernels for it: some milliseconds that no request pays.
    fixed_sizes = True

    def __init__(
        self,
        compiled: Compiled,
        signature: Signature,
        asked: Precision,
        again: Callable[[], Compiled],
    ) -> None:
        self.signature = signature
        types = [_TYPES[spec.dtype] for spec in signature.inputs]
        self._graphs = Graphs(compiled, again, signature.inputs, types)
        # With no streams it computes in the thread that asks.
        self.pins = bool(
            compiled.model.get_property("ENABLE_CPU_PINNING")
            and compiled.model.get_property("NUM_STREAMS")
        )
        found = _PRECISIONS[compiled.model.get_property("INFERENCE_PRECISION_HINT")]
        # Of what it rounds besides OpenVINO says nothing.
        self.precision = "int8" if asked is Precision.INT8 and found == "f32" else found

    def export(self) -> memoryview:
        """Return what ``revive`` makes the same model of."""
        exported = self._graphs.compiled.export_model()
        return exported.getbuffer() if hasattr(exported, "getbuffer") else memoryview(exported)

    def instance(self) -> OpenVinoInstance:
        """Make one more lane."""
        return OpenVinoInstance(self._graphs, self.signature)


class OpenVinoInstance:
    """One lane: one infer request."""

    def __init__(self, graphs: Graphs, signature: Signature) -> None:
        self._graphs = graphs
        self._lane = graphs.lane()
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = [spec.name for spec in signature.outputs]
        self._bf16 = [spec.dtype is DType.BF16 for spec in signature.outputs]

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        arrays = [inputs[name] for name in self._inputs]
        try:
            ran = self._graphs.run(self._lane, arrays)
        except (RuntimeError, TypeError, ValueError) as error:
            raise _failure(error) from error
        return {
            name: _output(ran, index, bf16=bf16)
            for index, (name, bf16) in enumerate(zip(self._outputs, self._bf16, strict=True))
        }


def _output(ran: ov.InferRequest, index: int, *, bf16: bool) -> Array:
    data: Array = ran.get_output_tensor(index).data
    return data.view(DType.BF16.numpy) if bf16 else data


def _failure(error: Exception) -> InferenceFailed | InvalidInput:
    if openvino_indices.RAISED in str(error):
        return InvalidInput(OUTSIDE)
    return failure(str(error))


def _signature(model: ov.Model | ov.CompiledModel, path: Path) -> Signature:
    inputs = _specs(model.inputs, "input", path)
    outputs = _specs(model.outputs, "output", path)
    passed = {spec.name for spec in inputs} & {spec.name for spec in outputs}
    if passed and path.suffix == ".pb":
        # What such an output is called is lost, and another may have got its input's name.
        raise ModelLoadError(
            f"cannot load {path}: an output is the input {min(passed)!r} as it came, whose own "
            "name OpenVINO loses: leave it out of the signature"
        )
    free = all(s.shape and not isinstance(s.shape[0], int) for s in (*inputs, *outputs))
    return Signature(inputs, outputs, batched=free)


def _specs(ports: Sequence[Any], side: str, path: Path) -> tuple[TensorSpec, ...]:
    """One for each port; ports of one tensor have all of its names, and each gets another."""
    used: set[str] = set()
    specs = []
    for index, port in enumerate(ports):
        marked = openvino_source.marked(port, side, index)
        usual = port.any_name if port.names else f"{side}_{index}"
        names = {usual, *port.names} if marked is None else {marked}
        free = names - used
        if not free:
            raise ModelLoadError(f"cannot load {path}: two {side}s are called {min(names)!r}")
        name = usual if usual in free else min(free)
        used.add(name)
        specs.append(_spec(port, name, path))
    return tuple(specs)


def _spec(port: Any, name: str, path: Path) -> TensorSpec:
    if port.element_type not in _DTYPES:  # f64 would be computed in 32 bits, strings not at all
        raise ModelLoadError(
            f"cannot load {path}: {name!r} is {port.element_type.to_string()}, which OpenVINO does "
            f"not compute: {_otherwise(path)}"
        )
    if port.partial_shape.rank.is_dynamic:
        raise ModelLoadError(f"cannot load {path}: {name!r} has no known rank: export it with one")
    return TensorSpec(name, _DTYPES[port.element_type], tuple(map(_dim, port.partial_shape)))


def _dim(dim: Any) -> Dim:
    # OpenVINO forgets ONNX's names of free axes; warm-up finds out which of them belong together.
    return int(dim.get_length()) if dim.is_static else None
