"""Has a fleet serve what lies elsewhere, as it arrives; what is here already serves meanwhile."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from headrace.errors import HeadraceError, ModelLoadError
from headrace.loader.aside import aside
from headrace.loader.fleet import Fleet
from headrace.loader.places import left_out
from headrace.loader.remote.mirror import Mirror
from headrace.loader.remote.remotes import Remotes
from headrace.loader.remote.tidying import tidy
from headrace.loader.store import FoundVersion, find
from headrace.settings import ModelSettings


class Arrivals:
    """Fetches and loads every remote place once; a place that cannot be had concerns no other."""

    def __init__(self, remotes: Remotes, fleet: Fleet) -> None:
        self._remotes = remotes
        self._fleet = fleet
        self._claimed: dict[str, int] = {}  # the entry that each model comes from
        self._log = structlog.get_logger("headrace.loader")

    async def run(self) -> None:
        """Return when every place has been served, or told why it is not."""
        async with asyncio.TaskGroup() as group:
            for number, mirror in self._remotes.mirrors.items():
                group.create_task(self._arrive(number, mirror))
        await tidy(self._remotes, self._fleet)
        default = self._remotes.settings.server.default_model
        if default is not None and default not in self._fleet.names():
            self._log.error(
                "no_default_model", reason=f"server.default_model: there is no model {default!r}"
            )

    async def _arrive(self, number: int, mirror: Mirror) -> None:
        try:
            await aside(mirror.sync)
            found = await aside(partial(find, self._remotes.only(number)))
            await self._tell_left_out(self._remotes.settings.models[number])
            self._claim(number, mirror, found)
        except (HeadraceError, OSError) as error:
            self._tell(mirror, error)
            return
        for one in found:
            self._label(one)
        loads = [self._load(mirror, self._remotes.followed(one)) for one in found]
        await asyncio.gather(*loads)

    async def _tell_left_out(self, entry: ModelSettings) -> None:
        for model in await aside(partial(left_out, entry)):
            reason = self._remotes.told(model.error.message)
            self._log.warning("model_left_out", model=model.name, reason=reason)

    def _claim(self, number: int, mirror: Mirror, found: tuple[FoundVersion, ...]) -> None:
        known = {name for name, _ in self._fleet.posts()} - self._claimed.keys()
        for one in found:
            if one.name in known or self._claimed.setdefault(one.name, number) != number:
                raise ModelLoadError(
                    f"{mirror.url}: another model is called {one.name!r} already; give one of them "
                    "another `name`"
                )

    def _label(self, found: FoundVersion) -> None:
        if found.settings.version_labels:
            self._fleet.label(found.name, dict(found.settings.version_labels))

    async def _load(self, mirror: Mirror, found: FoundVersion) -> None:
        try:
            await self._fleet.take(found)
        except (HeadraceError, OSError) as error:
            self._tell(mirror, error)

    def _tell(self, mirror: Mirror, error: HeadraceError | OSError) -> None:
        reason = self._remotes.told(str(error))
        self._log.error("place_not_served", url=str(mirror.url), reason=reason)
