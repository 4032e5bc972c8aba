"""What is served first, of the places on this machine; what lies elsewhere comes later."""

from __future__ import annotations

import structlog

from headrace.loader.fleet import Fleet
from headrace.loader.places import left_out
from headrace.loader.remote.arrivals import Arrivals
from headrace.loader.remote.remotes import Remotes
from headrace.loader.remote.upkeep import Upkeep
from headrace.loader.several import check_models
from headrace.loader.store import FoundVersion, find
from headrace.loader.watch import Surveyor
from headrace.server_settings import ModelControl


def find_first(remotes: Remotes) -> tuple[FoundVersion, ...]:
    """Find it. Where it may change at any time, nothing has to be whole yet.

    What is left out is logged.

    Raises:
        OperatorError: there is nothing, or a model cannot be found or read.
    """
    if remotes.settings.server.model_control is ModelControl.POLL:
        found = Surveyor(remotes.settings, remotes).begin()  # what is left out, the watch tells
        check_models(remotes.settings.server, (one.name for one in found))
        return found
    here = remotes.here
    found = find(here) if here.models or not remotes.mirrors else ()
    log = structlog.get_logger("headrace.loader")
    for entry in here.models:
        for model in left_out(entry):
            log.warning("model_left_out", model=model.name, reason=model.error.message)
    return found


async def bring_the_rest(remotes: Remotes, fleet: Fleet) -> None:
    """Bring what lies elsewhere, and have it served; where the watch has it, until cancelled."""
    if remotes.settings.server.model_control is ModelControl.POLL:
        await Upkeep(remotes, fleet).run()
    else:
        await Arrivals(remotes, fleet).run()
