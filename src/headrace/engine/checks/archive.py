"""PyTorch's archives: zip files that declare no more than there is, and nothing outside.

A library that unfolds what is compressed, or believes a size, would fill the memory.
"""

from __future__ import annotations

import mmap
import zipfile
from pathlib import Path, PurePosixPath

from headrace.errors import ModelLoadError

# Its tensors are stored as they are; what TorchScript compresses is code, a few megabytes of it.
_MOST_CODE_BYTES = 64 * 2**20
_MOST_FILES = 100_000


def look(data: bytes | mmap.mmap, path: Path) -> int:
    """Check an archive; return how many bytes it unfolds to.

    Raises:
        ModelLoadError: it cannot be served as it is.
    """
    members = _members(path)
    if len(members) > _MOST_FILES:
        raise ModelLoadError(f"is an archive of more than {_MOST_FILES} files, which no model is")
    for one in members:
        place = PurePosixPath(one.filename)
        if place.is_absolute() or ".." in place.parts:
            raise ModelLoadError(f"has a file in it that leads outside: {one.filename[:80]!r}")
    packed = [one for one in members if one.compress_type != zipfile.ZIP_STORED]
    unfolded = sum(one.file_size for one in packed)
    if unfolded > _MOST_CODE_BYTES:
        raise ModelLoadError(
            f"has compressed files in it that unfold to {unfolded} bytes: PyTorch stores weights "
            "uncompressed"
        )
    for one in members:
        if one.compress_type == zipfile.ZIP_STORED and one.file_size != one.compress_size:
            raise ModelLoadError(f"declares {one.filename[:80]!r} larger than it is stored")
    stored = sum(one.compress_size for one in members)
    if stored > len(data):
        raise ModelLoadError(f"declares {stored} bytes of files, and has {len(data)} itself")
    return stored - sum(one.compress_size for one in packed) + unfolded


def _members(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise ModelLoadError(f"is cut off or damaged: it is no whole archive: {error}") from error
