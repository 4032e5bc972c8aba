"""What an engine is told before it begins: its version, and what is around it."""

from __future__ import annotations

from pathlib import Path

import structlog

from headrace.documents import at_home
from headrace.engine_control import EngineSpec, ItemShapes
from headrace.loader.store import FoundVersion
from headrace.server_settings import ServerSettings
from headrace.settings import Placement


def specify(
    found: FoundVersion,
    server: ServerSettings,
    *,
    socket_path: str,
    beside: bool,
    samples: Path | None,
    seen: tuple[ItemShapes, ...],
    cores: tuple[tuple[int, ...], ...],
) -> EngineSpec:
    """The specification of an engine; one that was given no cores has no placement."""
    settings = found.settings
    if not cores:
        settings = settings.model_copy(update={"placement": Placement.NONE})
    return EngineSpec(
        name=found.name,
        version=found.version,
        path=str(found.path),
        socket_path=socket_path,
        settings=settings,
        labels=found.labels,
        tokenizers=found.tokenizers,
        cache_dir=_cache_dir(found, server),
        beside=beside,
        samples_path=None if samples is None else str(samples),
        seen_shapes=seen,
        receivers=server.receivers,
        cores=cores,
        log_level=server.log_level,
        log_format=server.log_format,
    )


def _cache_dir(found: FoundVersion, server: ServerSettings) -> str | None:
    folder = server.cache_dir
    if folder is None:
        return None
    kept = at_home(folder)
    if kept is None:
        structlog.get_logger("headrace.loader").warning(
            "no_cache",
            model=found.name,
            version=found.version,
            reason=f"{folder}: this user has no home folder",
        )
        return None
    return str(kept)
