"""Which version of a model has which sequence; for the event loop's thread."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from headrace.receiver.catalog import ServedModel
from headrace.values import SequenceCall


class Owner(Protocol):
    """What runs the sequences of one version."""

    @property
    def served(self) -> ServedModel:
        """The version."""


Kind = TypeVar("Kind", bound=Owner)


class Owners(Generic[Kind]):
    """Which version each live sequence is on: it stays there while that version serves.

    One that is being started anew on another version is on both, for should that fail it lives on
    where it was; who is asked stands last.
    """

    def __init__(self) -> None:
        self._owners: dict[tuple[str, str], tuple[Kind, ...]] = {}

    def route(self, asked: Kind, call: SequenceCall, version: int | None) -> Kind:
        """Return who answers: who has the sequence, unless it starts anew or names its version."""
        key = (asked.served.name, call.id)
        owners = self._owners.get(key, ())
        if call.start:
            self._owners[key] = (*(one for one in owners if one is not asked), asked)
        elif version is None and owners:
            return owners[-1]
        return asked

    def settle(self, owner: Kind, identity: str) -> None:
        """Note that a sequence has begun there: it is no longer where it was before."""
        key = (owner.served.name, identity)
        owners = self._owners.get(key, ())
        if owner in owners:
            self._owners[key] = owners[owners.index(owner) :]

    def drop(self, owner: Kind, identity: str) -> None:
        """Note that a sequence has ended there, or has not begun."""
        self._drop(owner, (owner.served.name, identity))

    def remove(self, owner: Kind) -> None:
        """Send nothing more to a version that is being taken away."""
        for key in list(self._owners):
            self._drop(owner, key)

    def _drop(self, owner: Kind, key: tuple[str, str]) -> None:
        left = tuple(one for one in self._owners.get(key, ()) if one is not owner)
        if left:
            self._owners[key] = left
        else:
            self._owners.pop(key, None)
