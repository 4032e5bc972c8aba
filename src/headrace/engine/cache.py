"""What a load found out, kept for the next start: the compiled model and what warm-up measured.

A file an entry, named by everything that what is in it depends on: the model's files, settings,
libraries and processor. An entry that is cut off, damaged or not ours counts as none. The folder is
its owner's alone, for a compiled model is nearly a program.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.device import CPU
from headrace.engine_control import Measurement, SignatureMessage
from headrace.fingerprint import fingerprint
from headrace.ownership import FOREIGN, is_ours
from headrace.settings import ModelSettings
from headrace.values import Array
from headrace.weights import has_own_folder, stamp, weights_files

_log = structlog.get_logger("headrace.engine")

_MAGIC = b"headrace"
_HEAD = struct.Struct("<8sQQI")  # magic, size of the record, size of the blob, their CRC 32
_PAGE = 4096  # where the blob starts, and so may be mapped
# Together; the entries that nobody has used for longest go.
_LIMIT_BYTES = 4 * 2**30
# Of one file and one choice of settings: a file that is written anew leaves the entry of what it
# was. More than one, for containers that share a folder may call different files the same.
_EDITIONS = 4
_OURSELVES = Path(__file__).parent  # another warm-up may find something else
_ENTRY, _PART = ".entry", ".part"
_BETWEEN = "-"  # an entry's name: what it is of, and which edition of that
_USER_CODE = ".py"
_NVIDIA = Path("/proc/driver/nvidia")
_TUNED_CARD = "tuned.yaml"  # whose settings are in the key anyhow
# Settings that change neither the compiled model nor what warm-up finds.
_APART = frozenset(
    {
        "path",
        "name",
        "nice",
        "weight",
        "max_queue",
        "linger_ms",
        "control",
        "version_labels",
        "labels",
        "results",
        "accepts",
        "pad_values",
        "cache",
        "verify",
    }
)


class Record(BaseModel):
    """What choosing a backend and warming up found out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    reason: str
    signature: SignatureMessage
    batch_sizes: tuple[int, ...]
    measurements: tuple[Measurement, ...]
    output_bytes: int
    shapes: tuple[dict[str, tuple[int, ...]], ...]
    fill: int = 1
    alone: str = ""
    cut_off: bool = False


class Kept(NamedTuple):
    """An entry: the record, and the compiled model where its backend gives it away."""

    record: Record
    blob: Array | None


class Cache:
    """The entry of one model; with None for a folder nothing is kept."""

    def __init__(self, folder: Path | None, path: Path, settings: ModelSettings) -> None:
        self._folder = folder
        self._path = path
        self._settings = settings

    def key(self, by: Collection[str] | None = None) -> str | None:
        """Name everything that an entry depends on, as it is now; None when nothing is kept.

        ``by`` names the only settings that count, of what fewer things depend on.
        """
        if self._folder is None or not self._settings.cache:
            return None
        try:
            return _key(self._path, self._settings, by)
        except OSError:  # the model is being changed: loading it will tell
            return None

    def read(self) -> Kept | None:
        """The entry, or None when there is none that can be used."""
        file = self._file(self.key())
        if file is None:
            return None
        try:
            kept = _parse(_mapped(file))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, struct.error, ValidationError) as error:
            _log.warning("cache_entry_ignored", file=str(file), reason=str(error)[:200])
            return None
        with contextlib.suppress(OSError):  # a disk that is only read
            os.utime(file)
        return kept

    def write(self, key: str, record: Record, blob: bytes | memoryview = b"") -> None:
        """Keep an entry of what had this key before it was loaded, if it has it still.

        What goes wrong is logged, and nothing more.
        """
        file = self._file(self.key())
        if file is None or key != file.stem or len(blob) > _LIMIT_BYTES // 2:
            return
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _put(file, record.model_dump_json().encode(), blob)
            _outdate(file)
            _prune(file.parent)
        except OSError as error:
            _log.warning("cache_not_written", file=str(file), reason=str(error))

    def _file(self, key: str | None) -> Path | None:
        if self._folder is None or key is None:
            return None
        return self._folder / "engines" / f"{key}{_ENTRY}"


