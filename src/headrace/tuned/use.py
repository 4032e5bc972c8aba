"""What of a tuned card a server takes, beside what was set: pure.

Whoever set something has the last word. Some settings were found together and only hold together:
the precision is that of a backend, and threads are of so many instances. Where one of such a pair
was set otherwise, the other is not taken either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from headrace.device import CPU
from headrace.fingerprint import Fingerprint, differs
from headrace.settings import BackendName, Precision
from headrace.tuned.card import Tuned, TunedSettings

_ENGINE = ("backend", "precision", "f32_layers")
_LANES = ("instances", "threads")
# Of no other arithmetic may some layers be in f32: whatever is said of them then says nothing.
_MIXED = {"backend": BackendName.OPENVINO, "precision": Precision.BF16}
_LIBRARIES = {"inductor": "torch"}
# A card has four digits of the objective.
_SAME = 1e-3
# What batches pay depends on what runs them.
_BATCHES = ("max_batch", "linger_ms")


class Taken(NamedTuple):
    """The settings taken, and what whoever starts the server should know besides."""

    settings: dict[str, Any]
    note: str = ""


def unfit(tuned: Tuned, here: Fingerprint, model_digest: str) -> list[str]:
    """Why a tuned card does not hold for this model on this machine, in words."""
    problems = []
    if tuned.model_digest != model_digest:
        problems.append("the model's files have changed since it was tuned")
    library = tuned.settings.backend.value
    was, now = (_with_only(one, library) for one in (tuned.fingerprint, here))
    return problems + differs(was, now)


def _with_only(machine: Fingerprint, library: str) -> Fingerprint:
    """A machine without the libraries that had no part in it; most are called as backends are."""
    library = _LIBRARIES.get(library, library)
    kept = {name: version for name, version in machine.libraries.items() if name == library}
    return machine.model_copy(update={"libraries": kept})


def telling(settings: TunedSettings) -> dict[str, Any]:
    """Those of them that say something: layers in f32 only of what else is in bf16."""
    found = {key: getattr(settings, key) for key in TunedSettings.model_fields}
    if any(found[key] != value for key, value in _MIXED.items()):
        del found["f32_layers"]
    return found


def take(tuned: Tuned, said: Mapping[str, Any]) -> Taken:
    """Return what to take of a tuned card that holds; ``said`` is what somebody set."""
    if said.get("device", CPU) != CPU:
        return Taken({}, "it was measured on the processor, and the model runs on a GPU")
    found = telling(tuned.settings)
    wanted: tuple[str, ...] = ()
    if _agrees(_ENGINE, found, said):
        wanted += (*_ENGINE, *_BATCHES)
    if _agrees(_LANES, found, said):
        wanted += _LANES
    return Taken(
        {key: found[key] for key in wanted if key in found and key not in said},
        "; ".join(_notes(tuned, found, said)),
    )


def _agrees(keys: tuple[str, ...], found: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    return all(found[key] == said.get(key, found[key]) for key in keys if key in found)


def _notes(tuned: Tuned, found: Mapping[str, Any], said: Mapping[str, Any]) -> list[str]:
    notes = []
    other = [key for key in found if key in said and said[key] != found[key]]
    larger = "max_batch" in other and said["max_batch"] > found["max_batch"]
    if larger and _agrees(_ENGINE, found, said):
        # As models' cards often say it. No harm: what does not pay is not made.
        other.remove("max_batch")
        notes.append(
            f"max_batch is set to {said['max_batch']}, though past {found['max_batch']} batches do "
            "not pay"
        )
    if other:
        notes.append(f"{', '.join(other)} is set otherwise, for which nothing was measured")
    if tuned.evidence.p99_s is None:
        notes.append(
            "that rate is what was in time of more than it holds, for no rate was seen to meet the "
            "objective: tune when the machine is quiet, or with a longer --budget"
        )
    slo_ms, tuned_ms = said.get("slo_ms"), tuned.objective.slo_ms
    if slo_ms is None:
        notes.append(f"no objective is set, and nothing is shed: --slo-ms {tuned_ms:g}")
    elif not math.isclose(slo_ms, tuned_ms, rel_tol=_SAME):
        notes.append(f"the objective is {slo_ms:g} ms now: tune for that")
    return notes
