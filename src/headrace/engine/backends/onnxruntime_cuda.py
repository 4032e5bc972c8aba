"""ONNX Runtime on a GPU: its CUDA provider, and TensorRT before that where it is asked for."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from headrace.device import gpu_index
from headrace.engine.backends import gpu_fault
from headrace.engine.backends.failures import failure
from headrace.engine.backends.tensorrt_profiles import profiles
from headrace.errors import DeviceMissing
from headrace.settings import BackendName, ModelSettings, Precision
from headrace.values import Array, Signature

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
Provider = str | tuple[str, dict[str, str]]

# Sets of one lane; beyond, what clients of many shapes have left there is given back.
_MOST_BUFFERS = 64
_CPU_MEMORY = "Cpu"
_PROBE = np.zeros(1, np.float32)
_INSTALL = (
    "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]' (both are one "
    "package to Python, and the one installed last is there)"
)
_LIBRARIES = (
    "`nvidia-smi` should list the GPU, with memory that is free, and what it could not load is in "
    "the log: CUDA and cuDNN come with onnxruntime-gpu[cuda,cudnn], TensorRT with pip install "
    "tensorrt"
)


def check_there(settings: ModelSettings) -> None:
    """See that this ONNX Runtime has what is asked for.

    Raises:
        DeviceMissing: it has not; the message says what to install.
    """
    here = ort.get_available_providers()
    if CUDA not in here:
        raise DeviceMissing(f"this ONNX Runtime ({ort.__version__}) has no CUDA: {_INSTALL}")
    if settings.backend is BackendName.TENSORRT and TENSORRT not in here:
        raise DeviceMissing(
            f"this ONNX Runtime ({ort.__version__}) has no TensorRT: {_INSTALL}, and TensorRT "
            "itself: pip install tensorrt"
        )


def load_libraries(settings: ModelSettings) -> None:
    """Load what pip has installed of CUDA and TensorRT, which is on no path."""
    preload = getattr(ort, "preload_dlls", None)
    if preload is not None:
        preload(directory="")
    if settings.backend is BackendName.TENSORRT:
        # It loads them. They may be there in another way; and of a broken one anything may come.
        with contextlib.suppress(Exception):
            importlib.import_module("tensorrt")


def refusal(path: Path, settings: ModelSettings, error: Exception) -> DeviceMissing:
    """What is said of a model that the processor could run, and this GPU not."""
    why = str(error)[:500]
    return DeviceMissing(f"cannot load {path} on {settings.device}: {why}; {_LIBRARIES}")


def check_used(session: Any, settings: ModelSettings) -> None:
    """See that a session runs on the GPU: without its libraries ONNX Runtime takes the processor.

    Raises:
        DeviceMissing: it does not.
    """
    first = TENSORRT if settings.backend is BackendName.TENSORRT else CUDA
    if first not in session.get_providers():
        raise DeviceMissing(
            f"ONNX Runtime could not use {settings.device} with its {first}: {_LIBRARIES}"
        )


def providers(settings: ModelSettings, signature: Signature, folder: Path | None) -> list[Provider]:
    """What a session is to run on, best first. ``folder`` is where engines are kept.

    Raises:
        ModelLoadError: nobody says how large the inputs may be, which TensorRT wants to know.
    """
    index = str(gpu_index(settings.device))
    cuda = {
        "device_id": index,
        # The default tries every algorithm at each new shape, which takes seconds.
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
    }
    found: list[Provider] = [(CUDA, cuda), CPU]
    if settings.backend is not BackendName.TENSORRT:
        return found
    tensorrt = {
        "device_id": index,
        "trt_fp16_enable": str(settings.precision is Precision.F16),
        **profiles(settings, signature),
    }
    if settings.precision is Precision.BF16:  # a word that older ones do not know
        tensorrt["trt_bf16_enable"] = "True"
    if folder is not None:
        kept = str(folder)
        tensorrt |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": kept}
        tensorrt |= {"trt_timing_cache_enable": "True", "trt_timing_cache_path": kept}
    return [(TENSORRT, tensorrt), *found]


def keep_precise(settings: ModelSettings) -> None:
    """Have TensorRT's 32-bit arithmetic be that: it takes TF32 unless its libraries are told."""
    if settings.precision is Precision.F32:
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def probe(index: int) -> Callable[[], None]:
    """What ends the process if it has lost the GPU; for after a run that failed."""
    # It is there before, for memory may be what a run failed of.
    kept = ort.OrtValue.ortvalue_from_shape_and_type(_PROBE.shape, _PROBE.dtype, "cuda", index)
    return partial(end_if_lost, kept, f"cuda:{index}")


