"""Who uses a folder, among processes that share a disk: a lock on a file in it.

A lock ends with its process, however that ends. Descriptors are the caller's to close.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_NAME = ".lock"


def make(folder: Path) -> int:
    """Lock a new folder, for us alone."""
    lock = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def is_in(folder: Path) -> bool:
    """Whether a folder has a lock, whoever holds it."""
    return (folder / _NAME).exists()


def relax(lock: int) -> None:
    """Let others use the folder too."""
    fcntl.flock(lock, fcntl.LOCK_SH)


def share(folder: Path) -> int | None:
    """Lock a folder as one of those who use it; None: there is none, or it is being removed."""
    return _lock(folder, fcntl.LOCK_SH)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether nobody uses a folder, which then nobody does inside the context either."""
    lock = _lock(folder, fcntl.LOCK_EX)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, kind: int) -> int | None:
    try:
        lock = os.open(folder / _NAME, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
        # The folder may have been removed, and another put in its place, since it was opened.
        if (folder / _NAME).stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except OSError:
        pass
    os.close(lock)
    return None
