"""Triton's ``sequence_batching`` as a card's ``sequence``, as far as both mean the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headrace.importers.rules import Draft, Fate, Handler, Note, Rule, Spot, walk
from headrace.importers.textproto import Field

_MAPPED, _OWN, _LOST = Fate.MAPPED, Fate.NOT_NEEDED, Fate.NOT_MAPPED
_NO_STATE = "no state that the server could keep: a model must give it as an output"
_DELAY = Rule(_OWN, "", "a batch waits only while waiting pays; say what counts with `slo_ms`")
# Each is compared with those before: no model has nearly as many.
_MOST_STATES = 1024

SEQUENCE_RULES: dict[str, Rule] = {
    "sequence_batching.max_sequence_idle_microseconds": Rule(_MAPPED, "sequence.idle_s", ""),
    "sequence_batching.state": Rule(
        _MAPPED, "sequence.state", "`initial` is 0; rows are on axis 0 unless `batch_axis` is set"
    ),
    "sequence_batching.oldest.max_candidate_sequences": Rule(
        _LOST,
        "",
        "more of an instance wait there; here `sequence.max_streams` is of the model, and more are "
        "refused",
    ),
    "sequence_batching.control_input": Rule(
        _LOST,
        "",
        "nobody fills these inputs in: clients send them, or `sequence.constants` has them",
    ),
    "sequence_batching.iterative_sequence": Rule(_LOST, "", "clients send each step"),
    "sequence_batching.direct": Rule(_OWN, "", "sequences share batches as they come"),
    "sequence_batching.oldest.preferred_batch_size": Rule(_OWN, "", "warm-up measures sizes"),
    "sequence_batching.oldest.max_queue_delay_microseconds": _DELAY,
    "sequence_batching.oldest.preserve_ordering": Rule(
        _OWN, "", "requests of one sequence run one after the other"
    ),
}
"""The fields of ``sequence_batching``."""


def add_sequence(draft: Draft, spot: Spot) -> None:
    """Map the whole of it; without state that the server keeps there is nothing of ours."""
    message = draft.only(spot).message()
    inner = Draft(draft.source, SEQUENCE_RULES, "sequence.")
    walk(inner, message, SEQUENCE_RULES, _HANDLERS, "sequence_batching.")
    if "state" in inner.keys:
        draft.notes += inner.notes
        draft.keys["sequence"] = inner.keys
        draft.origins["sequence"] = f"{spot.field.place} {spot.path}"
    else:
        draft.notes += map(_lost, inner.notes)
        draft.lose(spot, _NO_STATE)


def _lost(note: Note) -> Note:
    """What a field becomes where there is no ``sequence`` for it to be in."""
    if note.fate is _MAPPED:
        return replace(note, fate=_LOST, key="", words=_NO_STATE)
    return note


def _idle(draft: Draft, spot: Spot) -> None:
    micros = draft.size(spot, 0, 2**63)
    if micros == 0:
        draft.note(spot, _OWN, "", "the default: `idle_s: 60`")
    elif micros is not None:
        draft.put(spot, "idle_s", micros / 1e6)


def _state(draft: Draft, spot: Spot) -> None:
    message = spot.field.message()
    names = [message.one("input_name"), message.one("output_name")]
    before, after = ("" if name is None else name.text() for name in names)
    known: list[dict[str, Any]] = draft.keys.get("state", [])
    if len(known) >= _MOST_STATES:
        draft.lose(spot, f"{_MOST_STATES} tensors of state are kept; name others in a card")
        return
    twice = any(before == one["input"] or after == one["output"] for one in known)
    if not before or not after or twice:
        draft.lose(spot, "state is an input and an output, each once")
        return
    draft.put(spot, "state", [*known, {"input": before, "output": after}])
    for field in message.all("initial_state"):
        _initial(draft, Spot(f"{spot.path}.initial_state", field, message))
    if growable := message.one("use_growable_memory"):
        draft.lose(
            Spot(f"{spot.path}.use_growable_memory", growable, message),
            "the shape of state is fixed in the model",
        )


def _initial(draft: Draft, spot: Spot) -> None:
    file: Field | None = spot.field.message().one("data_file")
    if file is None:
        draft.note(spot, _MAPPED, "sequence.state.initial", "0, the default")
    else:
        draft.lose(spot, "begins with 0; another number is `initial` of `sequence.state`")


_HANDLERS: dict[str, Handler] = {
    "sequence_batching.max_sequence_idle_microseconds": _idle,
    "sequence_batching.state": _state,
}
