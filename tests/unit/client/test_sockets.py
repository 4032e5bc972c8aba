"""A name with dead addresses is reached by a live one, and a call's time holds meanwhile."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

import pytest

from headrace.client.sockets import Place, connect, connect_async, has_news, part_s
from headrace.errors import Expired
from tests.unit.client.servers import leads_nowhere


def _in_a_loop(places: Sequence[Place], ends_s: float) -> socket.socket:
    return asyncio.run(connect_async(places, ends_s))


either = pytest.mark.parametrize("reach", [connect, _in_a_loop], ids=["threads", "loop"])
Reach = Callable[[Sequence[Place], float], socket.socket]


def _place(port: int) -> Place:
    return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)[0]


def _refusing() -> Place:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return _place(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("left_s", "others", "part"),
    [(1.0, 0, 1.0), (30.0, 0, 30.0), (1.0, 1, 0.5), (1.0, 3, 0.25), (30.0, 1, 3.0), (30.0, 9, 3.0)],
)
def test_an_address_has_a_part_of_the_time_and_the_last_has_all_that_is_left(
    left_s: float, others: int, part: float
) -> None:
    assert part_s(left_s, others) == part


@either
def test_dead_addresses_do_not_keep_from_a_live_one(reach: Reach) -> None:
    with ExitStack() as stack:
        dead = _place(stack.enter_context(leads_nowhere()))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        live = _place(listener.getsockname()[1])
        began_s = time.monotonic()
        with closing(reach([dead, _refusing(), live, dead], began_s + 0.8)) as reached:
            assert reached.getpeername() == listener.getsockname()
        assert time.monotonic() - began_s < 0.5


@either
def test_the_time_holds_where_all_addresses_are_dead(reach: Reach) -> None:
    with leads_nowhere() as port:
        began_s = time.monotonic()
        with pytest.raises((TimeoutError, Expired)):
            reach([_place(port)] * 4, began_s + 0.2)
        assert 0.2 <= time.monotonic() - began_s < 0.4


@either
def test_the_last_address_says_why_none_can_be_had(reach: Reach) -> None:
    with leads_nowhere() as port, pytest.raises(ConnectionRefusedError):
        reach([_place(port), _refusing()], time.monotonic() + 0.4)


def test_bytes_and_the_end_are_news_and_a_closed_socket_has_some() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not has_news(ours.fileno())
        theirs.send(b"x")
        assert has_news(ours.fileno())
        ours.recv(1)
        theirs.close()
        assert has_news(ours.fileno())
    assert has_news(ours.fileno())
