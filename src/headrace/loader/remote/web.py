"""Web servers: their index pages have a folder's names, and a HEAD of each file the rest."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import ClientResponse, ClientResponseError

from headrace.errors import ModelLoadError
from headrace.formats import SUFFIXES
from headrace.loader.remote.bucket import Came
from headrace.loader.remote.listing import MOST_FILES, RemoteFile, edition
from headrace.urls import Url, encoded

# A SavedModel has three; an index whose links lead round in circles has no end.
_DEEPEST = 12
# Statuses of what an index lists, but the server does not give.
_REFUSED = {401, 403, 404, 410}
# Links to names that begin so, which fsspec takes for whole URLs, of other servers.
_LIKE_A_URL = re.compile(r"""(href=["'])(?=http(?!s?://))""", re.IGNORECASE)

# Links from the root on, of which fsspec takes those that begin, to the letter, as it has asked.
_FROM_ROOT = re.compile(r"""(href=["'])(/[^"']+)""", re.IGNORECASE)


class Page(ClientResponse):
    """An answer that may be an index page, whose links fsspec reads."""

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The page; a link to a name in its folder begins as no URL does, nor at the root."""
        page = _LIKE_A_URL.sub(r"\1./", await super().text(encoding, errors))
        here = self.url.raw_path
        return _FROM_ROOT.sub(lambda found: found[1] + _from_here(found[2], here), page)


class Web:
    """A store that is read as people read it."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def files(self, url: Url) -> Iterator[RemoteFile]:
        """Every file that index pages lead to; of a single file, those beside it if there are."""
        if not url.name.endswith(SUFFIXES):
            yield from self.below(url, url.name)
            return
        beside = self._beside(url)
        if (url.name, True) in ((name, is_folder) for name, _, is_folder in beside):
            yield from self.below(url, url.name)
            return
        yield self.whole(RemoteFile(url.name, url))
        for name, source, is_folder in beside:
            if not is_folder and name != url.name:
                yield RemoteFile(name, source)

    def _beside(self, url: Url) -> list[tuple[str, str, bool]]:
        try:
            return list(self._children(url.rpartition("/")[0]))
        except (FileNotFoundError, ClientResponseError):  # many that have files have no index
            return []

    def inside(self, folder: str, name: str) -> Iterator[RemoteFile]:
        """Every file that an index page leads to."""
        for inner, source, is_folder in self._children(folder):
            if not is_folder:
                yield RemoteFile(f"{name}/{inner}", source)

    def below(self, folder: str, name: str, depth: int = _DEEPEST) -> Iterator[RemoteFile]:
        """Every file that it and those of its folders do."""
        if not depth:
            raise ModelLoadError(f"{folder}: is too deep for a folder of models")
        for inner, source, is_folder in self._children(folder):
            if is_folder:
                yield from self.below(source, f"{name}/{inner}", depth - 1)
            else:
                yield RemoteFile(f"{name}/{inner}", source)

    def _children(self, folder: str) -> Iterator[tuple[str, str, bool]]:
        """What an index page links to right below it: name, URL, and whether it is a folder."""
        start = f"{folder.rstrip('/')}/"
        found = self._system.ls(start, detail=False)
        links = {_plain(html.unescape(link), start) for link in found}  # as it stands in the page
        if len(links) > MOST_FILES:
            raise ModelLoadError(f"{folder}: its index has more than {MOST_FILES} links")
        for link in sorted(links):
            rest = link.removeprefix(start)
            raw = rest.removesuffix("/")
            name = unquote(raw)
            is_hidden = name.startswith(".")
            # Others lead elsewhere, or sort the page.
            leads_on = "/" in name or any(c in raw for c in "?#")
            if link.startswith(start) and name and not (is_hidden or leads_on):
                yield name, start + encoded(raw), rest.endswith("/")

    def whole(self, file: RemoteFile) -> RemoteFile:
        """Ask for the size and edition of a file."""
        try:
            told = self._system.info(file.source)
        except FileNotFoundError as error:  # which fsspec says of every trouble
            if error.__cause__ is None or _is_refused(error.__cause__):
                raise
            raise error.__cause__ from None
        return file._replace(size_bytes=told.get("size"), edition=edition(told))

    def fetch(self, file: RemoteFile, to: Path, on_bytes: Callable[[int], None]) -> None:
        """Read a file to disk."""
        self._system.get_file(file.source, str(to), callback=Came(on_bytes))


def _plain(link: str, start: str) -> str:
    """A link without the ``./`` that some servers begin names with (Caddy)."""
    return start + link.removeprefix(f"{start}./") if link.startswith(f"{start}./") else link


def _from_here(link: str, here: str) -> str:
    """A link without the folders that the page ``here`` is in, if it leads to one of its names.

    Every server encodes in its own way what is no ASCII, and some not at all.
    """
    above = here.split("/")[:-1]
    *folders, rest = link.split("/", len(above))
    is_inside = [unquote(one) for one in folders] == [unquote(one) for one in above]
    return f"./{rest}" if is_inside and rest else link


def _is_refused(error: BaseException) -> bool:
    """Whether a server has answered, and does not give a file."""
    if isinstance(error, ClientResponseError):
        return error.status in _REFUSED
    return isinstance(error, FileNotFoundError)
