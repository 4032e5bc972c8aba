"""The files beside a model file that its weights lie in, however they are called."""

from __future__ import annotations

import mmap
from functools import lru_cache
from pathlib import Path

from headrace.formats import onnx_

_ONNX = ".onnx"
# Of so many files it is kept what they say: those who watch a folder ask every second.
_KEPT = 1024


def weights_files(path: Path) -> frozenset[str] | None:
    """The names that an ONNX file says, of another none; None where one cannot be told.

    A file is read once, until its status changes.

    Raises:
        OSError: it cannot be read.
    """
    if path.suffix != _ONNX:
        return frozenset()
    status = path.stat()
    stamp = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return _read(path, stamp)


@lru_cache(_KEPT)
def _read(path: Path, stamp: tuple[int, ...]) -> frozenset[str] | None:  # noqa: ARG001
    with path.open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return onnx_.weights_files(data)
        except ValueError:  # it is empty
            return frozenset()
