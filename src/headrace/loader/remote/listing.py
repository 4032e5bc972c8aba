"""What a store says is there: files, by name; pure.

Names are relative to the folder that the place itself lies in, so that the first part of each is
the last one of its URL: ``models/resnet/1/model.onnx`` of ``s3://bucket/models``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from headrace.errors import ModelLoadError
from headrace.urls import Url

MOST_FILES = 100_000
"""More than any repository has of those that are served; a whole bucket may have more."""

# What a listing calls that which changes with the content, and the second best.
_EDITIONS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest")
_TIMES = ("LastModified", "updated", "Last-Modified", "mtime")
_LONGEST_NAME_BYTES = 255  # what file systems take


class RemoteFile(NamedTuple):
    """One file there.

    ``source`` is what the store calls it. ``edition`` is another whenever what is in it is: its
    etag, or when it was written. Where a listing does not tell, that is empty and the size None.
    """

    name: str
    source: str
    size_bytes: int | None = None
    edition: str = ""


def edition(told: Mapping[str, Any]) -> str:
    """What in a listing's row changes with the content of the file."""
    for name in (*_EDITIONS, *_TIMES):
        if told.get(name):
            return f"{name}:{told[name]}"
    return ""


def check(url: Url, files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Take what a store lists, without hidden files, sorted by name.

    Raises:
        ModelLoadError: a name leads to another place on this machine, or they are too many.
    """
    found = []
    for file in files:
        parts = file.name.split("/")
        if any(_leads_away(part) for part in parts):
            raise ModelLoadError(
                f"{url}: has a file {file.name!r}, whose name cannot be one on this machine; "
                "rename or remove it"
            )
        if not any(part.startswith(".") for part in parts):
            found.append(file)
        if len(found) > MOST_FILES:
            raise ModelLoadError(
                f"{url}: has more than {MOST_FILES} files; name a place in it that has models only"
            )
    return tuple(sorted(found))


def _leads_away(part: str) -> bool:
    return (
        part in {"", ".", ".."}
        or "/" in part
        or "\0" in part
        or len(part.encode(errors="surrogatepass")) > _LONGEST_NAME_BYTES
    )
