"""Write what a server has learnt about a model as its tuned card, for the next start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headrace.cores import usable_cores
from headrace.device import CPU
from headrace.errors import MalformedAnswer, SettingsError
from headrace.loader.places import Place, locate
from headrace.settings import BackendName, ModelSettings, Precision
from headrace.tuned import (
    Evidence,
    Objective,
    Tuned,
    TunedSettings,
    digest,
    edition,
    fingerprint,
    place,
    write,
)

_Versions = Sequence[Mapping[str, Any]]


def freeze(
    said: Mapping[str, Any], versions: _Versions, path: Path, output: Path | None = None
) -> tuple[Path, Tuned]:
    """Write the tuned card of a model; ``said`` is its profile, ``path`` where it lies here.

    ``versions`` are all that the server has, as it tells them: what lies there under the name of
    another model is that one.

    Raises:
        MalformedAnswer: an older server does not tell what it has learnt.
        SettingsError: it has learnt nothing yet or serves without an objective, the model does not
            lie there or has changed since it was loaded, this is another machine, or the card
            cannot be written.
        ModelLoadError: the model cannot be found or read.
    """
    control = said.get("control")
    if not isinstance(control, dict) or "kept_lanes" not in control or "edition" not in said:
        raise MalformedAnswer(
            "the server does not tell what it has learnt: it is an older Headrace"
        )
    _check(said, control)
    found = _lying(path, said, versions)
    model_digest = digest(found.path)
    _check_unchanged(found.path, said)  # also while it was read
    try:
        tuned = Tuned(
            model_digest=model_digest,
            fingerprint=fingerprint(),
            settings=_settings(said, control),
            objective=Objective(slo_ms=said["slo_ms"]),
            evidence=Evidence(
                highest_rate_rps=control["highest_rps"],
                p99_s=control["p99_s"],
                forecast_rate_rps=control["kept_lanes"]
                * control["batch_cap"]
                / control["longest_s"],
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, ValidationError) as error:
        raise MalformedAnswer(
            f"the server does not tell it as this version does: {error}"
        ) from error
    file = place(found.path) if output is None else output
    write(file, tuned)
    return file, tuned


def _check(said: Mapping[str, Any], control: Mapping[str, Any]) -> None:
    """See that there is something to write, and that it would hold here."""
    name = said.get("name")
    if said.get("slo_ms") is None:
        raise SettingsError(f"model {name!r} is served without an objective: set slo_ms first")
    if control.get("steered") is False:
        raise SettingsError(
            f"model {name!r} is not steered (`control: false`): nothing is learnt; set "
            "`control: true` first"
        )
    if not control.get("highest_rps") or not control.get("p99_s"):
        raise SettingsError(f"model {name!r} has answered nothing in time: nothing is learnt yet")
    if said.get("device", CPU) != CPU:
        raise SettingsError(f"model {name!r} runs on a GPU: tuned cards are of processors so far")
    if said.get("cores") != usable_cores():
        raise SettingsError(
            f"the server may use {said.get('cores')} cores and this program {usable_cores()}: what "
            "was learnt holds only there; run this on the server's machine"
        )


def _check_unchanged(path: Path, said: Mapping[str, Any]) -> None:
    """See that what was learnt is of these files: the server reads them once, when it loads."""
    name, version = said.get("name"), said.get("version")
    if said["edition"] != edition(path):
        raise SettingsError(
            f"{path}: has changed since the server loaded version {version} of model {name!r}: "
            "what was learnt may be of another; have it loaded again (`headrace models load "
            f"{name}`, or restart the server), and freeze it when that has served"
        )


def _lying(path: Path, said: Mapping[str, Any], versions: _Versions) -> Place:
    served = {one["name"] for one in versions}
    places = locate(ModelSettings(path=path))
    name, version = said.get("name"), said.get("version")
    wanted = [one for one in places if one.version == version]
    named = [one for one in wanted if one.name == name]
    # It may be served under another name than the one it lies under.
    found = named or [one for one in wanted if one.name not in served]
    if len(found) != 1:
        raise SettingsError(f"{path}: version {version} of model {name!r} does not lie there")
    return found[0]


def _settings(said: Mapping[str, Any], control: Mapping[str, Any]) -> TunedSettings:
    return TunedSettings(
        backend=BackendName(said["backend"]),
        precision=Precision(said["precision"]),
        instances=control["kept_lanes"],  # not those that are only tried
        threads=said["threads"],
        max_batch=control["batch_cap"],
        linger_ms=said.get("linger_ms", 0.0),
        f32_layers=said.get("f32_layers", 0),
    )


def in_words(file: Path, tuned: Tuned) -> str:
    """What was written, in a sentence or two."""
    found = tuned.settings
    return (
        f"{file}: {found.backend.value} {found.precision.value}, {found.instances} instance(s) of "
        f"{found.threads} thread(s), batches up to {found.max_batch}; the next start takes them"
    )
