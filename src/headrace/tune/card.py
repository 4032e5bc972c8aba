"""The tuned card of a tuning."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace import tuned
from headrace.tune.document import rounded
from headrace.tune.model import Model
from headrace.tune.result import Tuning


def card_of(tuning: Tuning, model: Model) -> tuned.Tuned:
    """Write down what was chosen, for which machine, and what was seen of it."""
    chosen, objective = tuning.chosen, tuning.wanted.objective
    candidate, highest = chosen.candidate, chosen.highest
    rate_rps = None if highest is None else highest.rate_rps
    p99_s = None if highest is None else highest.p99_s
    untuned_highest = tuning.untuned.highest
    untuned_rps = None if untuned_highest is None else untuned_highest.rate_rps
    return tuned.Tuned(
        model_digest=tuned.digest(model.path),
        fingerprint=tuned.fingerprint(),
        settings=tuned.TunedSettings(
            backend=candidate.backend,
            precision=candidate.precision,
            instances=candidate.instances,
            threads=candidate.threads,
            max_batch=candidate.max_batch,
            linger_ms=candidate.linger_ms,
            f32_layers=candidate.f32_layers,
        ),
        objective=tuned.Objective(
            slo_ms=rounded(1e3 * objective.slo_s), quantile=objective.quantile
        ),
        evidence=tuned.Evidence(
            # Where no time was left to look for it: what was answered in time of too much.
            highest_rate_rps=rounded(chosen.rate_rps if rate_rps is None else rate_rps),
            p99_s=None if p99_s is None else rounded(p99_s),
            forecast_rate_rps=rounded(chosen.forecast.rate_rps),
            baseline_rate_rps=rounded(
                tuning.untuned.rate_rps if untuned_rps is None else untuned_rps
            ),
            memory_bytes=chosen.memory_bytes,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        accuracy=None if chosen.accuracy is None else _in_digits(chosen.accuracy),
    )


def not_taken(card: tuned.Tuned, model: Model) -> tuple[str, ...]:
    """Which settings of a card a server would not have, because of what else is set.

    Where it has the same anyhow, or a larger ``max_batch``, which is no harm, nothing is lost.
    """
    found = tuned.telling(card.settings)
    taken = tuned.take(card, model.said).settings
    return tuple(
        key
        for key, value in found.items()
        if key not in taken
        and (had := getattr(model.settings, key)) != value
        and not (key == "max_batch" and had > value)
    )


def _in_digits(accuracy: tuned.Accuracy) -> tuned.Accuracy:
    """The same in few digits: a share to a millionth, for of one near 1 the rest is what counts."""
    digits = {"top1_agreement": _millionth, "cosine": _millionth}
    said = {
        key: digits.get(key, rounded)(value)
        for key, value in accuracy.model_dump().items()
        if isinstance(value, float)
    }
    return accuracy.model_copy(update=said)


def _millionth(value: float) -> float:
    return round(value, 6)
