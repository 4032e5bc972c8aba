"""Many clients at once, each on a connection of its own, and what became of every request."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

BROKEN = 0
"""The status of a request whose connection broke before its answer."""


class Answer(NamedTuple):
    """What became of one request; ``code`` is the error's, empty when there was none."""

    status: int
    code: str
    seconds: float
    output: Any = None
    headers: Mapping[str, str] = {}


class Client:
    """One HTTP/1.1 connection, opened when it is first needed."""

    def __init__(self, address: str, timeout_s: float = 30) -> None:
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
        self._sent_s = 0.0

    def ask(
        self,
        model: str,
        value: float = 1.0,
        rows: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send rows of one value to a model with four inputs, and wait for the answer."""
        try:
            self.send(model, value, rows, headers)
        except OSError as error:
            return self._broken(error)
        return self.receive()

    def send(
        self,
        model: str,
        value: float = 1.0,
        rows: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a request and do not wait for its answer."""
        self._sent_s = time.monotonic()
        body = json.dumps({"input": [[value] * 4] * rows})
        self._connection.request("POST", f"/predict/{model}", body, dict(headers or {}))

    def receive(self) -> Answer:
        """Wait for the answer to what was sent."""
        try:
            response = self._connection.getresponse()
            body = json.loads(response.read())
        except (OSError, http.client.HTTPException) as error:
            return self._broken(error)
        lower = {name.lower(): text for name, text in response.getheaders()}
        return Answer(
            response.status,
            lower.get("headrace-error", ""),
            time.monotonic() - self._sent_s,
            body.get("output", body.get("error")),
            lower,
        )

    def _broken(self, error: Exception) -> Answer:
        self._connection.close()
        return Answer(BROKEN, type(error).__name__, time.monotonic() - self._sent_s)

    def close(self) -> None:
        """Close the connection; whoever still waits on it has left."""
        self._connection.close()


class Crowd:
    """Clients that each ask when told to; the answers come as futures."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._pool = ThreadPoolExecutor(max_workers=64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()

    def ask(self, model: str, value: float = 1.0, rows: int = 1) -> Future[Answer]:
        """Send one request on a connection of its own."""
        return self._pool.submit(self._ask, model, value, rows)

    def _ask(self, model: str, value: float, rows: int) -> Answer:
        client = Client(self._address)
        try:
            return client.ask(model, value, rows)
        finally:
            client.close()

    def rush(self, model: str, clients: int, each: int) -> list[Answer]:
        """Let clients ask as fast as they can, ``each`` times; return every answer."""

        def hurry() -> list[Answer]:
            client = Client(self._address)
            answers = [client.ask(model) for _ in range(each)]
            client.close()
            return answers

        futures = [self._pool.submit(hurry) for _ in range(clients)]
        return [answer for future in futures for answer in future.result()]


class Load:
    """Clients that ask one model over and over while the context lasts.

    A client stops when it is told that its connection closes, as a good one does.
    """

    def __init__(self, address: str, model: str, clients: int = 8) -> None:
        self._address = address
        self._model = model
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        self.answers: list[Answer] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self.join()

    def join(self) -> None:
        """Wait until every client has stopped."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        client = Client(self._address)
        while not self._stopping.is_set():
            answer = client.ask(self._model)
            self.answers.append(answer)
            if answer.headers.get("connection") == "close":
                break
        client.close()


def statuses(answers: Iterable[Answer]) -> Counter[int]:
    """How often each status came."""
    return Counter(answer.status for answer in answers)


def codes(answers: Iterable[Answer]) -> Counter[str]:
    """How often each outcome came, by the names the metrics have for them."""
    return Counter(answer.code or "ok" for answer in answers)
