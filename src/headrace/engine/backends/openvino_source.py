"""Reads what OpenVINO compiles: the signature of a SavedModel that is asked for, and names.

Tensors of a TFLite file get the names of its signature, inputs and outputs of an ONNX file its own.
Where an operator does nothing, OpenVINO takes the tensors before and behind it for one with the
names of both, when it reads it or when it compiles it. So a port's name is marked as that.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openvino as ov

from headrace.errors import ModelLoadError
from headrace.formats import onnx_, saved_model, tflite

_SAVED_MODEL, _TFLITE, _ONNX = ".pb", ".tflite", ".onnx"


def read(core: ov.Core, path: Path, signature_name: str | None) -> ov.Model:
    """Read a model file.

    Raises:
        ModelLoadError: it has no such signature. RuntimeError: OpenVINO cannot read it.
    """
    if path.suffix == _TFLITE:
        return _tflite(core, path)
    if path.suffix == _ONNX:
        return _onnx(core, path)
    if path.suffix != _SAVED_MODEL:
        return core.read_model(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            changed = _changed(path, data, signature_name)
    except (OSError, ValueError) as error:  # an empty file, or one of something else
        raise ModelLoadError(
            f"cannot load {path}: {error}; it must be the whole file of a SavedModel"
        ) from error
    return core.read_model(path.parent) if changed is None else _read_changed(core, path, changed)


def mark(ports: Sequence[Any], side: str, names: Sequence[str]) -> None:
    """Have ports, all of one side, keep what they are called, also when they come back compiled."""
    for index, (port, name) in enumerate(zip(ports, names, strict=True)):
        port.get_tensor().add_names({f"{_mark(side, index)}{name}"})


def marked(port: Any, side: str, index: int) -> str | None:
    """What a port was marked with; None: nothing."""
    mark = _mark(side, index)
    found = (name.removeprefix(mark) for name in port.names if name.startswith(mark))
    return next(found, None)


def _mark(side: str, index: int) -> str:
    return f"served as {side} {index}: "


def _changed(path: Path, data: mmap.mmap, asked: str | None) -> bytes | None:
    """The file with the one signature that is served; None: as it is."""
    with memoryview(data) as view:
        try:
            return _only(path, view, asked)
        except ValueError as error:
            # On its way out it would hold parts of the map, which cannot close then.
            problem = str(error)
    raise ValueError(problem)


def _only(path: Path, view: memoryview, asked: str | None) -> bytes | None:
    """OpenVINO takes the default signature, or else all there are, mixed."""
    names = saved_model.signatures(view)
    wanted = saved_model.chosen(names, asked)
    if wanted not in names:
        raise ModelLoadError(
            f"cannot load {path}: it has no signature {wanted!r}; name one of these as "
            f"`signature_name`: {', '.join(names) or 'there are none'}"
        )
    if wanted == saved_model.DEFAULT or len(names) == 1:
        return None
    return saved_model.only(view, wanted)


def _read_changed(core: ov.Core, path: Path, content: bytes) -> ov.Model:
    """Of a SavedModel the path is its saved_model.pb, and the model is the whole folder."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        for file in path.parent.iterdir():
            (Path(folder) / file.name).symlink_to(file.absolute())
        changed = Path(folder) / path.name
        changed.unlink()
        changed.write_bytes(content)
        return core.read_model(folder)


def _onnx(core: ov.Core, path: Path) -> ov.Model:
    model = core.read_model(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        named = _ports(data)
    if tuple(map(len, named)) == (len(model.inputs), len(model.outputs)):
        mark(model.inputs, "input", named[0])
        mark(model.outputs, "output", named[1])
    return model


def _ports(data: mmap.mmap) -> tuple[tuple[str, ...], tuple[str, ...]]:
    with memoryview(data) as view:
        try:
            return onnx_.ports(view)
        except ValueError:  # OpenVINO has read it all the same: what it calls them must do
            return (), ()


def _tflite(core: ov.Core, path: Path) -> ov.Model:
    model = core.read_model(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = _names(data)
    if names is not None:
        _rename(model.inputs, names.inputs)
        _rename(model.outputs, names.outputs)
    return model


def _rename(ports: list[Any], known: Mapping[str, set[str]]) -> None:
    """Give ports their names; of several for one port the first, for each start the same."""
    before = [port.any_name for port in ports]
    for port, name in zip(ports, before, strict=True):
        given = sorted(known.get(name, ()))
        if given:
            port.get_tensor().set_names(set(given[: before.count(name)]))


def _names(data: mmap.mmap) -> tflite.Names | None:
    with memoryview(data) as view:
        try:
            return tflite.names(view)
        except ValueError:  # OpenVINO has read it all the same: what it calls them must do
            return None
