"""Samples that are files of their own: which class each is of, and the tensors they become."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headrace import media
from headrace.accepts import AcceptedInput
from headrace.errors import ClientError, ModelLoadError, SettingsError
from headrace.values import Array, Signature

TABLE = "labels.csv"
"""A file beside the samples: the name of each, and its class."""

_COLUMNS = 2

OTHERS = frozenset({".csv", ".yaml", ".yml", ".md"})
"""Suffixes of words of the model and not samples, wherever they lie."""


class Listed(NamedTuple):
    """One file, and the number of its class; None: nobody says."""

    path: Path
    label: int | None


def labelled_files(path: Path, files: Sequence[Path], classes: Sequence[str]) -> list[Listed]:
    """Find the class of each file, by ``labels.csv`` or by its folder.

    Raises:
        SettingsError: a class is none of the model's, or a file in the table is not there.
    """
    table = path / TABLE
    if table in files:
        named = _table(table)
    elif path.is_dir() and any(file.parent != path for file in files):
        named = [
            (file, file.relative_to(path).parts[0])
            for file in files
            if file.parent != path and file.suffix.lower() not in OTHERS
        ]
    else:
        return [Listed(file, None) for file in files if file.suffix.lower() not in OTHERS]
    numbers = _numbers(path, [name for _, name in named], classes)
    return [Listed(file, numbers[name]) for file, name in named]


def _table(table: Path) -> list[tuple[Path, str]]:
    """Read ``labels.csv``; a first line that names no file is a heading."""
    found: list[tuple[Path, str]] = []
    with table.open(encoding="utf-8-sig", newline="") as opened:
        try:
            for number, row in enumerate(csv.reader(opened)):
                if not row:
                    continue
                if len(row) < _COLUMNS:
                    raise SettingsError(f"{table}:{number + 1}: should be a file and its class")
                file = table.parent / row[0].strip()
                if not file.is_file():
                    if number == 0:
                        continue
                    raise SettingsError(f"{table}:{number + 1}: there is no file {row[0].strip()}")
                found.append((file, row[1].strip()))
        except (csv.Error, UnicodeDecodeError) as error:
            raise SettingsError(f"{table}: {error}") from error
    return found


def _numbers(path: Path, names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """The number of each class that is named: as written, by the model's names, or by the order."""
    different = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in different):
        return {name: int(name) for name in different}
    if not classes:
        return {name: number for number, name in enumerate(different)}
    known = {name: number for number, name in enumerate(classes)}
    strangers = [name for name in different if name not in known]
    if strangers:
        raise SettingsError(
            f"--data {path}: {strangers[0]!r} is none of the model's classes (`labels` of its "
            f"card: {', '.join(classes[:4])}, ...): call it so, or by its number"
        )
    return {name: known[name] for name in different}


def read_files(
    files: Sequence[Path], signature: Signature, accepts: Sequence[AcceptedInput]
) -> Mapping[str, Array]:
    """Make tensors of files as the model's card says, samples on axis 0.

    Raises:
        SettingsError: the card says nothing of such files, the model wants more than they give, or
            one cannot be read.
        BackendMissing: a library that reads them is not installed.
    """
    try:
        found = media.build(signature, accepts)
    except ModelLoadError as error:
        raise SettingsError(error.message) from error
    medium = found[0]
    missing = [spec.name for spec in signature.inputs if spec.name not in medium.feeds]
    if missing:
        raise SettingsError(
            f"--data: a file is only {', '.join(medium.feeds)} of the model's inputs, and it wants "
            f"{', '.join(missing)} too: give .npz files"
        )
    read = [_one(file, medium) for file in files]
    try:
        if signature.batched:
            return medium.gather(read)
        parts = [medium.gather([one]) for one in read]
        return {name: np.stack([part[name] for part in parts]) for name in medium.feeds}
    except (ClientError, ValueError) as error:
        raise SettingsError(
            f"--data: the files do not become samples of one shape: {error}; give files that do, "
            "or name one for the input under `warm_shapes` in the card"
        ) from error


def _one(file: Path, medium: media.Medium) -> Any:
    try:
        return medium.read(file.read_bytes())
    except ClientError as error:
        raise SettingsError(f"--data {file}: {error.message}") from error
