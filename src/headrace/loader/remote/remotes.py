"""The places among the settings that are URLs, each with its folder on this machine."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from headrace.documents import expand
from headrace.errors import ModelLoadError, OperatorError
from headrace.loader.remote.copies import Copies
from headrace.loader.remote.mirror import Mirror
from headrace.loader.store import FoundVersion, policy_of
from headrace.settings import ModelControl, ModelSettings, Settings
from headrace.urls import Url


class Remotes:
    """What takes the place of URLs: ``settings`` name folders only.

    ``folder`` is one of the run; copies are kept in ``server.cache_dir``, or there.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder = folder
        self._copies = Copies(_kept(settings, folder))
        self.mirrors: dict[int, Mirror] = {
            number: self._mirror(str(number), entry, entry.path, settings)
            for number, entry in enumerate(settings.models)
            if isinstance(entry.path, Url)
        }
        self.settings = settings.model_copy(update={"models": tuple(self._entries(settings))})
        self._in_folder = re.compile(rf"{re.escape(str(folder))}/[^/]+/([a-z0-9]+)/")

    def _mirror(self, name: str, entry: ModelSettings, url: Url, settings: Settings) -> Mirror:
        above = self._folder / name / url.scheme / url.place.rpartition("/")[0]
        polls = settings.server.model_control is ModelControl.POLL
        return Mirror(
            url,
            policy_of(entry, settings.defaults),
            above,
            self._copies,
            settle_s=2 * settings.server.poll_s if polls else 0.0,
        )

    def _entries(self, settings: Settings) -> Iterator[ModelSettings]:
        for number, entry in enumerate(settings.models):
            mirror = self.mirrors.get(number)
            yield entry if mirror is None else entry.model_copy(update={"path": mirror.path})

    @property
    def here(self) -> Settings:
        """The settings of the entries that lie here; the default model may be another."""
        entries = enumerate(self.settings.models)
        models = tuple(entry for number, entry in entries if number not in self.mirrors)
        return self._with(models) if self.mirrors else self.settings

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
        return text if not self.mirrors else self._in_folder.sub(r"\1://", text)


def _kept(settings: Settings, folder: Path) -> Path:
    """Where copies are kept: from one start to the next, if there is such a place."""
    cache = settings.server.cache_dir
    return folder / "copies" if cache is None else expand(cache).absolute() / "remote"
