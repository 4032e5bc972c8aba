"""Requests at the demand of another thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from headrace.errors import StartError
from headrace.load.asker import Asker
from headrace.load.plan import Message, Protocol, Target
from headrace.load.result import OK, TIMEOUT, Outcome
from tests.unit.load.servers import METHOD, HttpServer, grpc_server


class Ends:
    """What was told, for a thread that waits for so many."""

    def __init__(self, wanted: int) -> None:
        self.told: list[tuple[str, Outcome]] = []
        self._wanted = wanted
        self._all = threading.Event()

    def __call__(self, some: Sequence[tuple[str, Outcome]]) -> None:
        self.told += some
        if len(self.told) >= self._wanted:
            self._all.set()

    def wait(self) -> dict[str, Outcome]:
        assert self._all.wait(20)
        assert len(self.told) == self._wanted
        return dict(self.told)


def _target(protocol: Protocol, address: str, *bodies: bytes, timeout_s: float = 20.0) -> Target:
    messages = tuple(Message(body) for body in bodies)
    return Target(protocol, address, METHOD, messages, timeout_s=timeout_s)


def test_every_token_is_told_once_with_its_own_end() -> None:
    ends = Ends(100)
    with grpc_server() as (address, stage):
        target = _target(Protocol.GRPC, address, b"x", b"full")
        with Asker[str](target, 50, ends) as asker:
            asker.submit((f"{number}", number % 2) for number in range(100))
            found = ends.wait()
    assert stage.came == 100
    refused = Outcome("RESOURCE_EXHAUSTED", "queue_full")
    assert found == {f"{number}": refused if number % 2 else OK for number in range(100)}


def test_no_more_than_so_many_are_under_way_and_the_others_wait_their_turn() -> None:
    ends = Ends(30)
    with (
        grpc_server(together=3) as (address, stage),
        Asker[str](_target(Protocol.GRPC, address, b"x"), 3, ends) as asker,
    ):
        asker.submit((f"{number}", 0) for number in range(30))
        found = ends.wait()
    assert stage.most_inside == 3
    assert set(found.values()) == {OK}


def test_what_is_not_answered_in_time_is_told_so() -> None:
    ends = Ends(2)
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, b"hang", b"x", timeout_s=0.2)
        with Asker[str](target, 2, ends) as asker:
            asker.submit([("a", 0), ("b", 1)])
            assert ends.wait() == {"a": TIMEOUT, "b": OK}


def test_a_target_that_is_not_there_is_an_error() -> None:
    target = _target(Protocol.HTTP, "nowhere.invalid:80", b"x")
    with pytest.raises(StartError, match="cannot find"), Asker[str](target, 1, Ends(0)):
        pass


def test_after_the_end_nobody_is_asked() -> None:
    ends = Ends(1)
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, b"x")
        with Asker[str](target, 1, ends) as asker:
            asker.submit([("a", 0)])
            ends.wait()
        asker.submit([("b", 0)])
    assert server.stage.came == 1
