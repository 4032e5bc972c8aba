"""One place: it is listed, what is wanted of it is fetched, and shown as a folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from headrace.errors import ModelLoadError
from headrace.loader.remote.chosen import Part, choose
from headrace.loader.remote.copies import Copies
from headrace.loader.remote.listing import RemoteFile, check
from headrace.loader.remote.ripe import Ripe
from headrace.loader.remote.stores import Store, border, open_store
from headrace.loader.remote.views import show
from headrace.order import VersionPolicy
from headrace.urls import Url

# How often a long fetch says how far it is.
_SAY_S = 5.0
_MIB = 2**20


class Mirror:
    """Keeps a folder as a place in a store is; for one thread at a time.

    What has changed is taken when it has not for ``settle_s``; the first time, as it is. ``steady``
    is held while the folder changes, for those who look at it. ``looked`` and ``trouble`` are the
    latest look's, for those who do not have it done.
    """

    def __init__(
        self,
        url: Url,
        policy: VersionPolicy,
        folder: Path,
        copies: Copies,
        *,
        settle_s: float = 0.0,
    ) -> None:
        self.url = url
        self.folder = folder
        self.steady = threading.Lock()
        self.looked = False
        self.trouble: str | None = None
        self._policy = policy
        self._copies = copies
        self._ripe = Ripe(settle_s)
        self._shown: set[str] = set()
        self._store: Store | None = None  # making one takes longer than a look
        self._log = structlog.get_logger("headrace.loader")

    @property
    def path(self) -> Path:
        """Where on this machine what the URL names lies."""
        return self.folder / self.url.name

    def sync(self) -> None:
        """List, fetch what is wanted and not here yet, and show it.

        Raises:
            OperatorError: what cannot be had, and why; what was shown before still is.
        """
        store, self._store = self._store, None  # after an error, another one
        with border(self.url):
            store = store or open_store(self.url)
            parts = self._chosen(store)
            copies = [(part, self._copy(store, part)) for part in parts]
            with self.steady:
                show(self.folder, copies)
            self._shown = {file.name for file in _files(parts)}
        self._store = store

    def _chosen(self, store: Store) -> list[Part]:
        """What is wanted of what is there now."""
        root = self.url.name
        listed = check(self.url, store.files(self.url))
        wanted = self._shown | {file.name for file in _files(choose(root, listed, self._policy))}
        known = [store.whole(file) if file.name in wanted else file for file in listed]
        ripe = self._ripe.take(time.monotonic(), known)
        first = _files(choose(root, ripe, self._policy))
        # Only now may it be known how large what lies beside the models is.
        whole = {file if file.edition else store.whole(file) for file in first}
        return choose(root, sorted(whole), self._policy)

    def _copy(self, store: Store, part: Part) -> Path:
        return self._copies.find(self.url, part) or self._copies.make(
            self.url, part, lambda to: self._fetch(store, part, to)
        )

    def _fetch(self, store: Store, part: Part, to: Path) -> None:
        """Fetch a part; what has changed meanwhile is a mix, and refused."""
        what = f"{self.url}: {part.folder}/{{{','.join(part.tops)}}}"
        progress = _Progress(part.size_bytes, self._log.bind(what=what[:200]))
        for file in part.files:
            target = to / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            store.fetch(file, target, progress.add)
        if self._now(store, part) != set(_files([part])):
            raise ModelLoadError(f"{what[:200]}: has changed while it was fetched")
        progress.end()

    def _now(self, store: Store, part: Part) -> set[RemoteFile]:
        """What a part would be now."""
        starts = tuple(f"{part.folder}/{top}".lstrip("/") for top in part.tops)
        mine = [
            file
            for file in check(self.url, store.files(self.url))
            if file.name in starts or file.name.startswith(tuple(f"{start}/" for start in starts))
        ]
        return {store.whole(file) for file in mine}


def _files(parts: list[Part]) -> Iterator[RemoteFile]:
    for part in parts:
        start = f"{part.folder}/" if part.folder else ""
        yield from (file._replace(name=start + file.name) for file in part.files)


class _Progress:
    """Says how far a fetch is, now and then."""

    def __init__(self, size_bytes: int, log: structlog.typing.FilteringBoundLogger) -> None:
        self._size_bytes = size_bytes
        self._log = log
        self._came_bytes = 0
        self._began_s = self._said_s = time.monotonic()

    def add(self, count: int) -> None:
        """So many bytes have come."""
        self._came_bytes += count
        now_s = time.monotonic()
        if now_s - self._said_s >= _SAY_S:
            self._said_s = now_s
            self._log.info(
                "fetching",
                mib=round(self._came_bytes / _MIB, 1),
                of_mib=round(self._size_bytes / _MIB, 1),
            )

    def end(self) -> None:
        """Everything has come."""
        seconds = round(time.monotonic() - self._began_s, 2)
        self._log.info("fetched", mib=round(self._came_bytes / _MIB, 1), seconds=seconds)
