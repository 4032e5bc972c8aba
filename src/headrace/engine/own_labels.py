"""Names of classes that a model file has in itself, for a model whose card gives none."""

from __future__ import annotations

import io
import mmap
import zipfile
import zlib
from pathlib import Path

from headrace.formats import onnx_, tflite
from headrace.values import Signature

_MOST_BYTES = 2**20  # of a text with a name a line
_MATRIX = 2


def own_labels(path: Path, signature: Signature) -> tuple[str, ...]:
    """The names in the file, if there is one for each class of just one output; else none.

    What cannot be read has none: whether the model can be served is for its backend to say.
    """
    if path.suffix not in {".onnx", ".tflite"}:
        return ()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _read(path, data)
    except (OSError, ValueError):  # an empty file has no map
        return ()
    widths = [spec.shape[-1] for spec in signature.outputs if len(spec.shape) >= _MATRIX]
    return found if widths.count(len(found)) == 1 else ()


def _read(path: Path, data: mmap.mmap) -> tuple[str, ...]:
    with memoryview(data) as view:
        try:  # in here, for an error on its way out holds parts of the map, which cannot close then
            if path.suffix == ".onnx":
                return onnx_.labels(view)
            name = tflite.label_file(view)
        except (ValueError, RecursionError):
            return ()
    return () if name is None else _lines(path, name)


def _lines(path: Path, name: str) -> tuple[str, ...]:
    """The lines of a file in the archive that a TFLite file ends with."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            content = file.read(_MOST_BYTES + 1)
    # A damaged archive, one without that file, compressed in another way, encrypted.
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, zlib.error, EOFError):
        return ()
    if len(content) > _MOST_BYTES:
        return ()
    text = content.decode("utf-8-sig", "replace").rstrip()
    if "\0" in text:  # it is UTF-16, or no text
        return ()
    lines = io.StringIO(text, newline=None)  # whichever system's
    return tuple(line.strip() for line in lines.read().split("\n"))
