"""Copies of what was fetched, kept from one start to the next: each whole, or not there.

A folder a copy, named by the place, the names and the editions of what is in it, so that one that
is unchanged is not fetched again. A part is fetched into a folder of another name, which is renamed
when everything has come. Whoever uses a copy holds a lock on a file in it, which ends with its
process: what nobody holds may be removed, by any server that shares the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from headrace.errors import ModelLoadError
from headrace.loader.remote import locks
from headrace.loader.remote.chosen import Part
from headrace.ownership import is_ours
from headrace.urls import Url

_UNFINISHED = ".part-"
_LOCKED_BY_S = 60.0
"""A folder that is so old without a lock gets none any more."""
# What a disk must have left when everything has come: engines and logs write too.
_LEFT_BYTES = 256 * 2**20


class Copies:
    """The copies in a folder that is its owner's alone; for threads of one process.

    Of those that nobody uses any more so many bytes are kept. Users are called as they like.
    """

    def __init__(self, folder: Path, kept_bytes: float) -> None:
        self.folder = folder
        self._kept_bytes = kept_bytes
        self._guard = threading.Lock()
        self._held: dict[str, int] = {}  # descriptors of the locks, by the names of copies
        self._users: dict[str, set[str]] = {}
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._is_tidy = False

    def turn(self, url: Url, part: Part) -> threading.Lock:
        """What is held while a copy is looked for and made: it is fetched once for all users."""
        with self._guard:
            return self._turns[_name(url, part)]

    def find(self, url: Url, part: Part, user: str) -> Path | None:
        """The copy of a part, for a user from now on; None when there is none that is whole."""
        name = _name(url, part)
        folder = self.folder / name
        with self._guard:
            if name not in self._held:
                lock = locks.share(folder)
                if lock is None:
                    return None
                self._held[name] = lock
            if not _is_whole(folder, part):
                os.close(self._held.pop(name))
                return None
            self._users.setdefault(user, set()).add(name)
        os.utime(folder)  # it has been used
        return folder

    def make(self, url: Url, part: Part, user: str, fetch: Callable[[Path], None]) -> Path:
        """Make the copy of a part; ``fetch`` fills a folder with its files.

        Raises:
            ModelLoadError: there is no room for it, or it is not what the store had listed.
            OSError: it cannot be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_ours(self.folder)
        self._make_room(url, part)
        name = _name(url, part)
        with self._unfinished() as (folder, lock):
            fetch(folder)
            if not _is_whole(folder, part):
                raise ModelLoadError(f"{url}: {part.folder} has changed while it was fetched")
            if not _is_whole(self.folder / name, part):
                self._remove(self.folder / name)  # somebody has damaged it
            with contextlib.suppress(OSError), self._guard:  # another server was faster
                folder.rename(self.folder / name)
                self._held[name] = os.dup(lock)
                locks.relax(lock)
        self._is_tidy = False
        found = self.find(url, part, user)
        if found is None:
            raise ModelLoadError(f"{self.folder / name}: is damaged; remove it")
        return found

    def use(self, user: str, copies: Iterable[Path]) -> None:
        """Let a user use these and no others."""
        with self._guard:
            self._users[user] = {copy.name for copy in copies}

    def tidy(self, served: Iterable[Path]) -> None:
        """Let go of what neither a user uses nor one of these files is in, and keep less of it."""
        with self._guard:
            used = set().union(*self._users.values())
            used |= {self._copy_of(path) for path in served}
            for name in self._held.keys() - used:
                os.close(self._held.pop(name))
                self._is_tidy = False
        if not self._is_tidy:
            self._is_tidy = True
            self._remove_unused(self._kept_bytes)

    def _copy_of(self, path: Path) -> str:
        inside = path.is_relative_to(self.folder) and path != self.folder
        return path.relative_to(self.folder).parts[0] if inside else ""

    def _make_room(self, url: Url, part: Part) -> None:
        if part.size_bytes > self._free_bytes():
            self._remove_unused(0)
        free_bytes = self._free_bytes()
        if part.size_bytes > free_bytes:
            raise ModelLoadError(
                f"{url}: {part.folder} has {part.size_bytes / 2**20:.0f} MiB, but "
                f"{self.folder} has room for {max(0, free_bytes) / 2**20:.0f}; make room there or "
                "set server.cache_dir to another disk"
            )

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free - _LEFT_BYTES

    def _remove_unused(self, kept_bytes: float) -> None:
        """Remove what is unfinished, and the copies used longest ago; of nobody's that lives."""
        copies = []
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            with locks.alone(folder) as is_nobodys:
                if folder.name.startswith(_UNFINISHED) and (is_nobodys or _is_left(folder)):
                    shutil.rmtree(folder, ignore_errors=True)
                elif is_nobodys:
                    copies.append((folder.stat().st_mtime_ns, _size_bytes(folder), folder))
        for _, size_bytes, folder in sorted(copies, reverse=True):
            kept_bytes -= size_bytes
            with locks.alone(folder) as is_nobodys:
                if kept_bytes < 0 and is_nobodys:
                    self._remove(folder)

    @contextlib.contextmanager
    def _unfinished(self) -> Iterator[tuple[Path, int]]:
        """A folder for what is being fetched, locked; gone in the end unless it was renamed."""
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        lock = locks.make(folder)
        try:
            yield folder, lock
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def _remove(self, copy: Path) -> None:
        """Remove a copy: at no moment is half of it there."""
        with self._unfinished() as (aside, _), contextlib.suppress(OSError):  # there is none
            copy.rename(aside / copy.name)


def _name(url: Url, part: Part) -> str:
    """The name of a copy: the same by whatever URL above it a part was found."""
    place = f"{url.rpartition('/')[0]}/{part.folder}"
    said = [place, [(f.name, f.size_bytes, f.edition) for f in part.files]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:40]


def _is_left(folder: Path) -> bool:
    """Whether a server ended before it had locked an unfinished folder, or as it removed it."""
    try:
        return not locks.is_in(folder) and time.time() - folder.stat().st_mtime > _LOCKED_BY_S
    except OSError:  # it has just gone
        return False


def _size_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


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
    if not is_ours(folder.stat()):
        raise ModelLoadError(f"{folder}: others may write there; keep it to this user alone")