def end_if_lost(kept: Any, device: str) -> None:
    """End the process if what was kept on a device cannot be written and read any more.

    A batch that a model refuses leaves the GPU alone; after a fault in a kernel all calls fail.
    """
    try:
        kept.update_inplace(_PROBE)
        kept.numpy()
    except Exception as error:  # noqa: BLE001 - ORT raises classes of its own module
        gpu_fault.end(device, error)


def inputs_on_cpu(session: Any) -> frozenset[str]:
    """The inputs that a model on a GPU uses on the processor, such as sizes and thresholds."""
    tell = getattr(session, "get_input_memory_infos", None)
    if tell is None:  # of an older library; then they take a detour, which is right too
        return frozenset()
    pairs = zip(session.get_inputs(), tell(), strict=True)
    return frozenset(node.name for node, where in pairs if where.name == _CPU_MEMORY)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the lanes of one instance have in common.

    ``device`` is ``cuda`` and which; tests have ``cpu``, where the same calls do the same.
    ``on_cpu`` are the inputs that need not go there; ``check`` is asked after a run that failed.
    """

    session: Any
    signature: Signature
    device: tuple[str, int]
    on_cpu: frozenset[str]
    computing: threading.Lock
    check: Callable[[], None]


class BoundInstance:
    """One lane over a shared session: copies in by itself, computes and copies out in turn."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._buffers: dict[tuple[tuple[int, ...], ...], dict[str, Any]] = {}

    def beside(self) -> BoundInstance:
        """Another lane, which copies while this one computes."""
        return BoundInstance(self._shared)

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        shared = self._shared
        try:
            binding = self._bind(inputs)
            with shared.computing:
                shared.session.run_with_iobinding(binding)
            found = binding.copy_outputs_to_cpu()
        except Exception as error:  # ORT raises classes of its own module, one per status
            shared.check()
            raise failure(str(error)) from error
        names = [spec.name for spec in shared.signature.outputs]
        return dict(zip(names, found, strict=True))

    def _bind(self, inputs: Mapping[str, Array]) -> Any:
        """What a run is to read and write: anew for each.

        What is bound elsewhere than where the model uses it is copied there then, and never again;
        and into outputs of the run before go only such of their shapes.
        """
        shared = self._shared
        binding = shared.session.io_binding()
        buffers = self._filled(inputs)
        for spec in shared.signature.inputs:
            if spec.name in buffers:
                binding.bind_ortvalue_input(spec.name, buffers[spec.name])
            else:
                binding.bind_cpu_input(spec.name, inputs[spec.name])
        for spec in shared.signature.outputs:
            binding.bind_output(spec.name, "cpu")
        return binding

    def _filled(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Buffers on the GPU with these inputs, as far as they are used there."""
        shared = self._shared
        names = [one.name for one in shared.signature.inputs if one.name not in shared.on_cpu]
        key = tuple(inputs[name].shape for name in names)
        found = self._buffers.get(key)
        if found is None:
            make = ort.OrtValue.ortvalue_from_shape_and_type
            found = {
                name: make(inputs[name].shape, inputs[name].dtype, *shared.device) for name in names
            }
            if len(self._buffers) >= _MOST_BUFFERS:
                self._buffers.clear()
            self._buffers[key] = found
        for name, buffer in found.items():
            buffer.update_inplace(inputs[name])
        return found
