"""Versions and signatures in TensorFlow Serving's words, for both of its fronts.

Source: tensorflow_serving/apis/get_model_status.proto.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.control import ModelState
from headrace.errors import ClientError, ModelNotFound, VersionNotFound
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.exchange import Core, Exchange

_STATES: dict[str, tuple[str, int]] = {
    "found": ("START", 10),
    "loading": ("LOADING", 20),
    "warming": ("LOADING", 20),
    "recovering": ("LOADING", 20),
    "serving": ("AVAILABLE", 30),
    "draining": ("UNLOADING", 40),
    "failed": ("END", 50),
    "unloaded": ("END", 50),
}
_OK, _UNKNOWN = 0, 2

SIGNATURES = frozenset({"", "serving_default"})
"""The one signature a model has here; naming none means it."""


class VersionStatus(NamedTuple):
    """One row of GetModelStatus."""

    version: int
    state: str
    number: int
    error_code: str
    error_number: int
    message: str


def find(catalog: Catalog, name: str, version: int | None) -> list[VersionStatus]:
    """The status of a version, or of all of a model's, newest first.

    Raises:
        ModelNotFound: no such model, in TensorFlow Serving's words.
        VersionNotFound: no such version.
    """
    try:
        states = catalog.states(name)
    except ModelNotFound as error:
        raise ModelNotFound(f"Could not find any versions of model {name}") from error
    found = [_status(state) for state in states if version in {None, state.version}]
    if not found:
        raise VersionNotFound(f"Could not find version {version} of model {name}")
    return found


def _status(state: ModelState) -> VersionStatus:
    word, number = _STATES.get(state.state, ("UNKNOWN", 0))
    if state.state == "failed":
        return VersionStatus(state.version, word, number, "UNKNOWN", _UNKNOWN, state.reason)
    return VersionStatus(state.version, word, number, "OK", _OK, "")


def find_served(core: Core, exchange: Exchange, name: str, version: int | None) -> ServedModel:
    """Find the model that serves a request.

    Raises:
        HeadraceError: as ``Core.find``; what is unknown, in TensorFlow Serving's words.
    """
    try:
        return core.find(exchange, name, version)
    except (ModelNotFound, VersionNotFound) as error:
        asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise type(error)(f"Servable not found for request: {asked}; {error.message}") from error


def unknown_label(label: str) -> ClientError:
    """Refuse a version label: labels are not assigned here."""
    return ClientError(f"Unrecognized servable version label: {label}")
