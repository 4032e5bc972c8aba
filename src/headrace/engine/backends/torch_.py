"""PyTorch: ``.pt2`` programs of ``torch.export.save``, and TorchScript in ``.pt``.

Both are programs: PyTorch unpickles parts of the one and evaluates others, and the other has a
language of its own; whoever wrote such a file can run code here. No look at the file beforehand
changes that, so clients may not send one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from headrace.device import gpu_index
from headrace.engine.backends import torch_cuda, torch_inductor, torch_program, torch_script
from headrace.engine.backends.failures import RUN_ERRORS, failure
from headrace.engine.backends.torch_captures import Captures
from headrace.engine.backends.torch_edges import Edges
from headrace.engine.backends.torch_lane import TorchLane
from headrace.engine.backends.torch_normalise import taking_bytes
from headrace.engine.backends.torch_tensors import Program, explain, to_array, to_tensor
from headrace.errors import (
    BackendMissing,
    DeviceMissing,
    HeadraceError,
    ModelLoadError,
)
from headrace.settings import BackendName, ModelSettings, Precision
from headrace.values import Array, Signature

_PROGRAM, _SCRIPT = ".pt2", ".pt"
_HALVES = {Precision.F16: torch.float16, Precision.BF16: torch.bfloat16}


def load(path: Path, settings: ModelSettings, kept: Path | None = None) -> TorchModel | CudaModel:
    """Load a program; see ``contract.Load``. What Inductor compiles stays in ``kept``."""
    if path.suffix not in {_PROGRAM, _SCRIPT}:
        raise ModelLoadError(
            f"cannot load {path}: backend torch reads .pt2 files, and TorchScript in .pt: write "
            "one with torch.export.save(torch.export.export(model.eval(), example), 'model.pt2')"
        )
    gpu = gpu_index(settings.device)
    _check(path, settings, gpu)
    torch.set_num_threads(settings.threads)
    if gpu is None:
        program = _read(path, settings, torch.device("cpu"), kept)
        return TorchModel(program, settings.precision)
    torch_cuda.check_there(gpu)
    torch_cuda.keep_precise()
    device = torch.device(settings.device)
    program = _read(path, settings, device)
    return CudaModel(program, device, settings.precision)


def _check(path: Path, settings: ModelSettings, gpu: int | None) -> None:
    """Refuse what is not to be had.

    Raises:
        ModelLoadError: this precision, or Inductor.
    """
    narrow = _HALVES if gpu is not None else {Precision.BF16}
    if settings.precision is not Precision.F32 and (
        path.suffix != _PROGRAM or settings.precision not in narrow
    ):
        raise ModelLoadError(
            f"cannot load {path}: PyTorch computes in the program's own precision, "
            f"{settings.precision.value} is not to be had: use precision f32, or a .pt2 (bf16; on "
            "a GPU f16 too)"
        )
    compiles = settings.backend is BackendName.INDUCTOR
    if compiles and (gpu is not None or path.suffix != _PROGRAM):
        raise ModelLoadError(
            f"cannot load {path}: backend inductor compiles a .pt2 for the processor: use backend "
            "torch"
        )


def _read(
    path: Path, settings: ModelSettings, device: torch.device, kept: Path | None = None
) -> Program:
    try:
        if path.suffix == _SCRIPT:
            program = torch_script.read(path, settings.signature, device)
        elif settings.backend is BackendName.INDUCTOR:
            program = torch_inductor.read(path, settings, kept, _HALVES.get(settings.precision))
        else:
            program = torch_program.read(path, device, _HALVES.get(settings.precision))
        program = taking_bytes(program, settings.normalise, device)
        if device.type != "cpu":
            torch_cuda.settle(device)
        return program
    except BackendMissing:
        raise
    except Exception as error:  # of many classes: zipfile's, json's, torch's, its own parsers'
        raise _refusal(path, error, device) from error


def _refusal(path: Path, error: Exception, device: torch.device) -> HeadraceError:
    """What is told of a file that could not be loaded, or of the GPU it was loaded to."""
    of_gpu = None if device.type == "cpu" else torch_cuda.refusal(error, device)
    if isinstance(of_gpu, DeviceMissing):
        return of_gpu
    known = of_gpu or error
    if isinstance(known, ModelLoadError):
        return ModelLoadError(f"cannot load {path}: {known.message}")
    return ModelLoadError(
        f"cannot load {path}: {explain(error)}; it must be a whole file of torch.export.save "
        f"(.pt2) or torch.jit.save (.pt), of this PyTorch ({torch.__version__}) or an older one"
    )


class TorchModel:
    """A loaded program."""

    fixed_sizes = False
    integer_bits = 64
    normalises = True

    def __init__(self, program: Program, precision: Precision) -> None:
        self._program = program
        self.precision = precision.value

    @property
    def signature(self) -> Signature:
        """As the program says, or its card."""
        return self._program.signature

    def instance(self) -> TorchInstance:
        """Make one more lane."""
        return TorchInstance(self._program)


class TorchInstance:
    """One lane over the shared program, which changes nothing of its own."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        signature = self._program.signature
        try:
            with torch.inference_mode():
                given = [to_tensor(inputs[spec.name], spec) for spec in signature.inputs]
                found = self._program.run(given)
        except RUN_ERRORS:
            raise
        except Exception as error:  # torch raises RuntimeError, AssertionError and its own
            raise failure(explain(error)) from error
        pairs = zip(signature.outputs, found, strict=True)
        return {spec.name: to_array(tensor, spec) for spec, tensor in pairs}


class CudaModel:
    """A program loaded to a GPU."""

    fixed_sizes = True  # each has a graph of its own
    integer_bits = 64
    normalises = True
    stages = 2
    """While one lane of an instance computes the other copies."""

    def __init__(self, program: Program, device: torch.device, precision: Precision) -> None:
        self._program = program
        self._device = device
        self._capturing = threading.Lock()
        self._edges = Edges()
        self.signature = program.signature
        self.precision = precision.value

    def instance(self) -> TorchLane:
        """Make one more instance, by its first lane."""
        gpu = torch_cuda.Cuda(self._device, torch_cuda.Turn(), self._capturing)
        captures = partial(Captures, torch_cuda.total_bytes(self._device.index))
        return TorchLane(self._program, gpu, captures, self._edges)
