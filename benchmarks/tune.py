"""What tuning is worth: tuned against ONNX Runtime in f32 as it comes, at the same objective.

Each model is tuned, then both are driven in turns, each at a rate a quarter above what it holds;
what counts is the answers in time. Of one model every combination of a small space is driven too:
the tuner must have found the best of them, or nearly.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from benchmarks import command, models, photos
from benchmarks.figures import Figure
from headrace import tuned
from headrace.load.pairs import differ
from headrace.settings import BackendName, Precision
from headrace.tune.contestant import Ceiling, Contestant, Entry
from headrace.tune.halving import turns
from headrace.tune.journal import Journal
from headrace.tune.space import Candidate
from headrace.tune.wanted import Objective

_BUDGET_S = 240.0
_SEED, _SAMPLES = 7, 256
# Real photos with no labels: what a network hardly knows (of half of the parts it gives its best
# class less than 0.4) is named otherwise by another arithmetic now and then; a network of random
# weights knows none. How often is told.
_MAX_DROP, _MAX_UNTRAINED = 0.02, 0.05


class _Slices(NamedTuple):
    """How often and how long each is driven: so many blocks of two slices."""

    blocks: int
    length_s: float


_GAIN_SLICES, _BRUTE_SLICES = _Slices(4, 4.0), _Slices(2, 2.5)
# The tuner's choice must do so much of what the best of all does.
_WITHIN = 0.95


class _Tuned(NamedTuple):
    """A model, its objective, and the gain that a processor with AMX must have."""

    name: str
    slo_ms: int
    gain: float
    trained: bool = True
    """Else its best classes are those of random weights, and say nothing."""

    @property
    def max_drop(self) -> float:
        """How many may be named otherwise, as a share."""
        return _MAX_DROP if self.trained else _MAX_UNTRAINED


_MODELS = (
    _Tuned("resnet50", 300, 5.0, trained=False),
    _Tuned("minilm-128", 150, 3.0),
    _Tuned("efficientnet-lite0", 50, 2.0),
    _Tuned("mlp", 20, 1.0, trained=False),
)
_BRUTE = "efficientnet-lite0"


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Tune each model, and drive it beside what it would be without."""
    for one in _MODELS:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "samples.npz"
            np.savez(data, **_samples(one.name))  # type: ignore[arg-type] # names of inputs
            progress(f"{one.name}, tuned (up to four minutes)")
            found = _tune(one, data)
            yield from _spent(one, found)
            progress(f"{one.name}, tuned beside ONNX Runtime in f32")
            yield _gain(one, found, data)
            if one.name == _BRUTE:
                progress(f"{one.name}, every combination (some minutes)")
                yield _brute(one, found, data, progress)


def _samples(name: str) -> dict[str, np.ndarray]:
    """Rows as clients would send them: parts of photos, random words."""
    random = np.random.default_rng(_SEED)
    if name in {"resnet50", "efficientnet-lite0"}:
        return {"input": photos.parts(photos.fetched(), _SAMPLES, random)}
    if name == models.TINY:
        return {"x": random.random((_SAMPLES, 784), np.float32)}
    words = random.integers(1000, 29000, (_SAMPLES, 128), np.int64)
    ones = np.ones_like(words)
    return {"input_ids": words, "attention_mask": ones, "token_type_ids": ones * 0}


