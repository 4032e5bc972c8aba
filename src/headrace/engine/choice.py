"""Which backend runs a model that was left to us: the first that can, or the faster for tiny ones.

Libraries differ by ten times in what a call costs whatever it computes: a small MLP takes OpenVINO
147 us and ONNX Runtime 14 us on the same core. Of a model whose run is that short, both are tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from headrace.engine import backends, normalised, stateful
from headrace.engine.backends.contract import Model
from headrace.engine.backends.failures import RUN_ERRORS
from headrace.engine.cache import Kept
from headrace.engine.item_shapes import fill_of, item_shapes, make
from headrace.errors import OperatorError
from headrace.settings import BackendName, ModelSettings

# Longer runs are computing, at which the first candidate is the best; trying would cost load time.
_SHORT_S = 0.0005
_WARM_RUNS, _TIMED_RUNS = 5, 20


class Choice(NamedTuple):
    """A loaded model, the name of its backend, and why it is that one."""

    backend: str
    model: Model
    reason: str
    plain: Model
    """The model as its backend made it, before anything was put around it."""


def choose(
    path: Path,
    settings: ModelSettings,
    progress: Callable[[str], None],
    engines: Path | None = None,
) -> Choice:
    """Load a model with the backend asked for, or with the best of those that can.

    ``engines`` is where what is built for it is kept, by a library that does that.

    Raises:
        ModelLoadError: no backend can read or compile it.
        BackendMissing: the library is not installed.
        DeviceMissing: the GPU asked for is not there, or the library cannot use it.
    """
    name, model, plain = _load(path, settings, engines)
    if settings.backend is not BackendName.AUTO:
        return Choice(name, model, "asked for", plain)
    tried = backends.candidates(path, settings.backend, settings.device)
    others = [other for other in tried if other.value != name]
    seconds = _one_row_s(model, settings) if others else None
    if seconds is None or seconds > _SHORT_S:
        return Choice(name, model, "default", plain)
    for other in others:
        progress(f"a run takes {seconds * 1e6:.0f} us with {name}: trying {other.value}")
        try:
            _, rival, rival_plain = _load(path, settings.model_copy(update={"backend": other}))
        except OperatorError:
            continue
        rival_s = _one_row_s(rival, settings)
        if rival_s is not None and rival_s < seconds:
            reason = f"{rival_s * 1e6:.0f} us a run, {name} {seconds * 1e6:.0f} us"
            return Choice(other.value, rival, reason, rival_plain)
    return Choice(name, model, f"{seconds * 1e6:.0f} us a run", plain)


def again(path: Path, settings: ModelSettings, kept: Kept, engines: Path | None = None) -> Choice:
    """Load what was chosen before, from its compiled form where it was kept.

    Raises:
        OperatorError: it cannot be had any more.
    """
    name, reason = kept.record.backend, kept.record.reason
    asked = settings.model_copy(update={"backend": BackendName(name)})
    plain = backends.revive(path, asked, kept.blob, engines)
    return Choice(name, _adapted(plain, settings), reason, plain)


def _load(
    path: Path, settings: ModelSettings, engines: Path | None = None
) -> tuple[str, Model, Model]:
    """Load a model; one with state or bytes as the rest of the engine sees it, and as it is."""
    name, model = backends.load(path, settings, engines)
    return name, _adapted(model, settings), model


def _adapted(model: Model, settings: ModelSettings) -> Model:
    return stateful.adapt(normalised.adapt(model, settings), settings)


def _one_row_s(model: Model, settings: ModelSettings) -> float | None:
    """How long a run of one row takes; None when no shape is found that it runs at."""
    instance, signature = model.instance(), model.signature
    try:
        item = item_shapes(signature, instance, settings)[0]
        inputs = make(signature, item, 1, fill=fill_of(signature, instance, item))
        for _ in range(_WARM_RUNS):
            instance.run(inputs)
        best = float("inf")
        for _ in range(_TIMED_RUNS):
            started = time.perf_counter()
            instance.run(inputs)
            best = min(best, time.perf_counter() - started)
            if best > _SHORT_S:
                break
    except (IndexError, *RUN_ERRORS):
        return None
    return best
