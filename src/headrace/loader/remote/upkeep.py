"""Looks at every remote place again and again, each at its own pace: a slow one delays no other."""

from __future__ import annotations

import asyncio

import structlog

from headrace.errors import HeadraceError
from headrace.loader.aside import aside
from headrace.loader.fleet import Fleet
from headrace.loader.remote.mirror import Mirror
from headrace.loader.remote.remotes import Remotes
from headrace.loader.remote.tidying import tidy


class Upkeep:
    """Keeps the folders of remote places as they are in their stores."""

    def __init__(self, remotes: Remotes, fleet: Fleet) -> None:
        self._remotes = remotes
        self._fleet = fleet
        self._poll_s = remotes.settings.server.poll_s
        self._log = structlog.get_logger("headrace.loader")

    async def run(self) -> None:
        """Look and fetch, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in self._remotes.mirrors.values():
                group.create_task(self._keep(mirror))

    async def _keep(self, mirror: Mirror) -> None:
        while True:
            try:
                await aside(mirror.sync)
            except (HeadraceError, OSError) as error:
                mirror.trouble = self._remotes.told(str(error))
            except Exception as error:  # noqa: BLE001 - what serves is worth more than a change
                self._log.exception("look_failed", url=str(mirror.url), reason=repr(error))
                mirror.trouble = f"{mirror.url}: {error!r}"
            else:
                mirror.trouble = None
            mirror.looked = True
            await tidy(self._remotes, self._fleet)
            await asyncio.sleep(self._poll_s)
