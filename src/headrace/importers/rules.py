"""What may become of a field of another server's configuration, and the walk that asks of each.

A table says it for every field that server knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from headrace.importers.textproto import Field, Message


class Fate(StrEnum):
    """What becomes of a field."""

    MAPPED = "mapped"
    NOT_NEEDED = "not needed"
    NOT_MAPPED = "not mapped"
    UNKNOWN = "unknown"


class Rule(NamedTuple):
    """Of one field: its fate, the key it becomes (``""``: none), and why or what to do instead."""

    fate: Fate
    key: str
    words: str


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one field that was given; ``place`` is its file and line."""

    place: str
    field: str
    said: str
    fate: Fate
    key: str
    words: str


@dataclass(frozen=True, slots=True)
class Imported:
    """One model, or what holds for all of them, in our words.

    ``keys`` are those of ``ModelSettings``; ``origins`` says of each where it comes from;
    ``left_out`` why the model cannot be served here, None when it can; ``shared`` whether the keys
    are of every model.
    """

    source: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    left_out: str | None = None
    shared: bool = False


class Spot(NamedTuple):
    """A field where it stands."""

    path: str
    field: Field
    parent: Message


class Draft:
    """An ``Imported`` in the making."""

    def __init__(self, source: str, rules: Mapping[str, Rule], section: str = "") -> None:
        self.source = source
        self.keys: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.notes: list[Note] = []
        self.left_out: str | None = None
        self._rules = rules
        self._section = section

    def put(self, spot: Spot, key: str, value: Any, words: str = "") -> None:
        """Set a key, and note that the field became it."""
        self.keys[key] = value
        self.origins[key] = f"{spot.field.place} {spot.path}"
        self.note(spot, Fate.MAPPED, self._section + key, words or self._rules[spot.path].words)

    def lose(self, spot: Spot, words: str) -> None:
        """Note that the field became nothing, and what to do."""
        self.note(spot, Fate.NOT_MAPPED, "", words)

    def note(self, spot: Spot, fate: Fate, key: str = "", words: str = "") -> None:
        """Note what became of a field."""
        given = spot.field
        self.notes.append(Note(given.place, spot.path, given.shown(), fate, key, words))

    def only(self, spot: Spot) -> Field:
        """The field, which may be given once."""
        spot.parent.one(spot.field.name)
        return spot.field

    def size(self, spot: Spot, low: int, high: int) -> int | None:
        """A number that may become ours; None, and a note, when it is below ``low``.

        One above ``high`` becomes that.
        """
        value = self.only(spot).whole()
        if value < low:
            self.lose(spot, f"a number below {low} says nothing here")
            return None
        return min(value, high)

    def done(self) -> Imported:
        """What was made."""
        return Imported(
            self.source, dict(self.keys), dict(self.origins), tuple(self.notes), self.left_out
        )


Handler = Callable[[Draft, Spot], None]
"""Maps one field, and notes what became of it."""


def walk(
    draft: Draft,
    message: Message,
    rules: Mapping[str, Rule],
    handlers: Mapping[str, Handler],
    above: str = "",
) -> None:
    """Ask of every field what becomes of it; those the table does not have are unknown."""
    for given in message.fields:
        path = f"{above}{given.name}"
        spot = Spot(path, given, message)
        if path in handlers:
            handlers[path](draft, spot)
        elif path in rules:
            draft.note(spot, *rules[path])
        elif any(name.startswith(f"{path}.") for name in rules):
            walk(draft, given.message(), rules, handlers, f"{path}.")
        else:
            draft.note(spot, Fate.UNKNOWN, "", "no such field; is it spelled so?")
