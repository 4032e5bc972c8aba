"""From a file to instances that are warm: as an earlier start found it, or from the beginning."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from headrace.engine.backends.contract import Instance
from headrace.engine.built import built_of
from headrace.engine.cache import Cache, Kept, Record
from headrace.engine.checks import check
from headrace.engine.choice import Choice, again, choose
from headrace.engine.moving import moving_about
from headrace.engine.rewarm import warm_again
from headrace.engine.seen_shapes import warm_seen
from headrace.engine.servable import refuse_unservable
from headrace.engine.stages import lanes_of
from headrace.engine.warmup import Warm, warm_up
from headrace.engine_control import EngineSpec, SignatureMessage
from headrace.errors import HeadraceError
from headrace.settings import BackendName, Placement

_log = structlog.get_logger("headrace.engine")

Progress = Callable[[str], None]


class Loaded(NamedTuple):
    """A model whose instances are warm, and what that took.

    ``instances`` has every lane of theirs.
    """

    choice: Choice
    instances: list[Instance]
    warm: Warm
    load_s: float
    warm_s: float
    cached: bool


def prepared(spec: EngineSpec, progress: Progress) -> Loaded:
    """Look at the files, load and warm up, the short way if an earlier start has kept it.

    Raises:
        HeadraceError: the model cannot be loaded or warmed up.
    """
    check(Path(spec.path))
    folder = None if spec.cache_dir is None else Path(spec.cache_dir)
    cache = Cache(folder, Path(spec.path), spec.settings)
    key = cache.key()
    engines = built_of(folder, Path(spec.path), spec.settings)
    kept = cache.read()
    if kept is not None:
        try:
            loaded = _again(spec, kept, engines, progress)
        except Exception as error:  # noqa: BLE001 - the long way decides whether it can be served
            reason = error.message if isinstance(error, HeadraceError) else repr(error)
            _log.warning("cache_entry_ignored", reason=reason)
        else:
            if not loaded.cached and key is not None:
                cache.write(key, _record(loaded), b"" if kept.blob is None else kept.blob.data)
            return _at_seen(spec, loaded, progress)
    loaded = _anew(spec, engines, progress)
    if key is not None:
        _keep(cache, key, loaded)
    return _at_seen(spec, loaded, progress)


def _again(spec: EngineSpec, kept: Kept, engines: Path | None, progress: Progress) -> Loaded:
    record = kept.record
    # What it found beside others, in the little time there was, is not for ever.
    goes_on = record.cut_off and not spec.beside
    warm = Warm(
        record.signature.unwrap(),
        record.batch_sizes,
        record.measurements,
        record.output_bytes,
        record.shapes,
        record.fill,
        record.alone,
        record.cut_off,
    )

    def load() -> Choice:
        progress("loading what was compiled before")
        return again(Path(spec.path), spec.settings, kept, engines)

    def rewarm(choice: Choice, instances: list[Instance]) -> Warm:
        if goes_on:
            return warm_up(choice.model, instances, spec.settings, progress)
        warm_again(warm, instances, compiled=kept.blob is not None)
        return warm

    return _timed(spec, progress, load, rewarm)._replace(cached=not goes_on)


def _anew(spec: EngineSpec, engines: Path | None, progress: Progress) -> Loaded:
    def load() -> Choice:
        progress(_loading(spec))
        return choose(Path(spec.path), spec.settings, progress, engines)

    def warm(choice: Choice, instances: list[Instance]) -> Warm:
        return warm_up(choice.model, instances, spec.settings, progress, beside=spec.beside)

    return _timed(spec, progress, load, warm)


def _loading(spec: EngineSpec) -> str:
    if spec.settings.backend is BackendName.INDUCTOR:
        return "loading with Inductor, which the first time compiles for a minute or so"
    return "loading"


def _timed(
    spec: EngineSpec,
    progress: Progress,
    load: Callable[[], Choice],
    warm: Callable[[Choice, list[Instance]], Warm],
) -> Loaded:
    started_s = time.monotonic()
    choice = load()
    refuse_unservable(choice.model.signature)
    instances = lanes_of(choice.model, spec.settings.instances or 1)
    loaded_s = time.monotonic()
    progress("warming up")
    with moving_about(beside=_shares(spec)):
        found = warm(choice, instances)
    warm_s = time.monotonic() - loaded_s
    return Loaded(choice, instances, found, loaded_s - started_s, warm_s, cached=False)


def _at_seen(spec: EngineSpec, loaded: Loaded, progress: Progress) -> Loaded:
    """Warm up at shapes of traffic too; those belong to this server, not to the model's entry."""
    if not spec.seen_shapes:
        return loaded
    started_s = time.monotonic()
    with moving_about(beside=_shares(spec)):
        warm = warm_seen(loaded.warm, loaded.instances, spec.settings, spec.seen_shapes, progress)
    warm_s = loaded.warm_s + time.monotonic() - started_s
    return loaded._replace(warm=warm, warm_s=warm_s)


def _shares(spec: EngineSpec) -> bool:
    """Whether others want the cores it warms up on; and a thread that has its own stays there."""
    return spec.beside and spec.settings.placement is not Placement.CORES


def _keep(cache: Cache, key: str, loaded: Loaded) -> None:
    """Keep what was found out; a model that started cold has found nothing."""
    if not loaded.warm.shapes:
        return
    export = getattr(loaded.choice.plain, "export", None)
    try:
        blob = b"" if export is None else export()
    except RuntimeError as error:  # a model of some operators cannot be given away
        _log.warning("not_exported", reason=str(error)[:200])
        return
    cache.write(key, _record(loaded), blob)


def _record(loaded: Loaded) -> Record:
    choice, warm = loaded.choice, loaded.warm
    return Record(
        backend=choice.backend,
        reason=choice.reason,
        signature=SignatureMessage.of(warm.signature),
        batch_sizes=warm.batch_sizes,
        measurements=warm.measurements,
        output_bytes=warm.output_bytes,
        shapes=tuple(dict(item) for item in warm.shapes),
        fill=warm.fill,
        alone=warm.alone,
        cut_off=warm.cut_off,
    )
