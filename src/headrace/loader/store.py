"""From what the operator names to the versions that will be served.

A path is one of three things::

    resnet.onnx                 one file: version 1 of ``resnet``
    resnet/1/model.onnx         a versioned folder: every numbered folder in it is a version, and
    resnet/2/model.onnx         all of them are served; the newest is the highest number
    models/resnet/1/model.onnx  a folder of those: every entry is a model under its own name
    models/digits.onnx
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from headrace.control import VersionPolicy
from headrace.errors import (
    InvalidInput,
    ModelLoadError,
    ModelNotFound,
    OperatorError,
    SettingsError,
)
from headrace.layers import resolve
from headrace.loader.card import model_file, read_labels, read_said
from headrace.loader.cores import usable_cores
from headrace.settings import ModelSettings, Settings

SUFFIXES = (".onnx", ".xml", ".tflite", ".pt2", ".py", ".fake")
"""What a model file is called: ONNX, OpenVINO IR, TFLite, PyTorch's, the user's, the fake's."""

SAVED_MODEL = "saved_model.pb"
"""The file that makes a folder a TensorFlow SavedModel; it stands for the folder."""

USER_CODE = "model.py"
"""A Python file is only a model if it is named, or called so in a version folder."""

_LOOKED_FOR = (
    f"a model file ({', '.join(SUFFIXES)}), version folders (1/model.onnx), or models in folders "
    "(name/1/model.onnx)"
)
# Safe in a URL, in a metric's label and in the name of a socket.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# How many names of a folder's entries a message shows.
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """One version of one model, found and settled but not yet loaded.

    ``path`` is the model file, ``folder`` the model's own folder; ``settings`` are resolved with
    the card, ``labels`` read; ``remarks`` are for the log.
    """

    name: str
    version: int
    path: Path
    folder: Path
    settings: ModelSettings
    labels: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


Stamp = tuple[tuple[str, int, int, int], ...]
"""Of each file: path, size in bytes, time of writing in nanoseconds, inode."""


class Place(NamedTuple):
    """Where a version lies, before its settings are known."""

    name: str
    version: int
    path: Path
    folder: Path


def find(settings: Settings, *, cores: int | None = None) -> tuple[FoundVersion, ...]:
    """Find every version of every model named in the settings, in that order, versions ascending.

    ``cores`` decides how many instances a model gets that does not say; None: those usable here.

    Raises:
        SettingsError: there is no model at all, the default model is unknown, or a card is bad.
        ModelLoadError: a model cannot be found or read; names every such problem, a line each.
    """
    if not settings.models:
        raise SettingsError("nothing to serve: give a PATH, or `models` in the settings file")
    usable = usable_cores() if cores is None else cores
    found: list[FoundVersion] = []
    errors: list[OperatorError] = []
    for entry in settings.models:
        try:
            places = _wanted(locate(entry), policy_of(entry, settings.defaults))
            found += [settle(place, entry, settings.defaults, usable) for place in places]
        except OperatorError as error:
            errors.append(error)
    errors += _twice(found)
    errors += _astray(found)
    _raise(errors)
    _check_default(settings.server.default_model, found)
    return tuple(found)


def find_named(
    settings: Settings,
    name: str,
    *,
    folder: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    policy: VersionPolicy | None = None,
    cores: int | None = None,
) -> tuple[FoundVersion, ...]:
    """Find the versions to serve of one model as it is now, ascending.

    ``folder`` is where it lies, in place of where the settings say; ``overrides`` are keys of
    ``ModelSettings`` that win over the rest; ``policy`` wins over its ``versions``.

    Raises:
        ModelNotFound: the settings name no such model, it is no longer there, or it has none of
            the versions asked for.
        SettingsError: its card is bad.
        InvalidInput: an override is.
        ModelLoadError: it cannot be read.
    """
    usable = usable_cores() if cores is None else cores
    if folder is None:
        places, entry = _named(settings, name)
    else:
        entry = _entry(settings, name).model_copy(update={"path": folder, "name": name})
        places = locate(entry)
    if not places:
        raise ModelNotFound(f"there is no model {name!r} where the settings look for models")
    entry = _override(entry, overrides or {})
    if policy is None:
        policy = policy_of(entry, settings.defaults)
    there = ", ".join(str(place.version) for place in places)
    places = [one for one in places if one.version in policy.choose(p.version for p in places)]
    if not places:
        raise ModelNotFound(f"model {name!r} has none of the versions asked for; it has {there}")
    return tuple(settle(place, entry, settings.defaults, usable) for place in places)


def policy_of(entry: ModelSettings, defaults: ModelSettings) -> VersionPolicy:
    """Which of its versions a model of this entry serves."""
    said = entry if "versions" in entry.model_fields_set else defaults
    return VersionPolicy(latest=said.versions.latest, specific=said.versions.specific)


