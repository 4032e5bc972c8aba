"""Where the versions of a model lie: what an operator names becomes places, nothing is settled yet.

A path is one of three things::

    resnet.onnx                 one file: version 1 of ``resnet``
    resnet/1/model.onnx         a versioned folder: every numbered folder in it is a version; the
    resnet/2/model.onnx         newest is the highest number
    models/resnet/1/model.onnx  a folder of those: every entry is a model under its own name
    models/digits.onnx
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from headrace.documents import expand
from headrace.errors import ModelLoadError, OperatorError, SettingsError
from headrace.formats import SUFFIXES
from headrace.importers.folders import has_card, named
from headrace.importers.folders import versions as versions_in
from headrace.importers.triton import CONFIG_NAME
from headrace.loader.card import model_file, why_left_out
from headrace.loader.regular import check_regular
from headrace.settings import ModelSettings
from headrace.urls import Url

PERHAPS_WEIGHTS = ".pt"
"""What models are made of is called so, too: beside another model it is taken for that."""

SAVED_MODEL = "saved_model.pb"
"""The file that makes a folder a TensorFlow SavedModel; it stands for the folder."""

USER_CODE = "model.py"
"""A Python file is only a model if it is named, or called so in a version folder."""

_OF_TESTS = ".fake"
_KNOWN = ", ".join(suffix for suffix in SUFFIXES if suffix != _OF_TESTS)
_LOOKED_FOR = (
    f"a model file ({_KNOWN}), version folders (1/model.onnx, 1/{SAVED_MODEL}), or models in "
    "folders (name/1/model.onnx)"
)
# By the suffix of a folder in a version folder, the file in it that is the model. An ONNX model of
# several files, as one above 2 GB is, has such a folder in Triton's repositories.
_IN_FOLDERS = {".savedmodel": SAVED_MODEL, ".onnx": "model.onnx"}
# What PyTorch writes and is no program.
_OF_PYTORCH = (".pth", ".ckpt", ".safetensors")
# Safe in a URL, in a metric's label and in the name of a socket.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What the wire and the engine's socket have room for.
_HIGHEST_VERSION = 2**63 - 1
# In the root of a disk, for what its check finds; nobody else may look into it.
_LOST = "lost+found"
# How many names of a folder's entries a message shows.
_SHOWN = 8


class Place(NamedTuple):
    """Where a version lies, before its settings are known."""

    name: str
    version: int
    path: Path
    folder: Path


class Complaint(NamedTuple):
    """Why a model, or one version of it, cannot be taken as it lies there now.

    ``left_out``: it is passed over in a folder of models, for it is of a kind that is not served
    here, or ``is_empty``: there is its configuration only, and no version of it.
    """

    name: str
    version: int | None
    error: OperatorError
    left_out: bool = False
    is_empty: bool = False


Complain = Callable[[Complaint], None]


def locate(entry: ModelSettings, complain: Complain | None = None) -> list[Place]:
    """Find where the versions of an entry lie, by name, ascending.

    ``complain`` hears what is wrong with one model or version, and the others are found, or none;
    without it all such things are raised, a line each, and that there is none; what is left out
    of a folder of models is passed over.

    Raises:
        SettingsError: the entry has no path.
        ModelLoadError: nothing is to be found or read there.
    """
    if entry.path is None:
        raise SettingsError(f"model {entry.name or '(without a name)'}: `path` must be given")
    if isinstance(entry.path, Url):
        raise ModelLoadError(f"{entry.path}: is not on this machine yet")
    path = named(expand(entry.path))
    heard: list[Complaint] = []
    places = _located(path, entry.name, heard.append if complain is None else complain)
    if complain is None:
        _refuse(heard)
        if not places:
            raise _nothing(path, heard)
    return places


def _refuse(heard: list[Complaint]) -> None:
    errors = [complaint.error for complaint in heard if not complaint.left_out]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ModelLoadError("\n".join(error.message for error in errors))


def _nothing(folder: Path, left_out: list[Complaint]) -> ModelLoadError:
    problem = (
        f"{folder}: nothing to serve here; looked for {_LOOKED_FOR}; found {_contents(folder)}"
    )
    return ModelLoadError("\n".join([problem, *(one.error.message for one in left_out)]))


def _located(path: Path, name: str | None, complain: Complain) -> list[Place]:
    try:
        found = _look(path, name, complain)
    except OSError as error:
        raise _told(error, path) from error
    places = []
    for place in found:
        try:
            _check_name(place)
            _check_readable(place.path)
        except (OperatorError, OSError) as error:
            complain(Complaint(place.name, place.version, _told(error, place.path)))
        else:
            places.append(place)
    return places


def _told(error: OperatorError | OSError, path: Path) -> OperatorError:
    if isinstance(error, OperatorError):
        return error
    return ModelLoadError(f"{error.filename or path}: cannot be read: {error.strerror}")


def left_out(entry: ModelSettings) -> list[Complaint]:
    """What ``locate`` passes over; nothing where it cannot look."""
    heard: list[Complaint] = []
    with contextlib.suppress(OperatorError):
        locate(entry, heard.append)
    return [complaint for complaint in heard if complaint.left_out]


def _look(path: Path, name: str | None, complain: Complain) -> list[Place]:
    if not path.exists():
        raise ModelLoadError(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise ModelLoadError(f"{path}: not a model file; known are {_known_beside(path)}")
        return [Place(name or path.stem, 1, path, path.parent)]
    if (path / SAVED_MODEL).is_file():
        return [Place(name or path.name, 1, path / SAVED_MODEL, path)]
    if (reason := why_left_out(path)) is not None:
        raise ModelLoadError(reason)
    if versions_in(path):
        return _versions(path, name or path.name, complain)
    return _folder_of_models(path, name, complain)


def _known_beside(path: Path) -> str:
    """What is a model, for who named a file that is none."""
    advice = "; PyTorch's are to be written as .pt2: see docs/models.md"
    return f"{_KNOWN}, and folders with {SAVED_MODEL}{advice if path.suffix in _OF_PYTORCH else ''}"


def _versions(folder: Path, name: str, complain: Complain) -> list[Place]:
    """The versions of a versioned folder, ascending."""
    strays = [file for file in _model_files(folder) if file.suffix != PERHAPS_WEIGHTS]
    if strays:
        error = ModelLoadError(
            f"{folder}: has version folders and model files ({_entry_names(folder, strays)}); "
            "keep one kind"
        )
        complain(Complaint(name, None, error))
        return []
    versions: dict[int, Place] = {}
    for inner in versions_in(folder):
        version = int(inner.name)
        try:
            _check_version(version, inner, versions)
            versions[version] = Place(name, version, _only_model_file(inner), folder)
        except (OperatorError, OSError) as error:
            complain(Complaint(name, version, _told(error, inner)))
    return [versions[version] for version in sorted(versions)]


def _check_version(version: int, folder: Path, before: Mapping[int, Place]) -> None:
    if version > _HIGHEST_VERSION:
        raise ModelLoadError(f"{folder}: a version is at most {_HIGHEST_VERSION}")
    if version in before:
        first = before[version].path.parent
        raise ModelLoadError(
            f"{folder.parent}: version {version} is there twice: {first.name}/ and {folder.name}/"
        )


def _only_model_file(folder: Path) -> Path:
    if _is_script(folder):
        return folder / USER_CODE  # the rest is what it reads, another model perhaps
    files = _model_files(folder)
    if len(files) > 1:
        name = model_file(folder.parent).name
        if named := [file for file in files if _entry(folder, file).name == name]:
            return named[0]
        files = [file for file in files if file.suffix != PERHAPS_WEIGHTS] or files
    if len(files) > 1:
        raise ModelLoadError(
            f"{folder}: has {len(files)} model files ({_entry_names(folder, files)}); "
            "keep one a version"
        )
    if not files:
        raise ModelLoadError(
            f"{folder}: no model file ({_KNOWN}, {SAVED_MODEL}) here; found {_contents(folder)}"
        )
    return files[0]


def _is_script(folder: Path) -> bool:
    """Whether a version is a Python file: not where Triton would leave that one unread."""
    if not (folder / USER_CODE).is_file():
        return False
    said = model_file(folder.parent)
    unsaid = not said.name and not said.of_framework
    return unsaid or said.name == USER_CODE or has_card(folder.parent)


def _folder_of_models(folder: Path, name: str | None, complain: Complain) -> list[Place]:
    """The models of a folder, by name; entries that are neither are left alone."""
    models = list(_models_in(folder, lambda told: complain(told._replace(name=name or told.name))))
    if name is not None and len({place.name for place in models}) > 1:
        raise ModelLoadError(
            f"{folder}: is a folder of several models, which cannot all be called {name!r}; "
            "name one of them by its own path"
        )
    return [place._replace(name=name or place.name) for place in models]


def _models_in(folder: Path, complain: Complain) -> Iterator[Place]:
    for inner in _entries(folder):
        try:
            yield from _models_at(inner, complain)
        except (OperatorError, OSError) as error:
            name = inner.stem if inner.suffix in SUFFIXES else inner.name
            complain(Complaint(name, None, _told(error, inner)))


def _models_at(path: Path, complain: Complain) -> list[Place]:
    is_folder = path.is_dir()
    is_versioned = is_folder and bool(versions_in(path))
    if is_folder and (reason := why_left_out(path)) is not None:
        complain(Complaint(path.name, None, ModelLoadError(reason), left_out=True))
        return []
    if is_versioned:
        return _versions(path, path.name, complain)
    if (path / SAVED_MODEL).is_file():
        return [Place(path.name, 1, path / SAVED_MODEL, path)]
    if _is_model_file(path) and not _are_weights(path):
        return [Place(path.stem, 1, path, path.parent)]
    if is_folder and (path / CONFIG_NAME).exists():
        complain(_empty(path))
    return []


def _empty(folder: Path) -> Complaint:
    error = ModelLoadError(
        f"{folder}: has a {CONFIG_NAME} and no version folder (1/) beside it; found "
        f"{_contents(folder)}"
    )
    return Complaint(folder.name, None, error, left_out=True, is_empty=True)


def _are_weights(path: Path) -> bool:
    """Whether it may be what a model of the same name beside it was made of."""
    others = (path.with_suffix(suffix) for suffix in SUFFIXES if suffix != PERHAPS_WEIGHTS)
    return path.suffix == PERHAPS_WEIGHTS and any(
        other.exists() and _is_model_file(other) for other in others
    )


def _model_files(folder: Path) -> list[Path]:
    """The files in it that are models, those in a folder of their own too."""
    entries = _entries(folder)
    inner = [entry / _IN_FOLDERS[entry.suffix] for entry in entries if entry.suffix in _IN_FOLDERS]
    return [
        *(file for file in entries if _is_model_file(file) or file.name == SAVED_MODEL),
        *(file for file in inner if file.is_file()),
    ]


def _entry(folder: Path, file: Path) -> Path:
    """What of a folder is the model whose file this is: the file, or the folder it lies in."""
    return file if file.parent == folder else file.parent


def _is_model_file(file: Path) -> bool:
    # Not every script that lies beside models is one, and it would be run.
    return file.suffix in SUFFIXES and file.suffix != ".py" and not file.is_dir()


def _entries(folder: Path) -> list[Path]:
    found = (entry for entry in folder.iterdir() if entry.name != _LOST)
    return sorted(entry for entry in found if not entry.name.startswith("."))


def _check_name(place: Place) -> None:
    if not _NAME.fullmatch(place.name):
        raise ModelLoadError(
            f"{place.path}: {place.name!r} cannot be a model's name, which is letters, digits, "
            "`.`, `_` and `-`; give it one with `name` (--name)"
        )
    try:
        str(place.path).encode()
    except UnicodeEncodeError as error:  # between our processes it travels as text
        raise ModelLoadError(f"{place.path}: its name is not UTF-8 text: rename it") from error


def _check_readable(path: Path) -> None:
    """Open it once, so that a missing permission or a broken link is told now and by its name."""
    check_regular(path)
    with path.open("rb"):
        pass


def _contents(folder: Path) -> str:
    entries = _entries(folder)
    return _names(entries) if entries else "nothing"


def _entry_names(folder: Path, files: list[Path]) -> str:
    return _names([_entry(folder, file) for file in files])


def _names(entries: list[Path]) -> str:
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
