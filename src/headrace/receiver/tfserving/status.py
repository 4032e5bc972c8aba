"""Versions, labels and refusals in TensorFlow Serving's words, for both of its fronts.

Source: tensorflow_serving/apis/get_model_status.proto.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import NamedTuple, Self

from headrace.control import ModelState
from headrace.errors import (
    ClientError,
    HeadraceError,
    ModelNotFound,
    NotResident,
    VersionNotFound,
)
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.exchange import Core, Exchange
from headrace.statuses import GrpcStatus
from headrace.values import Request, Response

_STATES: dict[str, tuple[str, int]] = {
    "found": ("START", 10),
    "evicting": ("AVAILABLE", 30),
    "listed": ("AVAILABLE", 30),  # to whoever asks whether to send a request, and sends none else
    "loading": ("LOADING", 20),
    "warming": ("LOADING", 20),
    "recovering": ("LOADING", 20),
    "serving": ("AVAILABLE", 30),
    "draining": ("UNLOADING", 40),
    "failed": ("END", 50),
    "unloaded": ("END", 50),
}
_OK, _UNKNOWN = 0, 2

Which = int | str | None
"""A version, a label that stands for one, or the newest that serves."""


class VersionStatus(NamedTuple):
    """One row of GetModelStatus."""

    version: int
    state: str
    number: int
    error_code: str
    error_number: int
    message: str


def find(catalog: Catalog, name: str, which: Which) -> list[VersionStatus]:
    """The status of a version, or of all of a model's, newest first.

    Raises:
        ModelNotFound: no such model, in TensorFlow Serving's words.
        VersionNotFound: no such version.
        InvalidArgument: no such label.
    """
    try:
        version = catalog.version_of(name, which) if isinstance(which, str) else which
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


def find_served(core: Core, exchange: Exchange, name: str, which: Which) -> ServedModel:
    """Find the model that serves a request, and note it for the metrics.

    Raises:
        HeadraceError: as ``look_up``, or the headers of a sequence cannot be read.
    """
    served = exchange.served = look_up(core.catalog, name, which)
    return served if which is not None else core.reader(exchange, served)


def look_up(catalog: Catalog, name: str, which: Which) -> ServedModel:
    """Find a version that serves.

    Raises:
        HeadraceError: as ``Catalog.find``; what is unknown, in TensorFlow Serving's words.
    """
    version = None if isinstance(which, str) else which
    try:
        if isinstance(which, str):
            version = catalog.version_of(name, which)
        return catalog.find(name, version)
    except (ModelNotFound, VersionNotFound) as error:
        asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise type(error)(f"Servable not found for request: {asked}; {error.message}") from error


def check_signature(served: ServedModel, name: str, error: type[ClientError], words: str) -> None:
    """Check which signature is asked for; none is the one there is.

    Raises:
        ClientError: of that kind: there is none of that name; ``words`` are TensorFlow Serving's.
    """
    if name not in {"", served.signature_name}:
        raise error(f"{words.format(name)} ({served.name!r} has {served.signature_name!r})")


class Counted:
    """The context of a request that TensorFlow Serving counts: its API and its entrypoint.

    What reaches no model is not counted here: anybody could make up names without end.
    """

    __slots__ = ("_api", "_core", "_entrypoint", "_exchange", "_run_s")

    def __init__(self, core: Core, exchange: Exchange, api: str, entrypoint: str) -> None:
        self._core = core
        self._exchange = exchange
        self._api = api
        self._entrypoint = entrypoint
        self._run_s = 0.0

    def __enter__(self) -> Self:
        return self

    async def run(self, served: ServedModel, request: Request) -> Response:
        """Run a decoded request, as ``Core.run``.

        Raises:
            HeadraceError: whatever kept it from being answered.
        """
        started_s = time.monotonic()
        response = await self._core.run(self._exchange, served, request)
        self._run_s = time.monotonic() - started_s
        return response

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        served = self._exchange.served
        if served is None or kind is NotResident:  # then it is asked again
            return
        metrics = self._core.catalog.asked[served.name]
        if error is None:
            exchange = self._exchange
            request_s = exchange.load_s + time.monotonic() - exchange.arrival_s
            metrics.answered(self._api, self._entrypoint, request_s, self._run_s)
            return
        status = error.grpc_status if isinstance(error, HeadraceError) else GrpcStatus.INTERNAL
        metrics.statuses[status.name] += 1
