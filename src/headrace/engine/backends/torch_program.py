"""``.pt2``: a program of ``torch.export.save``, and what it says of itself."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
import torch
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree

from headrace.engine.backends.torch_half import narrowed
from headrace.engine.backends.torch_memory import changed
from headrace.engine.backends.torch_tensors import DTYPES, TYPES, Program
from headrace.engine.backends.torch_training import draws, learns, trains
from headrace.errors import ModelLoadError
from headrace.values import Dim, Signature, TensorSpec

_log = structlog.get_logger("headrace.engine")

_CPU = torch.device("cpu")


def read(path: Path, device: torch.device, half: torch.dtype | None = None) -> Program:
    """Load an exported program to a device; with ``half`` for arithmetic in 16 bits.

    Raises:
        ModelLoadError: it cannot be served. Others: it is none, or of another PyTorch.
    """
    program = exported(path, device)
    tell_random(path, draws(program))
    signature = signature_of(program)
    module: Any = program.module()
    if half is not None:
        module = narrowed(module, half, [TYPES[spec.dtype] for spec in signature.outputs])
    return Program(lambda given: pytree.tree_leaves(module(*given)), signature)


def exported(path: Path, device: torch.device = _CPU) -> torch.export.ExportedProgram:
    """Read an exported program, to a device whatever it was exported on.

    Raises:
        ModelLoadError: it cannot be served. Others: it is none, or of another PyTorch.
    """
    _check_archive(path)
    try:
        program = torch.export.load(path)
    except Exception as error:  # of several classes, as PyTorch is without CUDA or without a GPU
        if _misses_gpu(str(error), device):
            raise ModelLoadError(
                "it was exported on a GPU that is not here: export it with the model on the CPU, "
                "and it can be served on both"
            ) from error
        raise
    _check_training(program)
    _check_memory(program)
    return move_to_device_pass(program, device) if _devices(program) - {device} else program


def tell_random(path: Path, operators: Sequence[str]) -> None:
    """Warn of a program with operators that draw random numbers, if it has any."""
    if operators:
        _log.warning("answers_are_random", file=str(path), operators=operators)


def _misses_gpu(said: str, device: torch.device) -> bool:
    """Whether a program did not load for the GPU that it was written on."""
    of_cuda = "CUDA" in said or "NVIDIA" in said
    return of_cuda and (device.type == "cpu" or "ordinal" in said)


def _devices(program: torch.export.ExportedProgram) -> set[torch.device]:
    """Where its tensors are."""
    values = pytree.tree_leaves([node.meta.get("val") for node in program.graph.nodes])
    return {value.device for value in values if isinstance(value, torch.Tensor)}


def signature_of(program: torch.export.ExportedProgram) -> Signature:
    """What a program says of itself.

    Raises:
        ModelLoadError: it cannot be served.
    """
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
    if not isinstance(value, torch.Tensor) or value.dtype not in DTYPES:
        what = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ModelLoadError(f"{name!r} is {what}, which cannot be served")
    return TensorSpec(name, DTYPES[value.dtype], tuple(map(_dim, value.shape)))


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


def _check_training(program: torch.export.ExportedProgram) -> None:
    """Refuse a program of a model that was not told that its training is over.

    Raises:
        ModelLoadError: it drops numbers by chance, or norms by what is in the batch.
    """
    if trains(program) or learns(program, changed(program)):
        raise ModelLoadError(
            "it was exported in training mode: call model.eval() before torch.export.export (a "
            "functional.dropout or the like takes training=self.training)"
        )


def _check_memory(program: torch.export.ExportedProgram) -> None:
    """Refuse a program that remembers: its lanes and its clients would share that.

    Raises:
        ModelLoadError: it writes to a tensor of its own.
    """
    found = changed(program)
    if found:
        raise ModelLoadError(
            f"it changes {', '.join(sorted(found))} when it runs, which all clients would share: "
            "make that an input and an output, and name them under `sequence`"
        )
