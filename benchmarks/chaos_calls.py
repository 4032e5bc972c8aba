"""The clients of ``chaos``: they ask by chance, in every way, and check all that comes back."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import headrace
from headrace.errors import (
    ClientError,
    HeadraceError,
    ModelNotFound,
    ServerError,
    UnavailableError,
    VersionNotFound,
)
from headrace.values import Array

MULTIPLIERS = ("tens", "hundreds")
"""Models whose answer tells of which model and version it is: see ``multiplier``."""

_TIMEOUT_S, _ENDLESS_S = 20.0, 40.0
_MOST_ROWS, _WIDTHS = 4, (3, 17, 4000)  # 4,000 numbers are 64 kB of JSON and more
_CLOSE = 1e-2  # batches of other sizes are added up in another order
# Connections that a killed receiver had, and those that come before the next one is there.
_CUT = (OSError, EOFError)


class Real(NamedTuple):
    """A real model, and what it answered to each of some requests while nothing happened."""

    name: str
    requests: Sequence[Mapping[str, Array]]
    answers: Sequence[Mapping[str, Array]]


class Seen:
    """What clients saw; for all their threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._wrong: list[str] = []

    def note(self, what: str) -> None:
        """Count something."""
        with self._lock:
            self._counts[what] += 1

    def wrong(self, kind: str, what: str) -> None:
        """Count what nobody should see, and keep the first of it."""
        with self._lock:
            self._counts[kind] += 1
            self._wrong.append(f"{kind}: {what}")

    def count(self, what: str) -> int:
        """How often it was."""
        with self._lock:
            return self._counts[what]

    @property
    def first_wrong(self) -> str:
        """The first that nobody should have seen."""
        return self._wrong[0] if self._wrong else ""

    @property
    def errors(self) -> str:
        """The codes of typed errors, the most frequent first."""
        with self._lock:
            found = [(code, n) for code, n in self._counts.most_common() if code.startswith("! ")]
        return ", ".join(f"{code[2:]} {n:,}" for code, n in found)


def multiplier(model: str, version: int) -> int:
    """What this version of a model multiplies by, and no other does."""
    return 100 * (MULTIPLIERS.index(model) + 1) + version


class Caller:
    """Asks in one thread, until it is told to stop; the same seed asks for the same."""

    def __init__(self, address: str, real: Real, seen: Seen, seed: int) -> None:
        self._address = address
        self._real = real
        self._seen = seen
        self._random = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        self._clients = {
            "HTTP": headrace.Client(f"http://{address}"),
            "JSON": headrace.Client(f"http://{address}", binary=False),
            "gRPC": headrace.Client(f"grpc://{address}"),
        }

    def run(self, stopped: threading.Event) -> None:
        """Ask until then."""
        ways: list[Callable[[], None]] = [
            *[lambda client=client: self._multiply(client) for client in self._clients.values()],
            *[lambda client=client: self._ask_real(client) for client in self._clients.values()],
            self._predict,
            self._leave,
        ]
        while not stopped.is_set():
            began_s = time.monotonic()
            try:
                self._random.choice(ways)()
            except HeadraceError as error:
                self._refused(error)
            except _CUT:
                self._seen.note("cut")
            if time.monotonic() - began_s > _ENDLESS_S:
                self._seen.wrong("endless", f"a call of {time.monotonic() - began_s:.0f} s")
        for client in self._clients.values():
            client.close()

    def _refused(self, error: HeadraceError) -> None:
        """Count a typed error; those that say that the client or the server is wrong are wrong."""
        missing = isinstance(error, ModelNotFound | VersionNotFound)  # it is being replaced
        if isinstance(error, ServerError) or (isinstance(error, ClientError) and not missing):
            self._seen.wrong("mistaken", f"{error.code}: {error.message}")
        else:
            self._seen.note(f"! {error.code}")

    def _multiply(self, client: headrace.Client) -> None:
        model, x = self._made_up()
        result = client.infer(model, {"x": x}, timeout_s=_TIMEOUT_S)
        self._check(result["y"], x * np.float32(multiplier(model, int(result.version))), model)

    def _ask_real(self, client: headrace.Client) -> None:
        number = self._random.randrange(len(self._real.requests))
        request = self._real.requests[number]
        result = client.infer(self._real.name, request, timeout_s=_TIMEOUT_S)
        for name, answer in self._real.answers[number].items():
            self._check(result[name], answer, self._real.name)

    def _predict(self) -> None:
        """Ask as TensorFlow Serving's clients do, who are not told of a version."""
        model, x = self._made_up()
        body = json.dumps({"instances": x.tolist()}).encode()
        try:
            with urllib.request.urlopen(
                f"http://{self._address}/v1/models/{model}:predict", body, _TIMEOUT_S
            ) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            code = error.headers.get("headrace-error")
            if code is None or error.code == 500:
                self._seen.wrong("mistaken", f"HTTP {error.code} {error.read()[:200]!r}")
            else:
                self._seen.note(f"! {code}")
            return
        y = np.array(found["predictions"], np.float32)
        version = round(float(y.flat[0] / x.flat[0])) - multiplier(model, 0)
        self._check(y, x * np.float32(multiplier(model, version)), model)

    def _leave(self) -> None:
        """Go away in the middle of a request, with or without a word."""
        _, x = self._made_up()
        body = json.dumps({"instances": x.tolist()}).encode()
        head = f"POST /v1/models/{MULTIPLIERS[0]}:predict HTTP/1.1\r\nhost: a\r\n"
        sent = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        host, port = self._address.split(":")
        with socket.create_connection((host, int(port)), _TIMEOUT_S) as connection:
            if self._random.random() < 1 / 2:  # closed with a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(sent[: self._random.randrange(1, len(sent) + 1)])
        self._seen.note("left")

    def _made_up(self) -> tuple[str, Array]:
        shape = self._random.randint(1, _MOST_ROWS), self._random.choice(_WIDTHS)
        return self._random.choice(MULTIPLIERS), 1 + self._numbers.random(shape, np.float32)

    def _check(self, found: Array, wanted: Array, model: str) -> None:
        if found.shape == wanted.shape and np.allclose(found, wanted, rtol=_CLOSE, atol=_CLOSE):
            self._seen.note("right")
        else:
            self._seen.wrong("wrong", f"{model} {found.flat[:2]} where {wanted.flat[:2]} was right")


def recovers(error: HeadraceError) -> bool:
    """Whether an error may pass by itself."""
    return isinstance(error, UnavailableError | ModelNotFound | VersionNotFound)
