"""The files beside a model file that its weights lie in, however they are called."""

from __future__ import annotations

import mmap
from pathlib import Path

from headrace.formats import onnx_


def weights_files(path: Path) -> frozenset[str] | None:
    """The names that an ONNX file says; None where one cannot be told.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return onnx_.weights_files(data)
        except ValueError:  # it is empty
            return frozenset()
