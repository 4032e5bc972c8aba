"""Which model is tuned: found as ``headrace serve`` finds it, with its card."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.cores import usable_cores
from headrace.device import CPU
from headrace.documents import at_home
from headrace.engine.own_labels import own_labels
from headrace.errors import SettingsError
from headrace.layers import load
from headrace.loader.store import FoundVersion, find
from headrace.settings import ModelSettings, Settings
from headrace.tuned import TunedSettings
from headrace.urls import is_url
from headrace.values import Signature

# What is heeded: it is tuned with that, and nothing else is tried.
_HEEDED = frozenset({"linger_ms", "f32_layers"})


@dataclass(frozen=True, slots=True)
class Model:
    """A version of a model.

    ``named`` is what the user called it, ``settings`` are those of its card, with the objective.
    """

    named: str
    found: FoundVersion
    settings: ModelSettings
    cores: int
    cache_dir: Path | None

    @property
    def name(self) -> str:
        """What it is served as."""
        return self.found.name

    @property
    def linger_ms(self) -> float | None:
        """What its card or the environment says, which wins over a tuned card; None: nothing."""
        return self.settings.linger_ms if "linger_ms" in self.found.origins else None

    @property
    def said(self) -> dict[str, Any]:
        """What somebody has set of it, which wins over a tuned card."""
        return {key: getattr(self.settings, key) for key in self.found.origins}

    @property
    def fixed(self) -> dict[str, str]:
        """What of a tuned card cannot be other than is set, though others are tried: where it is.

        A larger ``max_batch`` is no harm, and models' cards often have one.
        """
        return {
            key: f"environment HEADRACE_DEFAULTS__{key.upper()}"
            if layer == "defaults"
            else "card.yaml or config.pbtxt"
            for key, layer in self.found.origins.items()
            if key in TunedSettings.model_fields and key not in {*_HEEDED, "max_batch"}
        }

    @property
    def path(self) -> Path:
        """Its file."""
        return self.found.path

    def classes(self, signature: Signature) -> tuple[str, ...]:
        """The names of its classes: its card's, else those in its file, as a server takes them."""
        if self.settings.labels is not None:
            return self.found.labels
        return own_labels(self.path, signature)


def find_model(named: str, slo_s: float) -> Model:
    """Find the newest version of the one model that lies there.

    Raises:
        OperatorError: there is none or are several, or it is of a kind that is not tuned.
    """
    if is_url(named):
        raise SettingsError(f"{named} is tuned where it lies on this machine: fetch it first")
    # Of the server that is meant there, which has other models too.
    environment = {**os.environ, "HEADRACE_SERVER__DEFAULT_MODEL": ""}
    settings = load(None, environment, {"models": [{"path": named}], "server.tuned": False})
    cores = usable_cores()
    found = find(settings, cores=cores)
    names = sorted({one.name for one in found})
    if len(names) > 1:
        raise SettingsError(
            f"{named}: has several models ({', '.join(names)}): name one of them by its own path"
        )
    newest = found[-1]
    if newest.settings.sequence is not None:
        raise SettingsError(
            f"{named}: remembers what was sent before (`sequence`), and is not tuned: its requests "
            "must come in their order. Tune its twin without a memory, or set it by hand"
        )
    if newest.settings.device != CPU:
        raise SettingsError(
            f"{named}: is to run on {newest.settings.device}, and only what runs on a processor is "
            "tuned so far: say `device: cpu`, or set it by hand"
        )
    wanted = newest.settings.model_copy(update={"slo_ms": 1e3 * slo_s})
    return Model(named, newest, wanted, cores, _cache_dir(settings))


def _cache_dir(settings: Settings) -> Path | None:
    folder = settings.server.cache_dir
    return None if folder is None else at_home(folder)
