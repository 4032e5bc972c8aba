"""What both clients are made of, and know of a call: everything but waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.client.address import Address, library, read_address
from headrace.client.oip_grpc import OipGrpc
from headrace.client.oip_http import OipHttp
from headrace.client.options import Options
from headrace.client.question import Codec, Question, Value
from headrace.client.result import ModelMetadata, Result
from headrace.client.retry import RetryBudget, RetryPolicy
from headrace.client.tensors import Inputs, prepare
from headrace.errors import ClientError, HeadraceError, InvalidTimeout

TIMEOUT_S = 30.0
"""How long a call may take where nothing else is said."""

_LONGEST_S = 1e6  # eleven days; locks and sockets cannot wait for much longer
_METADATA_KEPT = 1024


class Calls:
    """Asks a server of the Open Inference Protocol.

    Args:
        url: ``http://``, ``https://``, ``grpc://`` or ``grpcs://``, host and port.
        timeout_s: how long a call may take, retries and all, where it does not say itself.
        retry: when to try again; ``RetryPolicy(attempts=1)`` never does.
        headers: sent with every request.
        ca_file: certificates to trust instead of the system's.
        binary: over HTTP, tensors go as bytes; False is for servers that read JSON only.

    Raises:
        SettingsError: the address cannot be read.
        BackendMissing: the library for it is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: Path | str | None = None,
        binary: bool = True,
    ) -> None:
        _end_s(timeout_s)
        self._address = read_address(url, ca_file, headers)
        self._timeout_s = timeout_s
        self._retry = RetryPolicy() if retry is None else retry
        self._budget = RetryBudget()
        self._codec = _codec(self._address, binary=binary)
        self._metadata: dict[tuple[str, str], ModelMetadata] = {}

    def _end_s(self, timeout_s: float | None = None) -> float:
        return _end_s(self._timeout_s if timeout_s is None else timeout_s)

    def _prepare(
        self, model: str, inputs: Inputs, options: Options, metadata: ModelMetadata | None
    ) -> Question[Result]:
        try:
            return self._codec.infer(prepare(model, inputs, options, metadata))
        except ClientError:
            self._forget(model, options)
            raise

    def _remember(self, key: tuple[str, str], metadata: ModelMetadata) -> ModelMetadata:
        if len(self._metadata) >= _METADATA_KEPT:
            self._metadata.clear()
        self._metadata[key] = metadata
        return metadata

    def _forget(self, model: str, options: Options) -> None:
        """Ask the model anew next time: it may have been changed for another."""
        self._metadata.pop((model, version_text(options.version)), None)

    def _pause_s(
        self, failures: Sequence[HeadraceError], ends_s: float, question: Question[Value]
    ) -> float | None:
        """How long to wait before the next try, or None: there is none."""
        pause_s = self._retry.pause_s(
            failures,
            ends_s - time.monotonic(),
            random.random(),  # noqa: S311 - jitter
            repeatable=question.repeatable,
        )
        return pause_s if pause_s is not None and self._budget.take() else None


def make_transport(address: Address, kind: str = "") -> Any:
    """The transport of that kind (``""`` or ``"Async"``) for an address.

    Raises:
        BackendMissing: the library for it is not installed.
    """
    name = "grpc" if address.over_grpc else "http"
    library("grpc" if address.over_grpc else "httpcore")
    module = library(f"headrace.client.{name}_transport")
    return getattr(module, f"{kind}{name.capitalize()}Transport")(address)


def version_text(version: int | str | None) -> str:
    """A version as the protocol writes it; empty is the server's choice."""
    return "" if version is None else str(version)


def _codec(address: Address, *, binary: bool) -> Codec:
    return OipGrpc() if address.over_grpc else OipHttp(address.prefix, binary=binary)


def _end_s(timeout_s: float) -> float:
    """When a call that begins now must end.

    Raises:
        InvalidTimeout: the timeout is no time.
    """
    if not 0 < timeout_s < _LONGEST_S:
        raise InvalidTimeout(f"timeout_s must be seconds, more than 0, not {timeout_s!r}")
    return time.monotonic() + timeout_s
