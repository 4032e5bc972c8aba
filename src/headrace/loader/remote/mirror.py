"""One place: it is listed, what is wanted of it is fetched, and shown as a folder."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog

from headrace.errors import ModelLoadError
from headrace.loader.remote.chosen import Part, choose, has_models, is_spare
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
# What only a disk says.
_FULL = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}


class Mirror:
    """Keeps a folder as a place in a store is; threads wait for each other.

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
        self._polls = settle_s > 0
        self._said: set[tuple[str, str]] = set()
        self._ripe = Ripe(settle_s)
        self._turn = threading.Lock()
        self._shown: list[tuple[Part, Path]] = []
        self._store: Store | None = None  # making one takes longer than a look
        self._log = structlog.get_logger("headrace.loader")

    @property
    def path(self) -> Path:
        """Where on this machine what the URL names lies."""
        return self.folder / self.url.name

    def sync(self, *, only: str | None = None, policy: VersionPolicy | None = None) -> None:
        """List, fetch what is wanted and not here yet, and show it.

        ``only`` is the one model to look at; others stay as they are. ``policy`` is in place of the
        mirror's own.

        Raises:
            OperatorError: what cannot be had, and why; what was shown before still is.
        """
        with self._turn, border(self.url), _own_disk(self._copies.folder, self.folder):
            store, self._store = self._store, None  # after an error, another one
            store = store or open_store(self.url)
            chosen = self._chosen(store, policy or self._policy)
            if has_models(part for part, _ in self._shown) and not has_models(chosen):
                # A bucket that has been emptied looks like one that is not the right one any more.
                raise ModelLoadError(f"{self.url}: there are no models any more; what serves stays")
            mine = [part for part in chosen if only is None or part.model in {"", only}]
            kept = [one for one in self._shown if only and one[0].model not in {"", only}]
            # A file may have been another model's before: the last one counts.
            shown = [*kept, *((part, self._copy(store, part)) for part in mine)]
            with self.steady:
                show(self.folder, shown)
            self._shown = shown
            self._copies.use(str(self.folder), (copy for _, copy in shown))
            self._store = store

    def _chosen(self, store: Store, policy: VersionPolicy) -> list[Part]:
        """What is wanted of what is there now."""
        root = self.url.name
        listed = check(self.url, store.files(self.url))
        if not listed:
            self._ripe.begin()
            raise ModelLoadError(f"{self.url}: nothing is there, or nothing that may be seen")
        before = _files([part for part, _ in self._shown])
        first = _files(choose(root, listed, policy))
        wanted = {file.name for file in (*before, *first)}
        known = self._whole(store, (file for file in listed if file.name in wanted))
        others = (file for file in listed if file.name not in wanted)
        ripe = self._ripe.take(time.monotonic(), [*known, *others])
        taken = set(_files(choose(root, ripe, policy)))
        # Only now may it be known how large what lies beside the models is.
        bare = {file for file in taken if not file.edition}
        whole = (taken - bare).union(self._whole(store, sorted(bare)))
        return choose(root, sorted(whole), policy)

    def _whole(self, store: Store, files: Iterable[RemoteFile]) -> Iterator[RemoteFile]:
        """The files with their sizes and editions, without notes that are not given."""
        for file in files:
            try:
                yield store.whole(file)
            except FileNotFoundError:
                if not is_spare(file.name):
                    raise
                self._say_once("file_left_out", file.name, "it is listed, but cannot be had")

    def _say_once(self, event: str, name: str, reason: str) -> None:
        if (event, name) not in self._said:
            self._said.add((event, name))
            self._log.warning(event, url=str(self.url), file=name, reason=reason)

    def _copy(self, store: Store, part: Part) -> Path:
        user = str(self.folder)
        bare = [file for file in part.files if not file.edition]
        if bare:
            name = f"{part.folder}/{bare[0].name}".lstrip("/")
            self._say_once("no_edition", name, "it has neither etag nor time: no copy lasts")
        if bare and self._polls:  # every look would fetch it
            here = next((copy for shown, copy in self._shown if shown == part), None)
            if here is not None:
                return here
        kept = _dated(part) if bare else part
        with self._copies.turn(self.url, kept):
            return self._copies.find(self.url, kept, user) or self._copies.make(
                self.url, kept, user, lambda to: self._fetch(store, part, to)
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
        """What a part would be now; only where it lies is listed again."""
        mine = {file.name for file in _files([part])}
        flat = [file for file in part.files if "/" not in file.name]
        start = f"{part.folder}/".lstrip("/")
        listed: list[RemoteFile] = []
        if flat and not part.folder:  # the place is a file, of a server that may list nothing
            listed += store.files(self.url)
        elif flat:
            listed += store.inside(flat[0].source.rpartition("/")[0], part.folder)
        listed = [file for file in listed if file.name in mine]
        for name, source in _folders(part).items():
            listed += store.below(source, start + name)
        return set(self._whole(store, check(self.url, listed)))


@contextlib.contextmanager
def _own_disk(*folders: Path) -> Iterator[None]:
    """Tell what goes wrong with our own disk as such: it is no trouble of the store."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or "")
        ours = any(Path(where).is_relative_to(folder) for folder in folders) if where else False
        if not ours and error.errno not in _FULL:
            raise
        text = f"cannot write {where or folders[0]}: {error.strerror}; see server.cache_dir"
        raise ModelLoadError(text) from error


def _dated(part: Part) -> Part:
    """A part of which nothing tells whether it has changed, as one that is never found again."""
    now = f"fetched:{time.time_ns()}"
    return part._replace(files=tuple(f._replace(edition=f.edition or now) for f in part.files))


def _folders(part: Part) -> dict[str, str]:
    """The folders that are a part's own: what the store calls each, by name."""
    inner = [file for file in part.files if "/" in file.name]
    return {
        file.name.partition("/")[0]: file.source.rsplit("/", file.name.count("/"))[0]
        for file in inner
    }


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
