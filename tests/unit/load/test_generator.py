"""The sender against real servers: an HTTP/1.1 one and grpcio's."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from headrace.errors import StartError
from headrace.load.arrivals import Arrivals, constant
from headrace.load.generator import generate
from headrace.load.plan import ClosedLoop, Message, OpenLoop, Protocol, Target
from headrace.load.result import (
    CONNECTION_LOST,
    CONNECTION_REFUSED,
    NOT_SENT,
    OK,
    PROTOCOL_ERROR,
    TIMEOUT,
    Kind,
    Outcome,
    Result,
)
from headrace.load.rows import Rows
from tests.unit.load.servers import METHOD, HttpServer, Stage, grpc_server

PROTOCOLS = pytest.mark.parametrize("protocol", Protocol)


@contextlib.contextmanager
def _server(protocol: Protocol, together: int = 1) -> Iterator[tuple[str, Stage]]:
    if protocol is Protocol.GRPC:
        with grpc_server(together) as (address, stage):
            yield address, stage
    else:
        with HttpServer(together) as server:
            yield server.address, server.stage


def _target(
    protocol: Protocol,
    address: str,
    *bodies: bytes,
    timeout_s: float = 20.0,
    connections: int | None = None,
    keep: int = 0,
) -> Target:
    messages = tuple(Message(body) for body in bodies)
    return Target(protocol, address, METHOD, messages, "POST", (), timeout_s, connections, keep)


def _open(*times_s: float, max_outstanding: int = 1000) -> OpenLoop:
    return OpenLoop(Arrivals(np.array(times_s), 1.0), max_outstanding)


def _outcomes(result: Result) -> list[Outcome]:
    return [result.outcomes[number] for number in result.outcome]


@PROTOCOLS
def test_every_planned_request_is_sent_once_not_before_its_time_and_answered(
    protocol: Protocol,
) -> None:
    plan = OpenLoop(constant(500, 0.2))
    with _server(protocol) as (address, stage):
        result = generate(plan, _target(protocol, address, b"a", b"b", keep=3))
    assert stage.came == len(result) == 100
    assert Counter(stage.bodies) == {b"a": 50, b"b": 50}
    assert set(_outcomes(result)) == {OK}
    np.testing.assert_array_equal(result.intended_s, plan.arrivals.times_s)
    assert np.all(result.intended_s <= result.sent_s)
    assert np.all(result.sent_s < result.done_s)
    assert [result.answers[index].body for index in range(3)] == [b"a", b"b", b"a"]
    assert (result.duration_s, result.concurrency) == (0.2, None)


@PROTOCOLS
def test_requests_go_at_their_times_whatever_the_answers_do(protocol: Protocol) -> None:
    """Nobody is answered before the last has come: a sender that waited would wait for ever."""
    times_s = np.arange(20) / 200
    with _server(protocol, together=20) as (address, stage):
        result = generate(_open(*times_s), _target(protocol, address, b"x"))
    assert stage.most_inside == 20
    assert set(_outcomes(result)) == {OK}
    # Latency counts from the intended time: the first waited for all the others' times.
    assert np.all(result.done_s - result.intended_s >= times_s[-1] - times_s)


@PROTOCOLS
def test_callers_each_have_one_request_under_way_until_the_time_is_up(protocol: Protocol) -> None:
    with _server(protocol, together=7) as (address, stage):
        result = generate(ClosedLoop(7, 0.2), _target(protocol, address, b"x"))
    assert stage.most_inside == 7
    assert stage.came == len(result) > 7
    assert set(_outcomes(result)) == {OK}
    assert result.concurrency == 7
    started = np.sort(result.intended_s)
    assert started[0] >= 0
    assert started[-1] < 0.2
    # At any moment as many as there are callers: the 8th began when the first had its answer.
    assert np.all(started[7:] >= np.sort(result.done_s)[:-7])


@pytest.mark.parametrize("plan", [OpenLoop(constant(100, 2.0)), ClosedLoop(3, 2.0)])
@pytest.mark.parametrize(("late_s", "sent_s"), [(1.0, 1.0), (60.0, 2.0)])
def test_told_to_stop_a_run_has_sent_until_then_or_all_of_its_plan(
    plan: OpenLoop | ClosedLoop, late_s: float, sent_s: float
) -> None:
    rows = Rows.alone(1000)
    rows.stop()
    with socket.create_server(("127.0.0.1", 0)) as nobody:  # who is asked nothing
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        target = _target(Protocol.HTTP, address, b"x", connections=1)
        result = generate(plan, target, lambda: time.monotonic() - late_s, rows)
    assert result.duration_s == pytest.approx(sent_s, abs=0.5)


@PROTOCOLS
def test_a_refusal_is_told_from_a_failure_by_status_and_code(protocol: Protocol) -> None:
    with _server(protocol) as (address, _):
        result = generate(_open(0, 0, 0, 0), _target(protocol, address, b"x", b"full", keep=2))
    status = "RESOURCE_EXHAUSTED" if protocol is Protocol.GRPC else "429 Too Many Requests"
    assert _outcomes(result) == [OK, Outcome(status, "queue_full")] * 2
    assert result.is_kind(Kind.REFUSED).tolist() == [False, True] * 2
    assert result.answers[1].headers["headrace-error"] == "queue_full"


@PROTOCOLS
def test_a_caller_who_is_refused_rests_before_asking_again(protocol: Protocol) -> None:
    with _server(protocol) as (address, stage):
        result = generate(ClosedLoop(2, 0.2), _target(protocol, address, b"full"))
    assert set(result.is_kind(Kind.REFUSED).tolist()) == {True}
    # Two at the start, and two after every rest of 50 ms: not as many as there is time for.
    assert 2 < len(result) == stage.came <= 8


@pytest.mark.slow
@PROTOCOLS
def test_a_request_without_an_answer_times_out_and_the_others_do_not_wait_for_it(
    protocol: Protocol,
) -> None:
    with _server(protocol) as (address, stage):
        target = _target(protocol, address, b"hang", b"x", b"x", timeout_s=0.5, connections=2)
        result = generate(_open(0, 0, 0.05, 0.7, 0.7, 0.7), target)
    assert _outcomes(result) == [TIMEOUT, OK, OK] * 2
    assert stage.came == 6
    hung = result.is_kind(Kind.LATE)
    waited_s = (result.done_s - result.intended_s)[hung]
    assert np.all(waited_s >= 0.5)


@PROTOCOLS
def test_no_more_than_the_bound_are_outstanding(protocol: Protocol) -> None:
    plan = _open(*[0.0] * 10, max_outstanding=3)
    with _server(protocol) as (address, stage):
        result = generate(plan, _target(protocol, address, b"hang", timeout_s=0.2))
    assert _outcomes(result) == [TIMEOUT] * 3 + [NOT_SENT] * 7
    assert stage.came == 3
    assert np.isnan(result.sent_s).tolist() == [False] * 3 + [True] * 7


@pytest.mark.slow
def test_http_requests_wait_for_a_free_connection_and_their_lag_says_so() -> None:
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, b"hang", b"x", timeout_s=0.5, connections=1)
        result = generate(_open(0, 0.1), target)
    assert _outcomes(result) == [TIMEOUT, OK]
    assert result.sent_s[1] - result.intended_s[1] >= 0.4
    assert server.connections == 2


@PROTOCOLS
def test_large_bodies_go_and_come_whole(protocol: Protocol) -> None:
    body = np.random.default_rng(1).bytes(700_000)
    with _server(protocol) as (address, stage):
        result = generate(_open(*[0.0] * 8), _target(protocol, address, body, keep=8))
    assert set(_outcomes(result)) == {OK}
    assert stage.bodies == [body] * 8
    assert [result.answers[index].body for index in range(8)] == [body] * 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "outcome"),
    [(b"drop", CONNECTION_LOST), (b"nonsense", PROTOCOL_ERROR), (b"close", OK)],
)
def test_a_connection_that_ends_takes_one_request_with_it_and_is_made_anew(
    body: bytes, outcome: Outcome
) -> None:
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, body, b"x", connections=1)
        result = generate(_open(0, 0.06, 0.12, 0.18), target)
    assert _outcomes(result) == [outcome, OK, outcome, OK]
    assert server.connections == 3


@pytest.mark.slow
def test_a_server_that_goes_away_refuses_what_comes_after() -> None:
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, b"quit", b"x", b"x", connections=1)
        result = generate(_open(0, 0.4, 0.5), target)
    assert _outcomes(result) == [CONNECTION_LOST, CONNECTION_REFUSED, CONNECTION_REFUSED]


@pytest.mark.slow
def test_callers_of_a_server_that_went_away_do_not_race() -> None:
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, b"quit")
        result = generate(ClosedLoop(2, 0.3), target)
    assert _outcomes(result)[:1] == [CONNECTION_LOST]
    assert _outcomes(result)[-1] == CONNECTION_REFUSED
    assert len(result) <= 2 + 2 * 0.3 / 0.05 + 2


@pytest.mark.slow
def test_a_grpc_server_that_drains_loses_no_request() -> None:
    """It says GOAWAY: what it has seen is answered, what comes later is refused somehow."""
    with grpc_server() as (address, stage):
        bodies = [b"quit" if number == 20 else b"x" for number in range(60)]
        target = _target(Protocol.GRPC, address, *bodies, connections=1)
        result = generate(OpenLoop(constant(200, 0.3)), target)
    outcomes = _outcomes(result)
    assert outcomes[:21] == [OK] * 21
    assert outcomes[-1] == CONNECTION_REFUSED
    # grpcio's server cancels what reached it and had not begun when it was told to stop.
    refused = {CONNECTION_REFUSED, Outcome("UNAVAILABLE"), Outcome("CANCELLED")}
    assert set(outcomes) <= {OK, *refused}
    assert outcomes.count(OK) == stage.came


@pytest.mark.slow
def test_a_connection_told_to_go_is_replaced_before_its_last_answer_has_come() -> None:
    with grpc_server(age_ms=50) as (address, _):
        target = _target(Protocol.GRPC, address, b"hang", *[b"x"] * 9, timeout_s=1, connections=1)
        result = generate(_open(*np.arange(10) / 20), target)
    assert _outcomes(result) == [TIMEOUT] + [OK] * 9
    assert np.all(result.done_s[1:] < result.done_s[0])


def test_more_requests_than_a_connection_has_streams_wait_their_turn() -> None:
    with grpc_server(together=4, streams=4) as (address, stage):
        target = _target(Protocol.GRPC, address, b"x", connections=1)
        result = generate(_open(*[0.0] * 100), target)
    assert set(_outcomes(result)) == {OK}
    assert stage.most_inside == 4
    assert stage.came == 100


@PROTOCOLS
def test_a_server_that_is_not_there_is_said_at_once(protocol: Protocol) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        said = f"no server answers at {address}: connection refused; is the server running"
        with pytest.raises(StartError, match=said):
            generate(_open(0), _target(protocol, address, b"x"))


def test_a_server_that_speaks_no_http2_is_said_to_be_none() -> None:
    with HttpServer() as server, pytest.raises(StartError, match="no server answers"):
        generate(_open(0), _target(Protocol.GRPC, server.address, b"x"))


@pytest.mark.parametrize("host", ["nowhere.invalid", "127.0..1"])
def test_a_name_that_cannot_be_found_is_said(host: str) -> None:
    with pytest.raises(StartError, match=f"cannot find {re.escape(host)}"):
        generate(_open(0), _target(Protocol.HTTP, f"{host}:80", b"x"))


def _name(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Have every name stand for these addresses, as /etc/hosts would."""
    look_up = socket.getaddrinfo

    def found(_: str, port: int, **options: Any) -> list[Any]:
        return [one for host in hosts for one in look_up(host, port, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@PROTOCOLS
def test_of_the_addresses_of_a_name_the_first_that_answers_is_asked(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where ``localhost`` is ``::1`` too, and the server listens on IPv4."""
    with _server(protocol) as (address, stage):
        port = address.rpartition(":")[2]
        _name(monkeypatch, "127.0.0.2", "127.0.0.1", "127.0.0.3")
        result = generate(_open(0, 0), _target(protocol, f"several:{port}", b"x", connections=3))
    assert _outcomes(result) == [OK, OK]
    assert stage.came == 2


@PROTOCOLS
def test_an_address_of_a_family_that_the_kernel_has_not_is_passed_over(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old(socket.socket):
        """As where IPv6 is not compiled in, or disabled."""

        def __init__(self, family: int = -1, *rest: Any, **named: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *rest, **named)

    with _server(protocol) as (address, _):
        port = address.rpartition(":")[2]
        monkeypatch.setattr(socket, "socket", Old)
        with monkeypatch.context() as alone:
            _name(alone, "::1")
            there = rf"none:{port} \(\[::1\]:{port}\): connection refused"
            with pytest.raises(StartError, match=f"no server answers at {there}"):
                generate(_open(0), _target(protocol, f"none:{port}", b"x"))
        _name(monkeypatch, "::1", "127.0.0.1")
        result = generate(_open(0), _target(protocol, f"several:{port}", b"x", connections=2))
    assert _outcomes(result) == [OK]


@PROTOCOLS
def test_a_name_of_which_no_address_answers_is_told_with_all_of_them(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        _name(monkeypatch, "127.0.0.2", "127.0.0.1")
        found = rf"\(127.0.0.2:{port} or 127.0.0.1:{port}\)"
        there = f"several:{port} {found}: connection refused"
        with pytest.raises(StartError, match=f"no server answers at {there}"):
            generate(_open(0), _target(protocol, f"several:{port}", b"x"))


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("localhost", {}, "HOST:PORT"),
        (":80", {}, "HOST:PORT"),
        ("h:80", {"messages": ()}, "at least one message"),
        ("h:80", {"timeout_s": 0.0}, "timeout_s"),
        ("h:80", {"connections": 0}, "at least one connection"),
    ],
)
def test_a_target_that_cannot_be_asked_is_refused(
    address: str, options: dict[str, Any], message: str
) -> None:
    values: dict[str, Any] = {"messages": (Message(b""),), **options}
    with pytest.raises(ValueError, match=message):
        Target(Protocol.HTTP, address, "/", **values)


def test_the_wait_for_a_connection_is_noted_beside_the_lag() -> None:
    """The first is answered when it is given up: until then the only connection is taken."""
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, b"hang", b"x", timeout_s=0.3, connections=1)
        result = generate(_open(0.0, 0.1), target)
    assert _outcomes(result) == [TIMEOUT, OK]
    first, second = result.queues_s.tolist()
    assert first == 0
    assert 0.15 < second <= result.sent_s[1] - result.intended_s[1]


@pytest.mark.slow
def test_the_wait_for_connections_that_time_outs_of_ours_closed_is_the_servers() -> None:
    """An overloaded server holds them all, and each we give up is taken again at once."""
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, b"hang", timeout_s=0.2, connections=4)
        result = generate(OpenLoop(constant(100, 1.0)), target)
    sent = ~np.isnan(result.sent_s)
    late_s = (result.sent_s - result.intended_s)[sent]
    assert set(_outcomes(result)) == {TIMEOUT}
    assert late_s.max() > 0.1
    assert result.queues_s[sent].sum() > 0.5 * late_s.sum()
    assert np.all(result.queues_s[sent] <= late_s)


def test_the_wait_for_a_connection_that_the_server_closed_is_no_wait_for_answers() -> None:
    with HttpServer() as server:
        target = _target(Protocol.HTTP, server.address, b"drop", b"x", connections=1)
        result = generate(_open(0, 0.03), target)
    assert _outcomes(result) == [CONNECTION_LOST, OK]
    late_s = float(result.sent_s[1] - result.intended_s[1])
    assert result.queues_s[1] < 0.1 * late_s
