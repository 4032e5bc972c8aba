"""A look at the files of a model before a library reads them, in the engine's own process.

Libraries trust files: some crash on them, wait for ever, or read what lies elsewhere; and they say
of most that parsing failed. Here is found what can be found cheaply, and told by its name.

``kind`` what a file really is · ``onnx_file`` with ``functions`` and, of ``protobuf``, the heads of
fields · ``saved_model`` · ``tflite`` · ``ir`` · ``archive`` PyTorch's · ``beside`` the files of
weights that a model names · ``room`` whether they fit into memory
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path

from headrace.engine.checks import archive, ir, kind, onnx_file, room, saved_model, tflite
from headrace.engine.checks.protobuf import Data
from headrace.errors import ModelLoadError

_LOOKS: dict[str, Callable[[Data, Path], int]] = {
    ".onnx": onnx_file.look,
    ".pb": saved_model.look,
    ".pt": archive.look,
    ".pt2": archive.look,
    ".tflite": tflite.look,
    ".xml": ir.look,
}


def check(path: Path) -> None:
    """Check the files of a model.

    Raises:
        ModelLoadError: it is none, or it is cut off, damaged, too large, or reaches for files that
            are not its own.
    """
    try:
        _check(path)
    except ModelLoadError as error:
        raise ModelLoadError(f"cannot load {path}: it {error.message}") from error
    except OSError as error:
        raise ModelLoadError(f"cannot load {path}: it cannot be read: {error.strerror}") from error


def _check(path: Path) -> None:
    # Without waiting: a pipe has nobody who writes to it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ModelLoadError("is not a regular file")
        what = kind.mistaken(file.read(kind.HEAD_BYTES) or b"", path.suffix)
        if what is not None:
            raise ModelLoadError(what)
        look = _LOOKS.get(path.suffix)
        if look is not None:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                room.check(look(data, path), room.free_bytes())