def _wanted(places: list[Place], policy: VersionPolicy) -> list[Place]:
    """Those that the policy wants, of each model.

    Raises:
        ModelLoadError: one that it names is not there.
    """
    there: dict[str, set[int]] = {}
    for place in places:
        there.setdefault(place.name, set()).add(place.version)
    for name, versions in there.items():
        missing = sorted(set(policy.specific or ()) - versions)
        if missing:
            raise ModelLoadError(
                f"model {name!r} has no version {', '.join(map(str, missing))}, which `versions` "
                f"names; it has {', '.join(map(str, sorted(versions)))}"
            )
    return [place for place in places if place.version in policy.choose(there[place.name])]


def _named(settings: Settings, name: str) -> tuple[list[Place], ModelSettings]:
    """Where a model lies now, and its entry; an entry that cannot be read now is passed over."""
    for entry in settings.models:
        try:
            places = [place for place in locate(entry) if place.name == name]
        except ModelLoadError:
            if entry.name == name:
                raise
            continue
        if places:
            return places, entry
    return [], ModelSettings()


def _entry(settings: Settings, name: str) -> ModelSettings:
    """The entry of a model that lies elsewhere now; where it lay need not be there any more."""
    try:
        return _named(settings, name)[1]
    except ModelLoadError:
        return next(entry for entry in settings.models if entry.name == name)


def _override(entry: ModelSettings, overrides: Mapping[str, Any]) -> ModelSettings:
    said = {key: getattr(entry, key) for key in entry.model_fields_set}
    try:
        return ModelSettings.model_validate({**said, **overrides})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"setting {where} of the order: {first['msg']}") from error


