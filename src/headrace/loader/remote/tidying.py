"""Lets go of copies that nothing serves any more."""

from __future__ import annotations

from functools import partial

import structlog

from headrace.loader.aside import aside
from headrace.loader.fleet import Fleet
from headrace.loader.remote.remotes import Remotes


async def tidy(remotes: Remotes, fleet: Fleet) -> None:
    """Keep what is shown and what serves; of the rest, as much as the settings say."""
    if not remotes.has_any():
        return
    try:
        await aside(partial(remotes.tidy, fleet.paths()))
    except OSError as error:
        structlog.get_logger("headrace.loader").warning("copies_not_removed", reason=str(error))
