"""The places among the settings that are URLs, each with its folder on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from headrace.documents import at_home
from headrace.errors import ModelLoadError, OperatorError
from headrace.loader.remote.copies import Copies
from headrace.loader.remote.mirror import Mirror
from headrace.loader.store import FoundVersion, policy_of
from headrace.order import VersionPolicy
from headrace.server_settings import ModelControl
from headrace.settings import ModelSettings, Settings
from headrace.urls import Url


class Remotes:
    """What takes the place of URLs: ``settings`` name folders only.

    ``folder`` is one of the run; copies are kept in ``server.cache_dir``, or there.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder = folder
        kept_bytes = settings.server.remote_cache_gib * 2**30
        self._copies = Copies(_kept(settings, folder), kept_bytes)
        self._ordered: dict[str, Mirror] = {}
        self.mirrors: dict[int, Mirror] = {
            number: self._mirror(number, entry, entry.path, settings)
            for number, entry in enumerate(settings.models)
            if isinstance(entry.path, Url)
        }
        self.roots = (
            *settings.server.model_roots,
            *(entry.path for entry in settings.models if entry.path is not None),
        )
        self.settings = settings.model_copy(update={"models": tuple(self._entries(settings))})
        self._in_folder = re.compile(rf"{re.escape(str(folder))}/[^/]+/([a-z0-9]+)/")

    def _mirror(self, number: int, entry: ModelSettings, url: Url, settings: Settings) -> Mirror:
        polls = settings.server.model_control is ModelControl.POLL
        return Mirror(
            url,
            policy_of(entry, settings.defaults),
            self._above(str(number), url),
            self._copies,
            settle_s=2 * settings.server.poll_s if polls else 0.0,
        )

    def _above(self, name: str, url: Url) -> Path:
        return self._folder / name / url.scheme / url.place.rpartition("/")[0]

    def ordered(self, name: str, url: Url, policy: VersionPolicy) -> Mirror:
        """A mirror of the place that an order gives for a model, instead of the one before."""
        self.forget({name})
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]  # names may be anything
        mirror = Mirror(url, policy, self._above(f"order-{digest}", url), self._copies)
        self._ordered[name] = mirror
        return mirror

    def forget(self, names: Iterable[str]) -> None:
        """Keep nothing for these models that orders gave a place for."""
        for name in names:
            mirror = self._ordered.pop(name, None)
            if mirror is not None:
                self._copies.use(str(mirror.folder), ())

    def tidy(self, served: Iterable[Path]) -> None:
        """Keep no more copies than ``remote_cache_gib`` besides those used and these files."""
        self._copies.tidy(served)

    def _entries(self, settings: Settings) -> Iterator[ModelSettings]:
        for number, entry in enumerate(settings.models):
            mirror = self.mirrors.get(number)
            yield entry if mirror is None else entry.model_copy(update={"path": mirror.path})

    @property
    def here(self) -> Settings:
        """The settings of the entries that lie here; the default model may be another."""
        return self.without(self.mirrors) if self.mirrors else self.settings

    def without(self, numbers: Container[int]) -> Settings:
        """The settings without some entries."""
        entries = enumerate(self.settings.models)
        return self._with(tuple(entry for number, entry in entries if number not in numbers))

    def only(self, number: int) -> Settings:
        """The settings with one entry."""
        return self._with((self.settings.models[number],))

    def _with(self, models: tuple[ModelSettings, ...]) -> Settings:
        server = self.settings.server.model_copy(update={"default_model": None})
        return self.settings.model_copy(update={"models": models, "server": server})

    def fetch(self) -> None:
        """Bring everything here that is wanted.

        Raises:
            ModelLoadError: names every place that cannot be had, a line each.
        """
        problems = []
        for mirror in self.mirrors.values():
            try:
                mirror.sync()
            except (OperatorError, OSError) as error:
                problems.append(str(error))
        if problems:
            raise ModelLoadError("\n".join(problems))

    def has_any(self) -> bool:
        """Whether anything lies elsewhere."""
        return bool(self.mirrors or self._ordered)

    def is_awaited(self) -> bool:
        """Whether a place has not been looked at yet."""
        return any(not mirror.looked for mirror in self.mirrors.values())

    @contextlib.contextmanager
    def steady(self, number: int) -> Iterator[None]:
        """Hold what an entry's folder shows as it is.

        Raises:
            ModelLoadError: what it should show is not to be had now.
        """
        mirror = self.mirrors.get(number)
        if mirror is None:
            yield
            return
        if mirror.trouble is not None:
            raise ModelLoadError(mirror.trouble)
        with mirror.steady:
            yield

    def followed(self, found: FoundVersion) -> FoundVersion:
        """Let a version that is shown here be loaded from its copy, which never changes."""
        if not found.folder.is_relative_to(self._folder):
            return found
        return replace(found, path=found.path.resolve())

    def told(self, text: str) -> str:
        """A message with the URLs in it that the folders here stand for."""
        return self._in_folder.sub(r"\1://", text)


def _kept(settings: Settings, folder: Path) -> Path:
    """Where copies are kept: from one start to the next, if there is such a place.

    Without links in it: what is loaded from a copy is known by its path without any.
    """
    cache = settings.server.cache_dir
    kept = None if cache is None else at_home(cache)
    return Path(os.path.realpath(folder / "copies" if kept is None else kept / "remote"))


def nothing_remote(settings: Settings) -> Remotes:
    """For settings without URLs: nothing is written anywhere."""
    return Remotes(settings, Path(os.devnull) / "remote")
