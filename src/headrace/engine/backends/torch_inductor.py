"""Inductor: an exported program compiled to machine code for this processor, and kept.

Compiling takes a C++ compiler and up to minutes; what came of it is a package with a library in it,
which later starts load in a second. It runs without Python, for any sizes that the program was
exported for, on as many threads as its lane is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
import torch

from headrace.engine.backends import torch_program, torch_sizes
from headrace.engine.backends.torch_half import Narrow, forget_checks
from headrace.engine.backends.torch_sizes import Sizes
from headrace.engine.backends.torch_tensors import TYPES, Program, explain
from headrace.engine.backends.torch_training import draws
from headrace.errors import BackendMissing, ModelLoadError
from headrace.ownership import FOREIGN, is_ours
from headrace.settings import ModelSettings
from headrace.values import DType, Signature, TensorSpec

_log = structlog.get_logger("headrace.engine")

PACKAGE = "model.pt2"
"""What is kept is called so, in a folder of its own."""

# What a package says of itself, so that the program need not be read again.
_SIGNATURE, _SIZES, _RANDOM = "headrace_signature", "headrace_sizes", "headrace_random"
_COMPILERS = ("g++", "clang++", "c++")
# Where a compiler works, and for how long at most.
_UNFINISHED, _LONGEST_S = ".compiling-", 3600.0


def read(
    path: Path, settings: ModelSettings, kept: Path | None, half: torch.dtype | None
) -> Program:
    """Load what was compiled of a program, or compile it now; ``kept`` is where it stays.

    Raises:
        ModelLoadError: it cannot be compiled for all sizes that it was exported for.
        BackendMissing: there is no C++ compiler.
    """
    if kept is not None and (kept / PACKAGE).is_file():
        try:
            _check_ours(kept / PACKAGE)
            return _load(kept / PACKAGE, path, settings)
        except (RuntimeError, KeyError, PermissionError) as error:
            _log.warning("compiled_again", file=str(kept / PACKAGE), reason=explain(error))
    if kept is not None:
        _forget_unfinished(kept)
    with TemporaryDirectory(prefix=_UNFINISHED, dir=None if kept is None else kept) as folder:
        made = Path(folder, PACKAGE)
        _compile(path, made, half)
        if kept is not None:
            made.chmod(0o600)
            made = made.replace(kept / PACKAGE)  # whole or not at all
        return _load(made, path, settings)


def _check_ours(package: Path) -> None:
    """Refuse a library that others may have put there.

    Raises:
        PermissionError: they may.
    """
    if not is_ours(package.lstat()):
        raise PermissionError(FOREIGN)


def _forget_unfinished(kept: Path) -> None:
    """Remove what compilers left that were ended in the middle."""
    for left in kept.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):  # its owner has just ended
            if time.time() - left.stat().st_mtime > _LONGEST_S:
                shutil.rmtree(left, ignore_errors=True)


def _load(package: Path, path: Path, settings: ModelSettings) -> Program:
    """Load what was compiled of the program at ``path``."""
    # As torch._inductor.package.load_package does it, which wants a compiler to see whether the
    # processor is the same: the folder is of this one.
    aoti: Any = torch._C._aoti  # noqa: SLF001 - it has no other name
    one_thread, lanes, device = False, settings.instances or 1, -1
    loader = aoti.AOTIModelPackageLoader(str(package), "model", one_thread, lanes, device)
    said = loader.get_metadata()
    run = _Compiled(loader, torch_sizes.parse(said[_SIZES]), settings.threads)
    torch_program.tell_random(path, json.loads(said[_RANDOM]))
    return Program(run, _signature(said[_SIGNATURE]))


class _Compiled:
    """What was compiled, for lanes that run at once."""

    def __init__(self, loader: Any, sizes: Sizes, threads: int) -> None:
        self._loader = loader
        self._sizes = sizes
        self._threads = threads
        self._thread = threading.local()

    def __call__(self, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Run it; see ``torch_tensors.Program``."""
        # What was compiled believes what it is told of sizes: others would be read past their end.
        self._sizes.check([tuple(tensor.shape) for tensor in given])
        if not hasattr(self._thread, "told"):  # each thread has a number of threads of its own
            torch.set_num_threads(self._threads)
            self._thread.told = True
        found: Sequence[torch.Tensor] = self._loader.boxed_run(list(given))
        return found


def _compile(path: Path, to: Path, half: torch.dtype | None) -> None:
    """Compile a program into a package."""
    from torch._inductor import aoti_compile_and_package  # noqa: PLC0415 - takes seconds
    from torch._inductor.utils import fresh_cache  # noqa: PLC0415 - the same

    compiler = _compiler()
    program = torch_program.exported(path)
    signature, random = torch_program.signature_of(program), draws(program)
    if program.example_inputs is None:
        raise ModelLoadError("it has no example inputs, which Inductor wants: export it anew")
    if half is not None:
        program = _narrowed(program, half, signature)
    options = {
        "aot_inductor.metadata": {
            _SIGNATURE: _text(signature),
            _SIZES: torch_sizes.of(program).text(),
            _RANDOM: json.dumps(random),
        },
        # Of a header that is read once: making it takes longer than it saves (8 of 18 s).
        "aot_inductor.precompile_headers": False,
        "compile_threads": 1,  # in this process, which is stood back and may be ended
        "cpp.cxx": (compiler,),
        "cpp.dynamic_threads": True,  # each lane's own number
        "freezing": True,  # weights lie as they are multiplied with
    }
    with fresh_cache(dir=str(to.parent)), torch.no_grad():
        aoti_compile_and_package(program, package_path=str(to), inductor_configs=options)


def _compiler() -> str:
    """The C++ compiler, as PyTorch looks for it.

    Raises:
        BackendMissing: there is none.
    """
    asked = os.environ.get("CXX")
    for name in (asked,) if asked else _COMPILERS:
        if shutil.which(name):
            return name
    what = f"CXX names {asked}, which is not there" if asked else "there is none on the PATH"
    raise BackendMissing(
        f"inductor compiles with a C++ compiler, and {what}: install g++, or use backend torch"
    )


def _text(signature: Signature) -> str:
    """Write a signature down."""
    sides = [
        [(spec.name, spec.dtype.value, spec.shape) for spec in side]
        for side in (signature.inputs, signature.outputs)
    ]
    return json.dumps([*sides, signature.batched])


def _signature(text: str) -> Signature:
    """Read one that was written down."""
    inputs, outputs, batched = json.loads(text)
    sides = [
        tuple(TensorSpec(name, DType(kind), tuple(shape)) for name, kind, shape in side)
        for side in (inputs, outputs)
    ]
    return Signature(sides[0], sides[1], batched=batched)


def _narrowed(
    program: torch.export.ExportedProgram, half: torch.dtype, signature: Signature
) -> torch.export.ExportedProgram:
    """The same program in 16 bits, exported with what autocast does to it."""
    module: Any = program.module()
    forget_checks(module)
    outputs = [TYPES[spec.dtype] for spec in signature.outputs]
    given, free = torch_sizes.example(program)
    narrow = Narrow(module, half, outputs)
    again = torch.export.export(narrow, given, dynamic_shapes=(free,), strict=False)
    shapes = [spec.shape for spec in torch_program.signature_of(again).inputs]
    if shapes != [spec.shape for spec in signature.inputs]:
        raise ModelLoadError("in 16 bits it would run at fewer sizes than it was exported for")
    return again
