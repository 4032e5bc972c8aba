"""What a server says that nobody has asked for, or before it has heard all."""

from __future__ import annotations

import asyncio
import os

import numpy as np
import pytest

import headrace
from headrace import errors
from headrace.client import RetryPolicy
from tests.contract.clients import KINDS, opened
from tests.unit.client.kernel import unread_bytes
from tests.unit.client.servers import OK, Scripted, answer, refuses_early

X = {"x": np.ones(1, np.float32)}
NEVER = RetryPolicy(attempts=1)
over_http = pytest.mark.parametrize("kind", [one for one in KINDS if one.startswith("http")])
unasked = pytest.mark.parametrize(
    "said",
    [
        answer(body=OK.replace(b"[5]", b"[666]")),
        answer(408, b'{"error": "idle for too long"}', {"connection": "close"}),
    ],
    ids=["an answer", "a goodbye"],
)


def _say(server: Scripted, said: bytes) -> None:
    server.opened[0].sendall(said)
    while not unread_bytes(server.address):
        os.sched_yield()


@over_http
@unasked
def test_what_was_said_to_a_connection_at_rest_answers_no_call(kind: str, said: bytes) -> None:
    server = Scripted([])
    with server.running(), opened(kind, server.address, retry=NEVER) as client:
        client.infer("m", X)
        _say(server, said)
        assert client.infer("m", X).output == 5
        assert server.connections == 2


@unasked
async def test_nor_does_what_the_event_loop_has_fetched_meanwhile(said: bytes) -> None:
    server = Scripted([])
    with server.running():
        async with headrace.AsyncClient(f"http://{server.address}", retry=NEVER) as client:
            await client.infer("m", X)
            _say(server, said)
            while unread_bytes(server.address):  # noqa: ASYNC110 - the kernel has no event
                await asyncio.sleep(0)
            assert (await client.infer("m", X)).output == 5
            assert server.connections == 2
        await asyncio.sleep(0)  # asyncio closes sockets in its next turn


@over_http
def test_a_refusal_counts_that_came_before_all_of_the_request_was_sent(kind: str) -> None:
    refusal = answer(413, b'{"error": "too large"}', {"connection": "close"})

    def heard(address: str) -> bool:  # a thread reads when it cannot write any more
        return (unread_bytes(address) == 0) is (kind == "http-aio")

    with (
        refuses_early(refusal, heard) as address,
        opened(kind, address, retry=NEVER) as client,
        pytest.raises(errors.BodyTooLarge, match="too large"),
    ):
        client.infer("m", {"x": np.zeros(40_000_000, np.uint8)}, timeout_s=10)


async def test_large_answers_wait_for_those_who_read_them() -> None:
    """More than is read ahead arrives whole, over one connection, again and again."""
    size = 3_000_000
    large = b'{"outputs": [{"name": "y", "datatype": "UINT8", "shape": [%d], ' % size
    large += b'"parameters": {"binary_data_size": %d}}]}' % size
    headers = {"inference-header-content-length": str(len(large))}
    step = answer(body=large + bytes(range(250)) * (size // 250), headers=headers)
    server = Scripted([step] * 3)
    with server.running():
        async with headrace.AsyncClient(f"http://{server.address}") as client:
            for _ in range(3):
                found = (await client.infer("m", X)).output.reshape(-1, 250)
                assert (found == np.arange(250, dtype=np.uint8)).all()
            assert server.connections == 1
        await asyncio.sleep(0)
