"""The folder of a run: its sockets, and what else is to be gone when it ends.

Whoever is killed leaves one behind, and the next to start removes it. It is ours by its owner and
its name, and nobody's when nobody has its lock, which ends with its process: on this machine, for
on a disk that several share not every lock is seen by all.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import StartError
from headrace.loader.remote import locks

_PREFIX = "headrace-"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
# Another for every start of the system, and the same in all of its containers.
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_BOOTED = "boot"
# One is made first and locked then; it takes no second.
_YOUNG_S = 60.0


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """Make one that is gone after the context; those that are left of others go now.

    Raises:
        StartError: there is no folder where it can be made.
    """
    try:
        sweep(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        raise StartError(
            f"the server's sockets have no place: {error.strerror}; set TMPDIR to a folder that "
            "can be written (in a container with --read-only: --tmpfs /tmp)"
        ) from error
    try:
        with _held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(place: Path) -> None:
    """Remove what runs have left here that were killed; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        for folder in [one for one in place.iterdir() if _NAME.fullmatch(one.name)]:
            with locks.alone(folder) as nobodys:
                if nobodys and _is_left(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether a folder whose lock nobody has is one of a run of ours that has ended here."""
    try:
        status = folder.lstat()
        booted = (folder / _BOOTED).read_text()
        return (
            stat.S_ISDIR(status.st_mode)
            and status.st_uid == os.geteuid()
            and time.time() - status.st_mtime > _YOUNG_S
            and booted == _BOOT.read_text()
        )
    except OSError:
        return False


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; where there are no locks, or no starts, it is never removed."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.callback(os.close, locks.make(folder))
            (folder / _BOOTED).write_text(_BOOT.read_text())
        yield
