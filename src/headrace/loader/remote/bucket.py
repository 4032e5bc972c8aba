"""Buckets of object stores, whose listings tell everything at once (S3, Google Cloud Storage)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fsspec.asyn import sync
from fsspec.callbacks import Callback

from headrace.formats import SUFFIXES
from headrace.loader.remote.listing import RemoteFile, edition
from headrace.urls import Url

# So long may one listing take, however many files a bucket has.
_LISTING_S = 120.0


class Bucket:
    """A store in which folders are parts of names."""

    def __init__(self, system: Any, *, tries: int | None = None) -> None:
        self._system = system
        if tries is not None:  # s3fs reads it from the object
            system.retries = tries

    def files(self, url: Url) -> Iterator[RemoteFile]:
        """Every object whose name begins with that of the place."""
        above = url.place.rpartition("/")[0]
        return _told(self._listed(url), f"{above}/" if above else "", "")

    def inside(self, folder: str, name: str) -> Iterator[RemoteFile]:
        """Every object right below a name that objects have before theirs."""
        return _told(self._ls(folder), f"{folder}/", f"{name}/")

    def below(self, folder: str, name: str) -> Iterator[RemoteFile]:
        """Every object below it."""
        return _told(self._find(folder), f"{folder}/", f"{name}/")

    def _listed(self, url: Url) -> dict[str, Any]:
        place = url.place
        above, _, name = place.rpartition("/")
        if not (above and name.endswith(SUFFIXES)):
            return self._find(place)
        beside = self._ls(above)
        return beside if place in beside else self._find(place)

    def _ls(self, place: str) -> dict[str, Any]:
        rows = self._call(self._system._ls, place, detail=True)  # noqa: SLF001 - as below
        return {row["name"]: row for row in rows if row["type"] != "directory"}

    def _find(self, place: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call(self._system._find, place, detail=True)  # noqa: SLF001 - as below
        if not found:
            raise FileNotFoundError("nothing is there")
        return found

    def _call(self, coroutine: Any, *arguments: Any, **options: Any) -> Any:
        # fsspec's own way to give a call a limit: its plain functions take none.
        return sync(self._system.loop, coroutine, *arguments, timeout=_LISTING_S, **options)

    def whole(self, file: RemoteFile) -> RemoteFile:
        """Listings leave nothing out here."""
        return file

    def fetch(self, file: RemoteFile, to: Path, on_bytes: Callable[[int], None]) -> None:
        """Read an object to disk."""
        self._system.get_file(file.source, str(to), callback=Came(on_bytes))


def _told(rows: dict[str, Any], start: str, name: str) -> Iterator[RemoteFile]:
    """Objects, by names that begin with another one than what they are called."""
    for place, told in sorted(rows.items()):
        # A name with a slash at its end is what consoles write in place of an empty folder.
        if told.get("type") != "directory" and place.startswith(start) and not place.endswith("/"):
            inner = place.removeprefix(start)
            yield RemoteFile(name + inner, place, told.get("size"), edition(told))


class Came(Callback):  # type: ignore[misc] # fsspec has no types
    """Passes on how much has come."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        super().__init__()
        self._on_bytes = on_bytes

    def relative_update(self, inc: int = 1) -> None:
        """So many bytes more have come."""
        self._on_bytes(inc)
