"""PyTorch on the CPU: ``.pt2`` programs of ``torch.export.save``, and TorchScript in ``.pt``.

Both are programs: PyTorch unpickles parts of the one and evaluates others, and the other has a
language of its own; whoever wrote such a file can run code here. No look at the file beforehand
changes that, so clients may not send one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from headrace.engine.backends import torch_program, torch_script
from headrace.engine.backends.torch_tensors import Program, explain, to_array, to_tensor
from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings, Precision
from headrace.values import Array, Signature

_PROGRAM, _SCRIPT = ".pt2", ".pt"


def load(path: Path, settings: ModelSettings) -> TorchModel:
    """Load a program; see ``contract.Load``."""
    if path.suffix not in {_PROGRAM, _SCRIPT}:
        raise ModelLoadError(
            f"cannot load {path}: backend torch reads .pt2 files, and TorchScript in .pt: write "
            "one with torch.export.save(torch.export.export(model, example), 'model.pt2')"
        )
    if settings.precision is not Precision.F32:
        raise ModelLoadError(
            f"cannot load {path}: PyTorch computes in the program's own precision, "
            f"{settings.precision.value} is not to be had: use precision f32"
        )
    torch.set_num_threads(settings.threads)
    try:
        if path.suffix == _SCRIPT:
            return TorchModel(torch_script.read(path, settings.signature))
        return TorchModel(torch_program.read(path))
    except ModelLoadError as error:
        raise ModelLoadError(f"cannot load {path}: {error.message}") from error
    except Exception as error:  # of many classes: zipfile's, json's, torch's, its own parsers'
        raise ModelLoadError(
            f"cannot load {path}: {explain(error)}; it must be a whole file of torch.export.save "
            f"(.pt2) or torch.jit.save (.pt), of this PyTorch ({torch.__version__}) or an older one"
        ) from error


class TorchModel:
    """A loaded program."""

    fixed_sizes = False
    integer_bits = 64
    precision = "f32"

    def __init__(self, program: Program) -> None:
        self._program = program

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
        except InferenceFailed:
            raise
        except Exception as error:  # torch raises RuntimeError, AssertionError and its own
            raise InferenceFailed(explain(error)) from error
        pairs = zip(signature.outputs, found, strict=True)
        return {spec.name: to_array(tensor, spec) for spec, tensor in pairs}
