"""PyTorch: ``.pt2`` programs of ``torch.export.save``, on the CPU.

Such a file is a program: PyTorch unpickles parts of it and evaluates others, and whoever wrote it
can run any code here. No look at the file beforehand changes that, so clients may not send one.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings, Precision
from headrace.values import Array, Dim, DType, Signature, TensorSpec

_DTYPES: dict[torch.dtype, DType] = {
    torch.bool: DType.BOOL,
    torch.uint8: DType.UINT8,
    torch.int8: DType.INT8,
    torch.int16: DType.INT16,
    torch.int32: DType.INT32,
    torch.int64: DType.INT64,
    torch.float16: DType.FP16,
    torch.bfloat16: DType.BF16,
    torch.float32: DType.FP32,
    torch.float64: DType.FP64,
}


def load(path: Path, settings: ModelSettings) -> TorchModel:
    """Load an exported program; see ``contract.Load``."""
    if path.suffix != ".pt2":
        raise ModelLoadError(
            f"cannot load {path}: backend torch reads .pt2 files: write one with "
            "torch.export.save(torch.export.export(model, example), 'model.pt2')"
        )
    if settings.precision is not Precision.F32:
        raise ModelLoadError(
            f"cannot load {path}: PyTorch computes in the program's own precision, "
            f"{settings.precision.value} is not to be had: use precision f32"
        )
    torch.set_num_threads(settings.threads)
    try:
        _check_archive(path)
        program = torch.export.load(path)
        _check_memory(program)
        return TorchModel(program.module(), _signature(program))
    except ModelLoadError as error:
        raise ModelLoadError(f"cannot load {path}: {error.message}") from error
    except Exception as error:  # of many classes: zipfile's, json's, torch's, its own parsers'
        said = f"{type(error).__name__}: {str(error)[:500]}"
        raise ModelLoadError(
            f"cannot load {path}: {said}; it must be a whole file of torch.export.save, of this "
            f"PyTorch ({torch.__version__}) or an older one"
        ) from error


class TorchModel:
    """A loaded program."""

    fixed_sizes = False
    integer_bits = 64
    precision = "f32"

    def __init__(self, module: torch.nn.Module, signature: Signature) -> None:
        self._module = module
        self.signature = signature

    def instance(self) -> TorchInstance:
        """Make one more lane."""
        return TorchInstance(self._module, self.signature)


class TorchInstance:
    """One lane over the shared program, which changes nothing of its own."""

    def __init__(self, module: torch.nn.Module, signature: Signature) -> None:
        self._module = module
        self._signature = signature

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        try:
            with torch.inference_mode():
                given = [_tensor(inputs[spec.name], spec) for spec in self._signature.inputs]
                found = pytree.tree_leaves(self._module(*given))
        except Exception as error:  # torch raises RuntimeError, AssertionError and its own
            raise InferenceFailed(f"{type(error).__name__}: {str(error)[:500]}") from error
        pairs = zip(self._signature.outputs, found, strict=True)
        return {spec.name: _array(tensor, spec) for spec, tensor in pairs}


def _tensor(array: Array, spec: TensorSpec) -> torch.Tensor:
    # A copy: PyTorch knows no read-only memory, and a program may write to its inputs.
    if spec.dtype is DType.BF16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _array(tensor: torch.Tensor, spec: TensorSpec) -> Array:
    tensor = tensor.detach().contiguous()  # one that is a parameter wants gradients
    if spec.dtype is DType.BF16:
        bits: Array = tensor.view(torch.int16).numpy()
        return bits.view(DType.BF16.numpy)
    plain: Array = tensor.numpy()
    return plain


def _signature(program: torch.export.ExportedProgram) -> Signature:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    args, kwargs = pytree.tree_unflatten(
        list(program.graph_signature.user_inputs), program.call_spec.in_spec
    )
    if kwargs or any(not isinstance(arg, str) for arg in args):
        raise ModelLoadError("its inputs must be tensors, given by position, not in lists or dicts")
    inputs = tuple(_spec(str(name), values[name]) for name in args)
    nodes = program.graph_signature.user_outputs
    outputs = tuple(
        _spec(name, values.get(str(node)))
        for name, node in zip(_output_names(program, len(nodes)), nodes, strict=True)
    )
    free = all(spec.shape and spec.shape[0] is None for spec in (*inputs, *outputs))
    return Signature(inputs, outputs, batched=free)


def _output_names(program: torch.export.ExportedProgram, count: int) -> list[str]:
    """The keys of a dict of tensors; of anything else, ``output_0`` and so on."""
    out_spec = program.call_spec.out_spec
    if out_spec is not None:
        answer = pytree.tree_unflatten(list(range(count)), out_spec)
        if isinstance(answer, dict) and list(answer.values()) == list(range(count)):
            return [str(key) for key in answer]
    return [f"output_{index}" for index in range(count)]


def _spec(name: str, value: Any) -> TensorSpec:
    if not isinstance(value, torch.Tensor) or value.dtype not in _DTYPES:
        what = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ModelLoadError(f"{name!r} is {what}, which cannot be served")
    return TensorSpec(name, _DTYPES[value.dtype], tuple(map(_dim, value.shape)))


def _dim(dim: Any) -> Dim:
    return dim if isinstance(dim, int) else None  # else a torch.SymInt


def _check_archive(path: Path) -> None:
    """Refuse what would unfold to more than the file itself.

    Raises:
        ModelLoadError: something in it is compressed, or declared larger than the file.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        # PyTorch stores without compression.
        if any(one.compress_type != zipfile.ZIP_STORED for one in members):
            raise ModelLoadError("has compressed files in it, which torch.export.save never writes")
        if sum(one.file_size for one in members) > path.stat().st_size:
            raise ModelLoadError("declares more than the file holds")


def _check_memory(program: torch.export.ExportedProgram) -> None:
    """Refuse a program that remembers: its lanes and its clients would share that.

    Raises:
        ModelLoadError: it writes to its own buffers.
    """
    signature = program.graph_signature
    own = {**signature.inputs_to_buffers, **signature.inputs_to_parameters}
    changed = set(signature.buffers_to_mutate.values())
    for node in program.graph.nodes:
        # An operator that writes to its first argument ends in an underscore: `copy_.default`.
        name = getattr(node.target, "__name__", "").partition(".")[0]
        if name.endswith("_") and node.args and getattr(node.args[0], "name", None) in own:
            changed.add(own[node.args[0].name])
    if changed:
        raise ModelLoadError(
            f"it changes {', '.join(sorted(changed))} when it runs, which all clients would share: "
            "make that an input and an output, and name them under `sequence`"
        )
