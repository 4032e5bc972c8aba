"""What a model says of itself: ``card.yaml`` or ``config.pbtxt`` beside it; class names."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pydantic import ValidationError

from headrace.documents import Key, anchor_paths, read
from headrace.errors import ModelLoadError, SettingsError
from headrace.importers.folders import CARD_NAME, has_card
from headrace.importers.gather import read_text
from headrace.importers.labels import OUTSIDE, homes, is_own
from headrace.importers.rules import Fate
from headrace.importers.triton import CONFIG_NAME, ModelFile, read_config, read_model_file
from headrace.loader.regular import check_regular
from headrace.problems import explain
from headrace.settings import Card, ModelSettings

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

# Which model it is, and which of its versions there are, is not for a file in its folder to say.
_NOT_ITS_OWN = ("name", "versions")
# How many parsed cards are kept; where there are more, each is parsed whenever it is asked for.
KEPT = 4096
# Every English word there is takes less.
_MOST_OF_LABELS = 16 * 2**20
_TICK_NS = 2 * 10**9  # the coarsest there is, that of FAT

Status = tuple[int, ...]
Parsed = TypeVar("Parsed")


class Said(NamedTuple):
    """What a model says of itself.

    From a ``config.pbtxt`` that is ``ModelSettings``, for it speaks of the machine too, and
    ``remarks`` name what could not be mapped, and what to do.
    """

    card: Card
    remarks: tuple[str, ...] = ()


def read_said(version: Path, model: Path) -> Said:
    """Read what lies beside a version: ``card.yaml``, else the ``config.pbtxt`` of its model.

    ``version`` is the folder of the model file, ``model`` the one of its version folders. Where
    these are the same there are no version folders, and other models may lie beside it. Of a
    SavedModel in a folder of its own (``1/model.savedmodel/``) the version folder is between them.

    Raises:
        SettingsError: names every bad key with its file and line.
    """
    between = version.parents if version.is_relative_to(model) else (model,)
    folders = (version, *(one for one in between if one.is_relative_to(model)))
    carded = any((folder / CARD_NAME).exists() for folder in folders)
    configured = None if carded or version == model else read_configured(model)
    return _with_own_labels(configured, version, model) if configured else Said(read_card(*folders))


def _with_own_labels(said: Said, version: Path, model: Path) -> Said:
    """Look at each time: links can change when the configuration does not."""
    card, config = said.card, model / CONFIG_NAME
    labels = card.labels
    if not isinstance(labels, Path) or is_own(labels, homes(config, model, version)):
        return said
    keys = {key: getattr(card, key) for key in card.model_fields_set - {"labels"}}
    remark = f"{config}: output.label_filename: {Fate.NOT_MAPPED}: {OUTSIDE}"
    return Said(ModelSettings.model_validate(keys), (*said.remarks, remark))


def read_card(*folders: Path) -> Card:
    """Read ``card.yaml`` from the first of the folders that has one; an empty card if none has.

    A labels file is relative to the card.

    Raises:
        SettingsError: names every bad key with its file and line.
    """
    path = next((folder / CARD_NAME for folder in folders if (folder / CARD_NAME).exists()), None)
    if path is None:
        return Card()
    return unless_kept(_parse_card, path)


@lru_cache(KEPT)
def _parse_card(path: Path, _status: Status) -> Card:
    document = read(path)
    anchor_paths(document.data, path)
    try:
        return Card.model_validate(document.data)
    except ValidationError as error:
        problems = explain(error, Card, document.data, document.origins)
        raise SettingsError("\n".join(problems)) from error


def read_configured(folder: Path) -> Said | None:
    """Read ``config.pbtxt`` of a model's folder; None: there is none.

    Labels are relative to that folder.

    Raises:
        SettingsError: it cannot be read; with its file and line.
    """
    path = folder / CONFIG_NAME
    if not path.exists():
        return None
    return unless_kept(_parse_configured, path)


@lru_cache(KEPT)
def _parse_configured(path: Path, _status: Status) -> Said:
    folder = path.parent
    read = read_config(read_text(path), str(path))
    keys = {key: value for key, value in read.keys.items() if key not in _NOT_ITS_OWN}
    remarks = [
        f"{note.place}: {note.field}: {note.fate}: {note.words}"
        for note in read.notes
        if note.fate in {Fate.NOT_MAPPED, Fate.UNKNOWN}
    ]
    if read.keys.get("name", folder.name) != folder.name:
        remarks.append(f"{read.origins['name']}: the model is called {folder.name!r} here")
    if "versions" in read.keys:
        remarks.append(
            f"{read.origins['versions']}: which versions are served is said by `versions` of the "
            "model's entry in the settings"
        )
    anchor_paths(keys, path)
    try:
        return Said(ModelSettings.model_validate(keys), tuple(remarks))
    except ValidationError as error:
        origins: dict[Key, str] = {
            (key,): origin.partition(" ")[0] for key, origin in read.origins.items()
        }
        raise SettingsError("\n".join(explain(error, ModelSettings, keys, origins))) from error


def unless_kept(parse: _lru_cache_wrapper[Parsed], path: Path) -> Parsed:
    """Parse a file that has changed since; who watches asks for the same ones every second.

    Raises:
        SettingsError: it is no regular file.
        OSError: it has gone.
    """
    _refuse_irregular(path)
    status = path.stat()
    # What was written this moment may be written again before the clock of its file system ticks.
    fresh = time.time_ns() - status.st_ctime_ns < _TICK_NS
    read = parse.__wrapped__ if fresh else parse
    return read(
        path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    )


def why_left_out(folder: Path) -> str | None:
    """Why a model cannot be served here, by the ``config.pbtxt`` of its folder; None: it can.

    A card takes the place of that, and what cannot be read is ``read_said``'s to name.
    """
    path = folder / CONFIG_NAME
    if not path.exists() or has_card(folder):
        return None
    try:
        return unless_kept(_parse_left_out, path)
    except SettingsError:
        return None


@lru_cache(KEPT)
def _parse_left_out(path: Path, _status: Status) -> str | None:
    return read_config(read_text(path), str(path)).left_out


def model_file(folder: Path) -> ModelFile:
    """What ``config.pbtxt`` of a model's folder says of the model file of each version.

    Raises:
        SettingsError: it cannot be read, and no card takes its place; with its file and line.
    """
    path = folder / CONFIG_NAME
    if not path.exists():
        return ModelFile()
    try:
        return unless_kept(_parse_model_file, path)
    except SettingsError:
        if has_card(folder):
            return ModelFile()
        raise


@lru_cache(KEPT)
def _parse_model_file(path: Path, _status: Status) -> ModelFile:
    return read_model_file(read_text(path), str(path))


def _refuse_irregular(path: Path) -> None:
    # Here, not where it is read: on a command line a pipe may well be named.
    try:
        check_regular(path)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def read_labels(labels: tuple[str, ...] | Path | None) -> tuple[str, ...]:
    """Return class names: as given, or the lines of a text file; line 1 names class 0.

    Empty lines at the end do not count; others do, for the place of a line is its class.

    Raises:
        ModelLoadError: the file cannot be read, or is empty.
    """
    if labels is None:
        return ()
    if not isinstance(labels, Path):
        return labels
    try:
        check_regular(labels)
        with labels.open(encoding="utf-8-sig") as file:
            text = file.read(_MOST_OF_LABELS + 1)
    except OSError as error:
        raise ModelLoadError(f"labels file {labels}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelLoadError(f"labels file {labels}: is not UTF-8 text") from error
    except ValueError as error:  # a zero byte, which only an order over the wire can have
        raise ModelLoadError(f"labels file {str(labels)!r}: is no path") from error
    if len(text) > _MOST_OF_LABELS:
        raise ModelLoadError(
            f"labels file {labels}: is longer than {_MOST_OF_LABELS} letters; no list of classes is"
        )
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise ModelLoadError(f"labels file {labels}: is empty; it should name a class a line")
    return tuple(lines)