def _key(path: Path, settings: ModelSettings, by: Collection[str] | None) -> str | None:
    if path.suffix == _USER_CODE:
        return None  # who knows what it reads
    files = _files(path)
    if files is None:
        return None
    dump = settings.model_dump(mode="json")
    edition = [(str(f), *stamp(f)) for f in sorted(files)]
    place = [
        str(path.absolute()),
        {
            key: value
            for key, value in dump.items()
            if (key not in _APART if by is None else key in by)
        },
        fingerprint().libraries,
        [(f.name, *stamp(f)) for f in sorted(_OURSELVES.rglob("*.py"))],
        _processor(),
        [] if settings.device == CPU else _gpus(),
        len(os.sched_getaffinity(0)),
    ]
    return f"{_digest(place)}{_BETWEEN}{_digest(edition)}"


def _digest(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _files(path: Path) -> set[Path] | None:
    """The files of a model; None when there may be others that are not found here."""
    # A version's folder, or a SavedModel: what is in it is the model.
    if has_own_folder(path):
        inside = list(path.parent.rglob("*"))
        if any(one.is_symlink() and one.is_dir() for one in inside):
            return None
    else:
        inside = list(path.parent.glob(f"{glob.escape(path.stem)}.*"))
        named = weights_files(path)
        if named is None:
            return None
        inside += [path.parent / name for name in named]
    return {path, *(one for one in inside if one.is_file() and not one.name.endswith(_TUNED_CARD))}


def _processor() -> str:
    """The first processor's name and abilities."""
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        return "\n".join(
            text for text in first.split("\n") if text.startswith(("model name", "flags", "Feat"))
        )
    return ""


def _gpus() -> list[str]:
    """The kinds of GPUs, and their driver."""
    found = []
    with contextlib.suppress(OSError):
        found.append((_NVIDIA / "version").read_text(encoding="utf-8"))
        for one in sorted((_NVIDIA / "gpus").glob("*/information")):
            found += [t for t in one.read_text(encoding="utf-8").splitlines() if "Model" in t]
    return found


def _mapped(file: Path) -> Array:
    """Map an entry into memory, which nobody else may have written.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not a file of ours alone.
    """
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
        for status in (os.fstat(opened.fileno()), file.parent.stat()):
            if not is_ours(status):
                raise ValueError(FOREIGN)
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("it is no file")
        return np.memmap(opened, np.uint8, "r")


def _parse(data: Array) -> Kept:
    """Read an entry.

    Raises:
        ValueError: it is cut off, damaged or not ours.
    """
    magic, record_bytes, blob_bytes, crc = _HEAD.unpack(data[: _HEAD.size].tobytes())
    start = _blob_start(record_bytes)
    if magic != _MAGIC or len(data) != start + blob_bytes:
        raise ValueError("it is cut off, or not an entry")
    record = data[_HEAD.size : _HEAD.size + record_bytes].tobytes()
    blob = data[start:]
    if zlib.crc32(blob.data, zlib.crc32(record)) != crc:
        raise ValueError("it is damaged")
    return Kept(Record.model_validate_json(record), blob if blob_bytes else None)


def _blob_start(record_bytes: int) -> int:
    return -(-(_HEAD.size + record_bytes) // _PAGE) * _PAGE


def _put(file: Path, record: bytes, blob: bytes | memoryview) -> None:
    """Write an entry whole or not at all, for another server may read it now."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, suffix=_PART)
    try:
        with os.fdopen(descriptor, "wb") as out:
            crc = zlib.crc32(blob, zlib.crc32(record))
            out.write(_HEAD.pack(_MAGIC, len(record), len(blob), crc) + record)
            out.write(bytes(_blob_start(len(record)) - out.tell()))
            out.write(blob)
        Path(temporary).replace(file)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _outdate(file: Path) -> None:
    """Remove the editions of an entry used longest ago."""
    place = file.stem.partition(_BETWEEN)[0]
    same = [one for one in _entries(file.parent) if one[2].stem.startswith(place + _BETWEEN)]
    for _, _, old in sorted(same, reverse=True)[_EDITIONS:]:
        old.unlink(missing_ok=True)


def _prune(folder: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
    """Remove the entries used longest ago until the rest fits."""
    room = limit_bytes
    for _, size_bytes, file in sorted(_entries(folder), reverse=True):
        room -= size_bytes
        if room < 0:
            file.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterator[tuple[int, int, Path]]:
    for file in folder.iterdir():
        if file.suffix not in {_ENTRY, _PART}:
            continue  # somebody else's
        with contextlib.suppress(FileNotFoundError):  # another server has removed it
            status = file.stat()
            yield status.st_mtime_ns, status.st_size, file
