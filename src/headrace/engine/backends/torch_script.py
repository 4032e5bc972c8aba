"""``.pt``: TorchScript of ``torch.jit.save``, with the signature that its card names.

Such a file knows the names of its arguments and nothing of their dtypes and shapes. What else is
called ``.pt``, weights and pickled modules of ``torch.save``, is never unpickled.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from headrace.declared import DeclaredSignature
from headrace.engine.backends.torch_tensors import DTYPES, TYPES, Program, explain
from headrace.errors import InferenceFailed, ModelLoadError
from headrace.formats import torch_archive
from headrace.values import Signature, TensorSpec

# Code of a language of its own is stored compressed: far more than any program has.
_MOST_CODE_BYTES = 256 * 2**20


def read(path: Path, declared: DeclaredSignature | None, device: torch.device) -> Program:
    """Load an archive.

    Raises:
        ModelLoadError: it cannot be served, or the signature does not fit. Others: it is damaged.
    """
    _check_archive(path)
    with warnings.catch_warnings():
        # That it will go away one day is in the documentation, not for every log.
        warnings.simplefilter("ignore", DeprecationWarning)
        load: Any = torch.jit.load  # PyTorch has no types for it; and it may not be installed
        module = _frozen(load(path, map_location=device))
    arguments = module.forward.schema.arguments[1:]  # the first is the module itself
    signature = _signature(declared, arguments)
    names = _order([spec.name for spec in signature.inputs], arguments)
    program = Program(_Call(module, names, signature), signature)
    _try(program, device)
    return program


class _Call:
    """Calls a module with its arguments by name, and checks what it gives."""

    def __init__(self, module: Any, names: Sequence[str], signature: Signature) -> None:
        self._module = module
        self._names = names
        self._outputs = signature.outputs
        self._batched = signature.batched

    def __call__(self, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        rows = given[0].shape[0] if self._batched else None
        answer = self._module(**dict(zip(self._names, given, strict=True)))
        found = _tensors(answer, self._outputs)
        for tensor, spec in zip(found, self._outputs, strict=True):
            _check(tensor, spec, rows)
        return found


def _try(program: Program, device: torch.device) -> None:
    """Run it once, so that a signature that does not fit is told now.

    Raises:
        ModelLoadError: it does not; with free axes besides that of the batch, only if answers tell.
    """
    signature = program.signature
    start = 1 if signature.batched else 0
    free = [d for spec in signature.inputs for d in spec.shape[start:] if not isinstance(d, int)]
    shapes = [[d if isinstance(d, int) else 1 for d in spec.shape] for spec in signature.inputs]
    given = [
        torch.ones(shape, dtype=TYPES[spec.dtype], device=device)
        for shape, spec in zip(shapes, signature.inputs, strict=True)
    ]
    try:
        with torch.inference_mode():
            program.run(given)
    except InferenceFailed as error:
        raise ModelLoadError(error.message) from error
    except RuntimeError as error:
        if not free:
            raise ModelLoadError(
                f"it does not run with the inputs that `signature` names: {explain(error)}"
            ) from error


def _tensors(answer: Any, specs: Sequence[TensorSpec]) -> list[torch.Tensor]:
    """The tensors of an answer, in the order of the signature.

    Raises:
        InferenceFailed: it has others than the signature.
    """
    if isinstance(answer, dict):
        missing = [spec.name for spec in specs if spec.name not in answer]
        if missing:
            raise InferenceFailed(
                f"no output {missing[0]!r}, which `signature` names; the program gives: "
                f"{', '.join(map(str, answer))}"
            )
        answer = [answer[spec.name] for spec in specs]
    tensors = list(answer) if isinstance(answer, tuple | list) else [answer]
    if any(not isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise InferenceFailed("the program must give a tensor, or a tuple, list or dict of tensors")
    if len(tensors) != len(specs):
        raise InferenceFailed(
            f"the program gives {len(tensors)} outputs, and `signature` names {len(specs)}"
        )
    return tensors


def _check(tensor: torch.Tensor, spec: TensorSpec, rows: int | None) -> None:
    dtype = DTYPES.get(tensor.dtype)
    expected = list(spec.wire_shape)
    if rows is not None:
        expected[0] = rows
    fits = len(expected) == tensor.ndim and all(
        size in {-1, there} for size, there in zip(expected, tensor.shape, strict=True)
    )
    if dtype is not spec.dtype or not fits:
        said = tensor.dtype if dtype is None else dtype.value
        raise InferenceFailed(
            f"output {spec.name!r} is {said} {list(tensor.shape)}, and `signature` of the card "
            f"says {spec.dtype.value} {expected}"
        )


def _signature(declared: DeclaredSignature | None, arguments: Sequence[Any]) -> Signature:
    if declared is None:
        raise ModelLoadError(
            "TorchScript does not say of which dtypes and shapes its inputs and outputs are: write "
            f"that into its card.yaml, as in\n{_example(arguments)}"
        )
    signature = declared.as_signature()
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype not in TYPES:
            raise ModelLoadError(
                f"`signature` says that {spec.name!r} is {spec.dtype.value}, which PyTorch has not"
            )
    return signature


def _example(arguments: Sequence[Any]) -> str:
    tensor = "{{name: {}, dtype: FP32, shape: [null, 3]}}"
    inputs = ", ".join(tensor.format(one.name) for one in arguments if not _is_optional(one))
    return f"signature:\n  inputs: [{inputs}]\n  outputs: [{tensor.format('y')}]"


def _order(names: Sequence[str], arguments: Sequence[Any]) -> list[str]:
    """Which argument each input is: the one of its name if all have one, else that of its place.

    Raises:
        ModelLoadError: they do not fit.
    """
    known = [argument.name for argument in arguments]
    chosen = list(names) if set(names) <= set(known) else known[: len(names)]
    needed = [argument.name for argument in arguments if not _is_optional(argument)]
    if len(chosen) < len(names) or not set(needed) <= set(chosen):
        raise ModelLoadError(
            f"`signature` has the inputs {', '.join(names)}; the program takes {', '.join(known)}"
        )
    for argument in arguments:
        if argument.name in chosen and str(argument.type) not in {"Tensor", "Optional[Tensor]"}:
            raise ModelLoadError(
                f"its argument {argument.name!r} is {argument.type}; inputs must be tensors"
            )
    return chosen


def _is_optional(argument: Any) -> bool:
    return bool(argument.has_default_value())


def _check_archive(path: Path) -> None:
    """Refuse what is no TorchScript, and what would unfold to far more than the file.

    Raises:
        ModelLoadError: the message says what it may be, and what to do.
    """
    if not torch_archive.is_script(path):
        raise ModelLoadError(torch_archive.NO_SCRIPT)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    stored = [one for one in members if one.compress_type == zipfile.ZIP_STORED]
    if sum(one.file_size for one in stored) > path.stat().st_size:
        raise ModelLoadError("declares more than the file holds")
    code_bytes = sum(one.file_size for one in members) - sum(one.file_size for one in stored)
    if code_bytes > _MOST_CODE_BYTES:
        raise ModelLoadError(f"has {code_bytes} bytes of compressed files in it, which is no code")


def _frozen(module: Any) -> Any:
    """A module without training and with constants for weights, which runs a quarter faster.

    Raises:
        ModelLoadError: it remembers: its lanes and its clients would share that.
    """
    frozen = torch.jit.freeze(module.eval())
    # Freezing leaves exactly the attributes that are written to.
    changed = {
        node.s("name")
        for node in frozen.graph.findAllNodes("prim::GetAttr")
        if node.output().type().kind() != "ClassType"  # a module around others
    } | {node.s("name") for node in frozen.graph.findAllNodes("prim::SetAttr")}
    # A plain attribute is a constant where a module was traced, and may be written to all the same.
    aliases = frozen.graph.alias_db()
    constants = frozen.graph.findAllNodes("prim::Constant")
    if any(aliases.has_writers(node.output()) for node in constants):
        changed.add("a tensor of its own")
    if changed:
        raise ModelLoadError(
            f"it changes {', '.join(sorted(changed))} when it runs, which all clients would share: "
            "make that an input and an output, and name them under `sequence`; a module that was "
            "traced while it trained must be traced again after `.eval()`"
        )
    return frozen
