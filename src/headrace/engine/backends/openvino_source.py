"""Reads what OpenVINO compiles, with the one signature of a SavedModel that is asked for."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path

import openvino as ov

from headrace.errors import ModelLoadError
from headrace.formats import saved_model

_SAVED_MODEL = ".pb"


def read(core: ov.Core, path: Path, signature_name: str | None) -> ov.Model:
    """Read a model file.

    Raises:
        ModelLoadError: it has no such signature. RuntimeError: OpenVINO cannot read it.
    """
    if path.suffix != _SAVED_MODEL:
        return core.read_model(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _saved_model(core, path, data, signature_name)
    except (OSError, ValueError) as error:  # an empty file, or one of something else
        raise ModelLoadError(
            f"cannot load {path}: {error}; it must be the whole file of a SavedModel"
        ) from error


def _saved_model(core: ov.Core, path: Path, data: mmap.mmap, asked: str | None) -> ov.Model:
    """Of a SavedModel the path is its saved_model.pb, and the model is the whole folder.

    OpenVINO takes the default signature, or else all there are, mixed.
    """
    with memoryview(data) as view:
        names = saved_model.signatures(view)
        wanted = asked or (names[0] if len(names) == 1 else saved_model.DEFAULT)
        if wanted not in names:
            raise ModelLoadError(
                f"cannot load {path}: it has no signature {wanted!r}; name one of these as "
                f"`signature_name`: {', '.join(names) or 'there are none'}"
            )
        if wanted == saved_model.DEFAULT or len(names) == 1:
            return core.read_model(path.parent)
        content = saved_model.only(view, wanted)
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        for file in path.parent.iterdir():
            (Path(folder) / file.name).symlink_to(file.absolute())
        changed = Path(folder) / path.name
        changed.unlink()
        changed.write_bytes(content)
        return core.read_model(folder)
