"""When the files of a version change, as far as their names and status tell."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import ModelLoadError
from headrace.loader.places import SAVED_MODEL
from headrace.loader.store import FoundVersion
from headrace.loader.tokenizers import tokenizers
from headrace.weights import LEFT_BY_RUNS, weights_beside, weights_files

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Of each file: path, size in bytes, times of writing and of change in nanoseconds, inode."""

_USER_CODE = ".py"  # who knows what it reads
# More than any model has; a link to `/` has more.
_MOST_FILES = 100_000


def stamp(found: FoundVersion) -> Stamp:
    """What changes when the files of a version do; hidden files and logs are not of it.

    Of a versioned folder or a SavedModel every file counts; of a single file it, those named like
    it, and those that an ONNX file says its weights are in. So do the tokenizers of its card,
    wherever they lie.

    Raises:
        ModelLoadError: there are more files than a model has.
        OSError: a folder cannot be read.
    """
    inner = found.path.parent
    own = inner != found.folder or found.path.name == SAVED_MODEL
    lines: list[tuple[str, int, int, int, int]] = []
    left = () if found.path.suffix == _USER_CODE else LEFT_BY_RUNS
    files = _files_below(inner) if own else _files_of(found.path)
    named = map(str, tokenizers(found.settings.accepts))
    for file in dict.fromkeys(itertools.chain(files, named)):
        if file.endswith(left) or not os.path.isfile(file):  # noqa: PTH113 - there may be very many
            continue
        if len(lines) == _MOST_FILES:
            raise ModelLoadError(f"{inner}: has more than {_MOST_FILES} files")
        status = os.stat(file)  # noqa: PTH116 - there may be very many
        lines.append((file, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    return tuple(sorted(lines))


def own_bytes(found: FoundVersion, files: Stamp) -> int:
    """How much of these files is the model for certain: its own, and those of its weights.

    Others of its folder may be anything, such as a checkpoint that it was made from.
    """
    path = found.path
    own = {str(path)}
    with contextlib.suppress(OSError):  # who loads it says why it cannot be read
        own.update(map(str, weights_beside(path)))
    below = f"{path.parent}/variables/" if path.name == SAVED_MODEL else None
    return sum(
        size_bytes
        for file, size_bytes, *_ in files
        if file in own or (below is not None and file.startswith(below))
    )


def _files_of(path: Path) -> Iterator[str]:
    folder, start = path.parent, f"{path.stem}."
    named = {file.name for file in folder.iterdir() if file.name.startswith(start)}
    with contextlib.suppress(OSError):  # who loads it says why it cannot be read
        named.update(weights_files(path) or ())
    return (str(folder / name) for name in named)


def _files_below(folder: Path) -> Iterator[str]:
    """The files of a folder and of those in it, of linked ones too, each folder once."""
    seen: set[tuple[int, int]] = set()
    _is_new(str(folder), seen)
    for here, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and _is_new(os.path.join(here, name), seen)  # noqa: PTH118
        ]
        yield from (f"{here}/{name}" for name in files if not name.startswith("."))


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    status = os.stat(folder)  # noqa: PTH116 - there may be very many
    identity = status.st_dev, status.st_ino
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _raise(error: OSError) -> None:
    if not isinstance(error, PermissionError):  # what may not be read is read by nobody
        raise error
