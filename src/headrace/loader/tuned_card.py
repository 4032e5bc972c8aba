"""The tuned card of a version: taken where it holds, else left aside with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from headrace.control import TunedUse
from headrace.errors import OperatorError
from headrace.loader.card import KEPT, Status, unless_kept
from headrace.tuned import Tuned, digest, fingerprint, place, read, take, unfit


class Consulted(NamedTuple):
    """What a tuned card gives: settings, what to tell of them, and why it was left aside."""

    settings: Mapping[str, Any]
    use: TunedUse | None = None
    aside: str = ""


NOTHING = Consulted({})
"""There is none, or it is not wanted."""


def consult(path: Path, said: Mapping[str, Any]) -> Consulted:
    """Take what the tuned card of a model file says and nobody else does.

    A card that does not hold is no reason not to serve: it is left aside.
    """
    file = place(path)
    if not file.exists():
        return NOTHING
    try:
        tuned = unless_kept(_parse, file)
        problems = unfit(tuned, fingerprint(), digest(path))
    except Exception as error:  # noqa: BLE001 - a card is anybody's, and may be anything
        why = str(error) if isinstance(error, OperatorError | OSError) else f"{file}: {error!r}"
        return Consulted({}, aside=f"{why}; the model is served untuned")
    if problems:
        return Consulted(
            {},
            aside=f"{file}: {'; '.join(problems)}. The model is served untuned: for here, run "
            f"`headrace tune {path}`",
        )
    taken = take(tuned, said)
    use = TunedUse(
        file=str(file),
        keys=tuple(taken.settings),
        slo_ms=tuned.objective.slo_ms,
        quantile=tuned.objective.quantile,
        rate_rps=tuned.evidence.highest_rate_rps,
        note=taken.note,
    )
    return Consulted(taken.settings, use)


@lru_cache(KEPT)
def _parse(path: Path, _status: Status) -> Tuned:
    return read(path)
