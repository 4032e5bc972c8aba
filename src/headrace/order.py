"""What the receiver orders of the supervisor: to load, unload, label and reload models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from headrace.message import Message

NOT_ALLOWED = (
    "models may not be loaded, unloaded or labelled over the wire: set server.model_control to "
    "explicit (--model-control explicit) to allow it to whoever can reach the server"
)
"""What whoever orders is told where nobody may."""


class VersionPolicy(Message):
    """Which versions of a folder to serve: the ``latest`` so many, ``specific`` ones, or all."""

    latest: int | None = None
    specific: tuple[int, ...] | None = None

    def choose(self, versions: Iterable[int]) -> frozenset[int]:
        """Those of the versions that it wants."""
        there = sorted(versions)
        if self.specific is not None:
            return frozenset(there).intersection(self.specific)
        return frozenset(there if self.latest is None else there[-self.latest :])


class Load(Message):
    """Receiver → supervisor, an order: look again where a model lies, and serve what is there.

    ``folder`` replaces that place: versioned files a client has sent. ``overrides`` are keys of
    ``ModelSettings`` that win over the model's own, as ``policy`` does where there is one.
    """

    kind: Literal["load"] = "load"
    order: int = 0
    name: str
    folder: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)
    policy: VersionPolicy | None = None


class Unload(Message):
    """Receiver → supervisor, an order: stop serving every version of a model."""

    kind: Literal["unload"] = "unload"
    order: int = 0
    name: str


class Label(Message):
    """Receiver → supervisor, an order: let labels of a model stand for other versions, or none.

    Those that are not named stay as they are.
    """

    kind: Literal["label"] = "label"
    order: int = 0
    name: str
    versions: dict[str, int | None]


class WantedModel(Message):
    """One model of a ``Reload``: its folder, which versions of it, and their labels."""

    name: str
    path: str
    policy: VersionPolicy
    labels: dict[str, int] = Field(default_factory=dict)


class Reload(Message):
    """Receiver → supervisor, an order: serve these models and no others."""

    kind: Literal["reload"] = "reload"
    order: int = 0
    models: tuple[WantedModel, ...]


class Demand(Message):
    """Receiver → supervisor, an order: a request waits for this version, which is listed.

    It is done when the version serves, or its state says why it does not.
    """

    kind: Literal["demand"] = "demand"
    order: int = 0
    name: str
    version: int


Order = Demand | Load | Unload | Label | Reload
