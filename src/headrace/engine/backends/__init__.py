"""The libraries that can run a model: one module each, imported on use.

``contract`` says what a backend is, ``failures`` what a run raises · ``openvino_`` and
``onnxruntime_`` come with the base install, ``openvino_source`` reads what the former compiles,
``openvino_layers`` keeps some of it in f32, ``openvino_integers`` finds numbers that it would
change and ``openvino_lengths`` lengths that it would not heed, ``openvino_products`` has it look at
what it multiplies and ``openvino_indices`` at where it takes things from, also inside of loops,
which ``openvino_graphs`` goes into, and ``openvino_recovery`` puts right what a run that fails
leaves behind, in each of the ``openvino_streams``; ``onnxruntime_cuda`` is how the latter uses a
GPU, by itself or with TensorRT, which wants to know ``tensorrt_profiles`` · ``torch_`` wants
PyTorch: ``torch_program`` and ``torch_script`` read its two kinds of files, ``torch_memory`` sees
what the former changes of its own, in ``torch_graphs`` too, and ``torch_training`` what it does by
chance, ``torch_half`` has it compute in 16 bits, ``torch_inductor`` compiles it, for the
``torch_sizes`` it has, ``torch_normalise`` makes numbers of bytes, and ``torch_tensors`` is what
they share; on a GPU each lane is a ``torch_lane``, which ``torch_captures`` tells when to capture a
graph and ``torch_edges`` what it may not copy from, and ``torch_cuda`` is what it uses of CUDA;
``gpu_fault`` ends an engine whose GPU is lost to it · ``python_`` runs a user's own file · ``fake``
is a double with settable delays and faults, for tests and benchmarks.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from headrace.device import CPU
from headrace.engine.backends.contract import Model
from headrace.errors import BackendMissing, ModelLoadError, OperatorError
from headrace.settings import BackendName, ModelSettings, Precision
from headrace.values import Array

# OpenVINO tells Google Analytics that it was imported. Nobody who serves models asked for that; and
# it does so from a fork of the engine, which may hang on a lock of a thread that it no longer has,
# and then outlives the server. None is how to forbid an import.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
# ONNX Runtime (1.29 and later) tells Microsoft of models and errors, with a number that it keeps
# in the home folder. It must be told before it is imported, and whoever wants it may say 0.
QUIET = os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1") == "1"
"""Whether it says nothing, and has no thread for that."""

# Files that only one backend reads.
_ONLY: dict[str, BackendName] = {
    ".fake": BackendName.FAKE,
    ".pb": BackendName.OPENVINO,
    ".pt": BackendName.TORCH,
    ".pt2": BackendName.TORCH,
    ".py": BackendName.PYTHON,
    ".tflite": BackendName.OPENVINO,
    ".xml": BackendName.OPENVINO,
}
# They take the folder to keep in what they have built.
_BUILDERS = frozenset({BackendName.TENSORRT, BackendName.INDUCTOR})
# Files that may leave it to the card to say their signature.
_SILENT = frozenset({".pt", ".py"})
# The module, and what pip installs to make it importable.
_MODULES: dict[BackendName, tuple[str, str]] = {
    BackendName.OPENVINO: ("headrace.engine.backends.openvino_", "openvino"),
    BackendName.ONNXRUNTIME: ("headrace.engine.backends.onnxruntime_", "onnxruntime"),
    BackendName.TENSORRT: ("headrace.engine.backends.onnxruntime_", "onnxruntime"),
    BackendName.TORCH: ("headrace.engine.backends.torch_", "headrace[torch]"),
    BackendName.INDUCTOR: ("headrace.engine.backends.torch_", "headrace[torch]"),
    BackendName.PYTHON: ("headrace.engine.backends.python_", "headrace"),
    BackendName.FAKE: ("headrace.engine.backends.fake", "headrace"),
}


def candidates(path: Path, asked: BackendName, device: str = CPU) -> tuple[BackendName, ...]:
    """Return the backends to try for a model, best first."""
    if asked is not BackendName.AUTO:
        return (asked,)
    if path.suffix in _ONLY:
        return (_ONLY[path.suffix],)
    if device != CPU:
        return (BackendName.ONNXRUNTIME,)
    if platform.machine() in {"x86_64", "AMD64"}:
        return (BackendName.OPENVINO, BackendName.ONNXRUNTIME)
    return (BackendName.ONNXRUNTIME, BackendName.OPENVINO)


def comparable(path: Path, device: str = CPU) -> tuple[BackendName, ...]:
    """Return the backends that a model may be served with, what ``auto`` tries first."""
    tried = candidates(path, BackendName.AUTO, device)
    compiled = path.suffix == ".pt2" and device == CPU
    return (*tried, BackendName.INDUCTOR) if compiled else tried


def usual() -> Iterator[BackendName]:
    """Import the libraries that most models are run with and that are there, one at a time."""
    for name in candidates(Path(), BackendName.AUTO):
        with contextlib.suppress(BackendMissing):
            _import(*_MODULES[name])
            yield name


def load(path: Path, settings: ModelSettings, engines: Path | None = None) -> tuple[str, Model]:
    """Load a model with the backend its settings ask for; return the backend's name too.

    ``engines`` is a folder of its own, for what TensorRT and Inductor build in minutes.

    Raises:
        ModelLoadError: no backend can read or compile it.
        BackendMissing: the library is not installed.
        DeviceMissing: the GPU asked for is not there, or the library cannot use it.
    """
    if settings.signature is not None and path.suffix not in _SILENT:
        raise ModelLoadError(
            f"cannot load {path}: it says itself what its inputs and outputs are: leave "
            "`signature` out of its card"
        )
    problems: list[OperatorError] = []
    bf16 = settings.precision is Precision.BF16
    for name in candidates(path, settings.backend, settings.device):
        if name is BackendName.OPENVINO and settings.device != CPU:
            raise ModelLoadError(
                f"cannot load {path} on {settings.device}: OpenVINO runs it on the processor only: "
                "leave `device` out, or serve it as ONNX, .pt2 or .pt"
            )
        if name is not BackendName.OPENVINO and settings.f32_layers and bf16:
            why = "f32_layers is for backend openvino: leave it out"
            problems.append(ModelLoadError(f"{name.value}: cannot load {path}: {why}"))
            continue
        module, requirement = _MODULES[name]
        try:
            kept = (engines,) if name in _BUILDERS else ()
            loaded: Model = _import(module, requirement).load(path, settings, *kept)
        except OperatorError as error:
            problems.append(type(error)(f"{name.value}: {error.message}"))
        else:
            return name.value, loaded
    if len(problems) == 1:
        raise problems[0]
    raise ModelLoadError("; ".join(problem.message for problem in problems))


def revive(
    path: Path, settings: ModelSettings, blob: Array | None, engines: Path | None = None
) -> Model:
    """Load a model with the one backend of its settings, from its compiled form where there is one.

    Raises:
        ModelLoadError: it cannot be had; ``load`` may do better.
        BackendMissing: the library is not installed.
    """
    if blob is None:
        return load(path, settings, engines)[1]
    reviver = getattr(_import(*_MODULES[settings.backend]), "revive", None)
    if reviver is None:
        raise ModelLoadError(f"{settings.backend.value} revives no models")
    revived: Model = reviver(path, settings, blob)
    return revived


def _import(module: str, requirement: str):  # type: ignore[no-untyped-def] # noqa: ANN202
    try:
        return importlib.import_module(module)
    except Exception as error:  # of a broken installation anything may come
        raise BackendMissing(
            f"{requirement} is not installed, or broken: pip install '{requirement}' ({error})"
        ) from error
