"""Class names that a ``config.pbtxt`` names: a file of the model's own, or none is taken.

Who writes a configuration need not be who runs the server: labels are in the answers, and would
give away any file. Links lead where they may for files of models: into the folder, or to where what
is in it really lies, as in a cache of Hugging Face or a mounted volume of Kubernetes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from headrace.importers.rules import Fate, Imported

OUTSIDE = "a file outside of the model's folder; move it there, or set `labels`"


def is_named_inside(file: str) -> bool:
    """Whether a name can be that of a file in the folder it is relative to."""
    leads_away = file.startswith(("/", "~")) or "://" in file or ".." in file.split("/")
    return file.isprintable() and not leads_away


def is_own(file: Path, homes: Iterable[Path]) -> bool:
    """Whether a file, its links followed, lies in one of the folders, theirs followed."""
    # Not `resolve`: of links in a ring it raises, depending on Python's version.
    real = Path(os.path.realpath(file))
    return any(real.is_relative_to(os.path.realpath(home)) for home in homes)


def with_own(read: Imported, config: Path, folder: Path) -> Imported:
    """Without its labels, where those are not the model's own; the note says so."""
    named = read.keys.get("labels")
    if named is None or is_own(folder / named, homes(config, folder)):
        return read
    keys, origins = (
        {key: value for key, value in one.items() if key != "labels"}
        for one in (read.keys, read.origins)
    )
    notes = tuple(
        replace(note, fate=Fate.NOT_MAPPED, key="", words=OUTSIDE) if note.key == "labels" else note
        for note in read.notes
    )
    return replace(read, keys=keys, origins=origins, notes=notes)


def homes(config: Path, *folders: Path) -> list[Path]:
    """Where what belongs to a model may lie: its folders, and where its configuration does."""
    return [*folders, Path(os.path.realpath(config)).parent]