def _tune(one: _Tuned, data: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        words = ["tune", str(models.folder(one.name)), "--slo", f"{one.slo_ms}ms", "--json"]
        words += ["--fresh", "--budget", f"{_BUDGET_S:g}s", "--output", f"{folder}/card.yaml"]
        words += ["--data", str(data), "--max-drop", f"{one.max_drop:g}"]
        found = command.ask(*words)
    if not found["raced"]:
        raise RuntimeError(f"{one.name} could not be tuned: {found}")
    return found


def _spent(one: _Tuned, found: dict[str, Any]) -> Iterator[Figure]:
    chosen = found["chosen"]
    yield Figure(f"{one.name}, time to tune", found["spent_s"], "s", _BUDGET_S * 1.05, at_most=True)
    row = found["candidates"][0]
    accuracy = row["accuracy"]
    if accuracy is not None:
        yield Figure(f"{one.name}, cosine to f32", accuracy["cosine"], "", 0.999)
        if accuracy["top1_agreement"] is not None and one.trained:
            yield Figure(f"{one.name}, top-1 as in f32", accuracy["top1_agreement"], "", 0.99)
    knee = next(
        lab["knee"]
        for lab in found["measured"]
        if all(lab[key] == chosen[key] for key in ("backend", "precision", "threads", "f32_layers"))
    )
    if chosen != found["untuned"]:  # whose cap the scheduler lowers by itself
        steps = abs(math.log2(chosen["max_batch"]) - math.log2(knee))
        yield Figure(f"{one.name}, cap from the knee", steps, "steps", 1.0, at_most=True)


def _gain(one: _Tuned, found: dict[str, Any], data: Path) -> Figure:
    chosen = _candidate(found["chosen"])
    plain = Candidate(BackendName.ONNXRUNTIME, Precision.F32, found["cores"], 1, 64)
    slices = _drive(one, found, data, (chosen, plain), _GAIN_SLICES)
    ratio = fmean(slices[chosen]) / fmean(slices[plain])
    said = differ(slices[plain], slices[chosen])
    bounds = "" if said is None else f" ({1 + said.low:.2f} to {1 + said.high:.2f})"
    # The gains wanted are those of a processor with AMX; on others there is no bar but no loss.
    has_amx = "amx_bf16" in tuned.fingerprint().features
    return Figure(
        f"{one.name}, tuned against ONNX Runtime f32, in time within {one.slo_ms} ms",
        ratio,
        "times",
        one.gain if has_amx else min(one.gain, _WITHIN),
        note=f"{fmean(slices[chosen]):,.4g} and {fmean(slices[plain]):,.4g}/s{bounds}; {chosen}"
        + ("" if has_amx else "; this processor has no AMX"),
    )


def _brute(
    one: _Tuned, found: dict[str, Any], data: Path, progress: Callable[[str], None]
) -> Figure:
    """Drive every backend, precision, split of the cores, with the cap at the knee and above."""
    chosen = _candidate(found["chosen"])
    everyone = {chosen}
    for lab in found["measured"]:
        for instances in range(1, found["cores"] // lab["threads"] + 1):
            for cap in {lab["knee"], lab["runs"][-1]["rows"]}:
                everyone.add(
                    Candidate(
                        BackendName(lab["backend"]),
                        Precision(lab["precision"]),
                        instances,
                        lab["threads"],
                        cap,
                        f32_layers=lab["f32_layers"],
                    )
                )
    rates: dict[Candidate, float] = {}
    for number, other in enumerate(sorted(everyone - {chosen}, key=str), 1):
        progress(f"{one.name}, {number} of {len(everyone) - 1}: {other}")
        slices = _drive(one, found, data, (chosen, other), _BRUTE_SLICES)
        # In the unit of the chosen one, which was driven in turns with each.
        rates[other] = fmean(slices[other]) / fmean(slices[chosen])
    best = max(rates, key=lambda other: rates[other])
    # The best of many is also the one with most luck: it is looked at again, for longer.
    slices = _drive(one, found, data, (chosen, best), _GAIN_SLICES)
    rates[best] = fmean(slices[best]) / fmean(slices[chosen])
    return Figure(
        f"{one.name}, the tuner's choice of the best of {len(everyone)} combinations",
        1 / max(rates[best], 1.0),
        "",
        _WITHIN,
        note=f"{chosen}; next is {best}, {rates[best]:.2f} times as much",
    )


def _candidate(said: dict[str, Any]) -> Candidate:
    return Candidate(
        BackendName(said["backend"]),
        Precision(said["precision"]),
        said["instances"],
        said["threads"],
        said["max_batch"],
        said["linger_ms"],
        said["f32_layers"],
    )


def _drive(
    one: _Tuned,
    found: dict[str, Any],
    data: Path,
    who: Sequence[Candidate],
    slices: _Slices,
) -> dict[Candidate, list[float]]:
    """Answers in time a second of each, in turns."""
    known = {_candidate(row): row["forecast_rps"] for row in found["candidates"]}
    entry = Entry(
        str(models.folder(one.name)), Path(models.folder(one.name)).name,
        Objective(one.slo_ms / 1e3), (), data,
    )  # fmt: skip
    seen: dict[Candidate, list[float]] = {candidate: [] for candidate in who}
    with ExitStack() as stack, Journal(None) as journal:
        contestants, ceiling = {}, Ceiling(entry.most_rps)
        for candidate in who:
            hoped = known.get(candidate) or max(known.values()) / 2
            contestants[candidate] = Contestant(candidate, entry, journal, hoped, ceiling)
            stack.callback(contestants[candidate].close)
            contestants[candidate].slice(
                slices.length_s / 2, "first"
            )  # finds its rate; not counted
        for number, candidate in enumerate(turns(who, slices.blocks)):
            seen[candidate].append(contestants[candidate].slice(slices.length_s, number))
    return seen
