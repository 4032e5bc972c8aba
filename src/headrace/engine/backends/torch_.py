"""PyTorch: ``.pt2`` programs of ``torch.export.save``, on the CPU.

Such a file may have pickles in it, which can run any code; PyTorch itself does not look. Here each
is read first in the way that allows tensors only, and a file with any other is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
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

# Short texts that PyTorch writes about the archive itself.
_MARKS = frozenset({"version", "byteorder", "archive_format", "archive_version"}) | {
    "serialization_id",
    ".format_version",
    ".storage_alignment",
}
# Other names are objects, which it unpickles whatever the archive's list says.
_TENSOR_NAMES = ("weight_", "tensor_")


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
    """One lane over the shared program, which keeps nothing between calls."""

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
    tensor = tensor.contiguous()
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
    """Look at every file in it before PyTorch does.

    Raises:
        ModelLoadError: one is compressed, compiled code, or a pickle of more than tensors.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        # PyTorch stores without compression; what is compressed might unfold to any size.
        if any(one.compress_type != zipfile.ZIP_STORED for one in members):
            raise ModelLoadError("has compressed files in it, which torch.export.save never writes")
        if sum(one.file_size for one in members) > path.stat().st_size:
            raise ModelLoadError("declares more than the file holds")
        names = [PurePosixPath(one.filename) for one in members]
        if any("aotinductor" in name.parts for name in names):
            raise ModelLoadError("has compiled code in it; export it without")
        # Else what is looked at here need not be what PyTorch reads under that name.
        if len(set(names)) != len(names) or len({name.parts[0] for name in names}) != 1:
            raise ModelLoadError("has a name twice, or several top folders")
        harmless = _plain_tensors(archive)
        for one, name in zip(members, names, strict=True):
            inner = PurePosixPath(*name.parts[1:])
            if str(inner) not in harmless and inner.name not in _MARKS:
                data = archive.read(one)
                if not data.startswith(b"{"):  # JSON; no pickle begins so
                    _check_pickle(data, one.filename)


def _plain_tensors(archive: zipfile.ZipFile) -> set[str]:
    """The files that all of the archive's own lists say are the bytes of a tensor and no pickle."""
    plain: set[str] = set()
    pickled: set[str] = set()
    for name in archive.namelist():
        inner = PurePosixPath(name)
        if inner.name.endswith("_config.json") and inner.parent.name in {"weights", "constants"}:
            folder = PurePosixPath(*inner.parent.parts[1:])
            for entry in json.loads(archive.read(name))["config"].values():
                listed = str(folder / entry["path_name"])
                named = PurePosixPath(entry["path_name"]).name
                is_plain = entry["use_pickle"] is False and named.startswith(_TENSOR_NAMES)
                (plain if is_plain else pickled).add(listed)
    return plain - pickled


def _check_pickle(data: bytes, name: str) -> None:
    try:
        torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        raise ModelLoadError(
            f"{name} in it is no pickle of tensors alone, and others can run any code; "
            "export the model without custom objects"
        ) from error
