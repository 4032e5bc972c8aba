"""From the paths on the command line to what was read: files, models, folders of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.errors import SettingsError
from headrace.importers.folders import has_card, is_model, named
from headrace.importers.labels import with_own
from headrace.importers.rules import Fate, Imported
from headrace.importers.textproto import Field, Message, parse
from headrace.importers.tfserving import BATCHING_RULES, read_batching, read_models
from headrace.importers.triton import CONFIG_NAME, RULES, read_config
from headrace.importers.versions import with_default
from headrace.urls import is_url

_MOST_BYTES = 256 * 2**10
"""Of one file, which takes a second to read; the largest seen have a few thousand lines."""


_NOT_CARDS = ("name", "versions")
_CARDED = "the model is served by its `card.yaml`"


def read_text(path: Path) -> str:
    """Read a configuration.

    Raises:
        SettingsError: it cannot be read, is not text, or is too large to be one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise SettingsError(f"{path}: is larger than {_MOST_BYTES} bytes; no configuration is")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path}:{line}: is not UTF-8 text") from error


def gather(paths: Iterable[Path]) -> tuple[Imported, ...]:
    """Read everything that the paths name, in that order.

    Raises:
        SettingsError: names every file that cannot be read, with its line, and every folder in
            which there is nothing.
    """
    found: list[Imported] = []
    problems: list[str] = []
    for path in paths:
        for read in _readers(path):
            try:
                found += read()
            except SettingsError as error:
                problems.append(error.message)
    problems += _twice(found)
    if problems:
        raise SettingsError("\n".join(problems))
    return tuple(with_default(one) for one in found)


def _readers(path: Path) -> list[Callable[[], Iterable[Imported]]]:
    """What is to be read there; apart, so that each tells its own problem."""
    try:
        if not path.is_dir():
            return [lambda: _file(path)]
        if is_model(path):
            return [lambda: [_model(path)]]
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        models = [entry for entry in entries if entry.is_dir() and is_model(entry)]
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror}"
        return [lambda: _refuse(problem)]
    if not models:
        return [lambda: _refuse(f"{path}: no {CONFIG_NAME} and no models in folders here")]
    return [lambda folder=folder: [_model(folder)] for folder in models]  # type: ignore[misc]


def _refuse(problem: str) -> list[Imported]:
    raise SettingsError(problem)


def _file(path: Path) -> Iterable[Imported]:
    text = read_text(path)
    message = parse(text, str(path))
    kind = _kind(path, message)
    if kind == "models":
        return [_placed(one, Path.cwd()) for one in read_models(message, str(path))]
    if kind == "batching":
        return [replace(read_batching(message, str(path)), shared=True)]
    return [_model(path.absolute().parent, path)]


def _kind(path: Path, message: Message) -> str:
    """Tell the three kinds of files apart by what only one of them has."""
    names = {field.name for field in message.fields}
    if path.name == CONFIG_NAME:
        return "triton"
    if names & {"model_config_list", "custom_model_config"}:
        return "models"
    wrapped = any(_is_wrapped(field) for field in message.fields)
    if wrapped or (names and names <= BATCHING_RULES.keys() - RULES.keys()):
        return "batching"
    if names & {rule.partition(".")[0] for rule in RULES}:
        return "triton"
    raise SettingsError(
        f"{path}:1: none of Triton's {CONFIG_NAME}, TensorFlow Serving's model_config_file and "
        "batching_parameters_file"
    )


def _is_wrapped(field: Field) -> bool:
    return field.name in BATCHING_RULES and isinstance(field.value, Message)


def _model(folder: Path, config: Path | None = None) -> Imported:
    """A model of Triton's: its folder, and the configuration in it, if there is one."""
    config = config or folder / CONFIG_NAME
    source = str(config)
    read = Imported(str(folder))
    if config.exists():
        read = with_own(read_config(read_text(config), source), config, folder)
        read = _carded(read) if has_card(folder) else read
    place = named(folder)
    said: dict[str, Any] = {"name": place.name, "path": "."}
    origins = {key: str(folder) for key in said}
    whole = replace(read, keys={**said, **read.keys}, origins={**origins, **read.origins})
    return _placed(whole, place)


def _carded(read: Imported) -> Imported:
    """Without what a card in the model's folder says, or leaves to be found out."""
    keys, origins = (
        {key: value for key, value in one.items() if key in _NOT_CARDS}
        for one in (read.keys, read.origins)
    )
    notes = tuple(
        note
        if note.key in _NOT_CARDS or note.fate is Fate.UNKNOWN
        else replace(note, fate=Fate.NOT_NEEDED, key="", words=_CARDED)
        for note in read.notes
    )
    return replace(read, keys=keys, origins=origins, notes=notes, left_out=None)


def _placed(one: Imported, folder: Path) -> Imported:
    """Make its paths absolute; they were relative to that folder."""
    keys = dict(one.keys)
    for name in ("path", "labels"):
        text = keys.get(name)
        if isinstance(text, str) and not is_url(text):
            keys[name] = str(folder) if text == "." else str(folder / text)
    return replace(one, keys=keys)


def _twice(found: Iterable[Imported]) -> list[str]:
    """Name every two models of one name, and every second file for all models."""
    first: dict[str, Imported] = {}
    problems = []
    for one in found:
        name = "" if one.shared else str(one.keys.get("name", ""))
        if one.left_out or not (name or one.shared):
            continue
        other = first.setdefault(name, one)
        if other is not one:
            what = "batching for all models" if one.shared else f"a model {name!r}"
            problems.append(f"{one.source}: {what} is also in {other.source}; import one of them")
    return problems
