"""Copies of what was fetched, kept from one start to the next: each whole, or not there.

A folder a copy, named by the URL, the names and the editions of what is in it, so that one that is
unchanged is not fetched again. A part is fetched into a folder of another name, which is renamed
when everything has come. Whoever uses a copy holds a lock on a file in it, which ends with its
process: what nobody holds may be removed, by any server that shares the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace.errors import ModelLoadError
from headrace.loader.remote.chosen import Part
from headrace.urls import Url

_LOCK = ".lock"
_UNFINISHED = ".part-"
# What a disk must have left when everything has come: engines and logs write too.
_LEFT_BYTES = 256 * 2**20


class Copies:
    """The copies in a folder that is its owner's alone; for threads of one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, int] = {}  # descriptors of the locks, by the names of copies

    def find(self, url: Url, part: Part) -> Path | None:
        """The copy of a part, held from now on; None when there is none that is whole."""
        name = _name(url, part)
        folder = self.folder / name
        if name not in self._held:
            lock = _hold(folder)
            if lock is None:
                return None
            self._held[name] = lock
        if not _is_whole(folder, part):
            self._drop(name)
            return None
        os.utime(folder)  # it has been used
        return folder

    def make(self, url: Url, part: Part, fetch: Callable[[Path], None]) -> Path:
        """Make the copy of a part; ``fetch`` fills a folder with its files.

        Raises:
            ModelLoadError: there is no room for it, or it is not what the store had listed.
            OSError: it cannot be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_ours(self.folder)
        self._check_room(url, part)
        with self._unfinished() as (folder, lock):
            fetch(folder)
            if not _is_whole(folder, part):
                raise ModelLoadError(f"{url}: {part.folder} has changed while it was fetched")
            name = _name(url, part)
            if not _is_whole(self.folder / name, part):
                self._remove(self.folder / name)  # somebody has damaged it
            with contextlib.suppress(OSError):  # another server was faster
                folder.rename(self.folder / name)
                self._held[name] = os.dup(lock)
                fcntl.flock(lock, fcntl.LOCK_SH)
        found = self.find(url, part)
        if found is None:
            raise ModelLoadError(f"{self.folder / name}: is damaged; remove it")
        return found

    def _check_room(self, url: Url, part: Part) -> None:
        free_bytes = shutil.disk_usage(self.folder).free - _LEFT_BYTES
        if part.size_bytes > free_bytes:
            raise ModelLoadError(
                f"{url}: {part.folder} has {part.size_bytes / 2**20:.0f} MiB, but "
                f"{self.folder} has room for {max(0, free_bytes) / 2**20:.0f}; make room there or "
                "set server.cache_dir to another disk"
            )

    @contextlib.contextmanager
    def _unfinished(self) -> Iterator[tuple[Path, int]]:
        """A folder for what is being fetched, locked; gone in the end unless it was renamed."""
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder, lock
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def _remove(self, copy: Path) -> None:
        """Remove a copy: at no moment is half of it there."""
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        with contextlib.suppress(OSError):  # there is none
            copy.rename(aside / copy.name)
        shutil.rmtree(aside, ignore_errors=True)

    def _drop(self, name: str) -> None:
        os.close(self._held.pop(name))


def _name(url: Url, part: Part) -> str:
    said = [url, part.folder, [(f.name, f.size_bytes, f.edition) for f in part.files]]
    return hashlib.sha256(json.dumps(said).encode(errors="surrogatepass")).hexdigest()[:40]


def _hold(folder: Path) -> int | None:
    """Lock a copy as one of those who use it; None when there is none, or it is being removed."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if (folder / _LOCK).stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except OSError:  # somebody removes it, or has
        pass
    os.close(lock)
    return None


def _is_whole(folder: Path, part: Part) -> bool:
    """Whether every file is there, ours, and as long as the store says."""
    try:
        _check_ours(folder)
        return all(
            file.size_bytes in {None, (folder / file.name).stat().st_size} for file in part.files
        )
    except (OSError, ModelLoadError):
        return False


def _check_ours(folder: Path) -> None:
    """A model may be a program: nobody else may have written it.

    Raises:
        ModelLoadError: others may have.
        OSError: it is not there.
    """
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ModelLoadError(f"{folder}: others may write there; keep it to this user alone")