def stamp(found: FoundVersion) -> Stamp:
    """What changes when the files of a version do: names, sizes and times of writing.

    Of a versioned folder or a SavedModel every file counts, of a single file it and those named
    like it.
    """
    inner = found.path.parent
    own = inner != found.folder or found.path.name == SAVED_MODEL
    files = [f for f in inner.rglob("*" if own else f"{found.path.stem}.*") if f.is_file()]
    lines = []
    for file in sorted(files):
        status = file.stat()
        lines.append((str(file), status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(lines)


def settle(place: Place, entry: ModelSettings, defaults: ModelSettings, cores: int) -> FoundVersion:
    """Settle the settings of a version, with its card.

    Raises:
        SettingsError: its card is bad.
        ModelLoadError: its labels cannot be read.
    """
    card, remarks = read_said(place.path.parent, place.folder)
    settled = resolve(entry, card, defaults, cores=cores)
    settled = settled.model_copy(update={"name": place.name})
    labels = read_labels(settled.labels)
    return FoundVersion(*place, settings=settled, labels=labels, remarks=remarks)


class Complaint(NamedTuple):
    """Why a model, or one version of it, cannot be taken as it lies there now."""

    name: str
    version: int | None
    error: OperatorError


Complain = Callable[[Complaint], None]


def _refuse(complaint: Complaint) -> None:
    raise complaint.error


def locate(entry: ModelSettings, complain: Complain = _refuse) -> list[Place]:
    """Find where the versions of an entry lie, by name, ascending.

    ``complain`` hears what is wrong with one model or version, and the others are found, or none;
    without it the first such thing is raised, and that there is none.

    Raises:
        SettingsError: the entry has no path.
        ModelLoadError: nothing is to be found or read there.
    """
    if entry.path is None:
        raise SettingsError(f"model {entry.name or '(without a name)'}: `path` must be given")
    path = entry.path.expanduser().absolute()
    try:
        places = []
        for place in _look(path, entry.name, complain):
            try:
                _check_name(place)
                _check_readable(place.path)
            except ModelLoadError as error:
                complain(Complaint(place.name, place.version, error))
            else:
                places.append(place)
    except OSError as error:
        raise ModelLoadError(
            f"{error.filename or path}: cannot be read: {error.strerror}"
        ) from error
    return places


def _look(path: Path, name: str | None, complain: Complain) -> list[Place]:
    if not path.exists():
        raise ModelLoadError(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise ModelLoadError(f"{path}: not a model file; known are {', '.join(SUFFIXES)}")
        return [Place(name or path.stem, 1, path, path.parent)]
    if (path / SAVED_MODEL).is_file():
        return [Place(name or path.name, 1, path / SAVED_MODEL, path)]
    if _numbered(path):
        return _versions(path, name or path.name, complain)
    return _folder_of_models(path, name, complain)


def _versions(folder: Path, name: str, complain: Complain) -> list[Place]:
    """The versions of a versioned folder, ascending."""
    strays = _model_files(folder)
    if strays:
        error = ModelLoadError(
            f"{folder}: has version folders and model files ({_names(strays)}); keep one kind"
        )
        complain(Complaint(name, None, error))
        return []
    versions: dict[int, Place] = {}
    for inner in _numbered(folder):
        version = int(inner.name)
        try:
            if version in versions:
                _refuse_repeated(versions[version].path.parent, inner)
            versions[version] = Place(name, version, _only_model_file(inner), folder)
        except ModelLoadError as error:
            complain(Complaint(name, version, error))
    return [versions[version] for version in sorted(versions)]


def _refuse_repeated(first: Path, second: Path) -> None:
    raise ModelLoadError(
        f"{first.parent}: version {int(first.name)} is there twice: {first.name}/ and "
        f"{second.name}/"
    )


def _only_model_file(folder: Path) -> Path:
    if (folder / USER_CODE).is_file():
        return folder / USER_CODE  # the rest is what it reads, another model perhaps
    files = _model_files(folder)
    if len(files) > 1:
        name = model_file(folder.parent)
        if named := [file for file in files if file.name == name]:
            return named[0]
        raise ModelLoadError(
            f"{folder}: has {len(files)} model files ({_names(files)}); keep one a version"
        )
    if not files:
        raise ModelLoadError(
            f"{folder}: no model file ({', '.join(SUFFIXES)}) here; found {_contents(folder)}"
        )
    return files[0]


def _folder_of_models(folder: Path, name: str | None, complain: Complain) -> list[Place]:
    """The models of a folder, by name; entries that are neither are left alone."""
    models = list(_models_in(folder, complain))
    if not models and complain is _refuse:
        raise ModelLoadError(
            f"{folder}: nothing to serve here; looked for {_LOOKED_FOR}; found {_contents(folder)}"
        )
    if name is not None and len({place.name for place in models}) > 1:
        raise ModelLoadError(
            f"{folder}: is a folder of several models, which cannot all be called {name!r}; "
            "name one of them by its own path"
        )
    return [place._replace(name=name or place.name) for place in models]


def _models_in(folder: Path, complain: Complain) -> Iterator[Place]:
    for inner in _entries(folder):
        if inner.is_dir() and _numbered(inner):
            yield from _versions(inner, inner.name, complain)
        elif (inner / SAVED_MODEL).is_file():
            yield Place(inner.name, 1, inner / SAVED_MODEL, inner)
        elif _is_model_file(inner):
            yield Place(inner.stem, 1, inner, folder)


def _numbered(folder: Path) -> list[Path]:
    """The folders in it whose name is a number."""
    return [
        inner
        for inner in _entries(folder)
        if inner.name.isascii() and inner.name.isdigit() and inner.is_dir()
    ]


def _model_files(folder: Path) -> list[Path]:
    """The files in it that are models; of a SavedModel, also in a folder of its own, its file."""
    entries = _entries(folder)
    saved = [entry / SAVED_MODEL for entry in entries if entry.suffix == ".savedmodel"]
    return [
        *(file for file in entries if _is_model_file(file) or file.name == SAVED_MODEL),
        *(file for file in saved if file.is_file()),
    ]


def _is_model_file(file: Path) -> bool:
    # Not every script that lies beside models is one, and it would be run.
    return file.suffix in SUFFIXES and file.suffix != ".py" and not file.is_dir()


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _check_name(place: Place) -> None:
    if not _NAME.fullmatch(place.name):
        raise ModelLoadError(
            f"{place.path}: {place.name!r} cannot be a model's name, which is letters, digits, "
            "`.`, `_` and `-`; give it one with `name` (--name)"
        )


def _check_readable(path: Path) -> None:
    """Open it once, so that a missing permission or a broken link is told now and by its name."""
    with path.open("rb"):
        pass


def _twice(found: Iterable[FoundVersion]) -> list[OperatorError]:
    """Name every two models of one name that are not versions in one folder."""
    first: dict[str, FoundVersion] = {}
    problems: dict[tuple[str, Path], ModelLoadError] = {}
    for one in found:
        other = first.setdefault(one.name, one)
        same_model = other.folder == one.folder and other.version != one.version
        if other is not one and not same_model:
            problems[one.name, one.folder] = ModelLoadError(
                f"two models are called {one.name!r}: {other.path} and {one.path}; "
                "give one of them another `name`"
            )
    return list(problems.values())


def _astray(found: Iterable[FoundVersion]) -> list[OperatorError]:
    """Name every version label of a model that stands for a version which is not there."""
    versions: dict[str, list[int]] = {}
    labels: dict[tuple[str, str], int] = {}
    for one in found:
        versions.setdefault(one.name, []).append(one.version)
        labels |= {(one.name, label): to for label, to in one.settings.version_labels.items()}
    return [
        SettingsError(
            f"model {name!r}: version_labels: {label!r} stands for version {to}, which is not "
            f"there; versions: {', '.join(map(str, versions[name]))}"
        )
        for (name, label), to in labels.items()
        if to not in versions[name]
    ]


def _check_default(name: str | None, found: Iterable[FoundVersion]) -> None:
    names = dict.fromkeys(one.name for one in found)
    if name is not None and name not in names:
        raise SettingsError(
            f"server.default_model: there is no model {name!r}; models: {', '.join(names)}"
        )


def _raise(errors: list[OperatorError]) -> None:
    if not errors:
        return
    text = "\n".join(error.message for error in errors)
    if all(isinstance(error, SettingsError) for error in errors):
        raise SettingsError(text)
    raise ModelLoadError(text)


def _contents(folder: Path) -> str:
    entries = _entries(folder)
    return _names(entries) if entries else "nothing"


def _names(entries: list[Path]) -> str:
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
