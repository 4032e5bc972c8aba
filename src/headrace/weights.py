"""The files that lie with a model file: whose folder it is, and what its weights lie in.

And what tells that a file was changed.
"""

from __future__ import annotations

import contextlib
import errno
from functools import lru_cache
from pathlib import Path

from headrace.formats import SUFFIXES, onnx_

_ONNX, _IR, _IR_WEIGHTS = ".onnx", ".xml", ".bin"
_SAVED_MODEL = ".pb"
# Beside a model it is what that was made of, and scripts lie anywhere.
_NO_OTHER = frozenset({".pt", ".py"})
_USER_CODE = "model.py"  # the rest is what it reads, another model perhaps
LEFT_BY_RUNS = (".log", ".prof", ".tmp")
"""Suffixes of what runs of a model leave beside it, and nobody reads to serve it."""

# Of so many files it is kept what they say: those who watch a folder ask every second.
_KEPT = 1024


def has_own_folder(path: Path) -> bool:
    """Whether all of its folder is the model: a version's, or a SavedModel's.

    A folder with a number for its name that holds several models is no version.
    """
    if path.suffix == _SAVED_MODEL or not _is_number(path.parent.name):
        return path.suffix == _SAVED_MODEL
    if path.name == _USER_CODE:
        return True
    others = {*SUFFIXES} - _NO_OTHER | {path.suffix}
    with contextlib.suppress(OSError):  # who reads the model will tell
        return not any(
            one.suffix in others and one.name != path.name and not one.name.startswith(".")
            for one in path.parent.iterdir()
        )
    return True


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def weights_beside(path: Path) -> frozenset[Path]:
    """The files that its weights lie in, of those that can be told; they need not be there.

    Raises:
        OSError: it cannot be read.
    """
    if path.suffix == _IR:
        return frozenset({path.with_suffix(_IR_WEIGHTS)})
    return frozenset(path.parent / name for name in weights_files(path) or ())


def weights_files(path: Path) -> frozenset[str] | None:
    """The names that an ONNX file says, of another none; None where one cannot be told.

    A file is read once, until its status changes.

    Raises:
        OSError: it cannot be read, or changes meanwhile.
    """
    if path.suffix != _ONNX:
        return frozenset()
    return _read(path, stamp(path))


@lru_cache(_KEPT)
def _read(path: Path, seen: tuple[int, ...]) -> frozenset[str] | None:
    with path.open("rb") as file:
        names = onnx_.weights_files(file)
    if stamp(path) != seen:
        raise OSError(errno.EBUSY, "is written to as it is read", str(path))
    return names


def stamp(file: Path) -> tuple[int, ...]:
    """What tells that a file was changed: also one whose time of writing was set back.

    Raises:
        OSError: it cannot be looked at.
    """
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
