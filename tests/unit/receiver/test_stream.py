"""Streams without a network: clients that half-close, leave, or do not read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from headrace.control import ModelState
from headrace.errors import Cancelled, Expired, HeadraceError, InternalError, QueueFull
from headrace.receiver import grpc, health, stream
from headrace.receiver.catalog import Catalog
from headrace.receiver.codecs.protobuf import message
from headrace.receiver.exchange import Exchange
from headrace.receiver.health import Health
from headrace.receiver.oip.grpc import OipGrpc
from headrace.receiver.oip.stream import INFLIGHT, OipStream
from headrace.receiver.on_demand import OnDemand
from headrace.receiver.stream import Stream, serve
from tests.unit.receiver.inside import Said

Asked = message("grpc.health.v1.HealthCheckRequest")
Answer = message("grpc.health.v1.HealthCheckResponse")
ModelRequest = message("inference.ModelInferRequest")
Response = message("inference.ModelInferResponse")
StreamResponse = message("inference.ModelStreamInferResponse")

ASKED = grpc.frame(Asked(service="").SerializeToString())


@pytest.fixture(autouse=True)
def _asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_PRESENCE_S", 0.01)


class Border:
    """Notes what it is to count."""

    on_demand = OnDemand(lambda _name, _version: asyncio.Future(), 1)

    def __init__(self) -> None:
        self.counted: list[str] = []

    def translate(self, error: Exception) -> HeadraceError:
        return error if isinstance(error, HeadraceError) else InternalError(str(error))

    def count(self, exchange: Exchange, outcome: str) -> None:
        self.counted.append(outcome)

    def take_place(self) -> bool:
        return True

    def give_place(self) -> None:
        pass


def _chunk(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


class Client:
    """Sends these chunks; then it is there, without a body, until ``leaves``."""

    def __init__(self, *chunks: dict[str, Any]) -> None:
        self._chunks = list(chunks)
        self._ended = False
        self._waiting: list[asyncio.Future[dict[str, Any]]] = []
        self.left = False
        self.told: list[int] = []
        self.heard: Callable[[], object] = bool

    def receive(self) -> asyncio.Future[dict[str, Any]]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if self._chunks:
            future.set_result(self._chunks.pop(0))
            self._ended = not future.result()["more_body"]
        elif self.left:
            future.set_result({"type": "http.disconnect"})
        elif self._ended:
            future.set_result(_chunk(b"", more=False))
        else:
            self._waiting.append(future)
        return future

    def leave(self) -> None:
        self.left = True
        for future in self._waiting:
            future.set_result({"type": "http.disconnect"})

    async def send(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.body" and event["body"]:
            self.told.append(Answer.FromString(event["body"][5:]).status)
            self.heard()


def _catalog() -> Catalog:
    catalog = Catalog()
    catalog.configured = True
    return catalog


def _stream(client: Client, catalog: Catalog, border: Border | None = None) -> Stream:
    exchange = Exchange({}, client.receive, time.monotonic())
    return Stream(exchange, client.send, 10**6, catalog, border or Border())


class Endless(OipGrpc):
    """Answers nothing; ``third`` is called when three requests have come."""

    def __init__(self, third: Callable[[], object]) -> None:
        self._third = third
        self._begun = 0

    async def infer(self, exchange: Exchange) -> bytes:
        self._begun += 1
        if self._begun == 3:
            self._third()
        return await asyncio.Future[bytes]()


@pytest.mark.parametrize(
    "chunks",
    [
        [_chunk(ASKED, more=False)],
        [_chunk(ASKED, more=True), _chunk(b"", more=False)],
        [_chunk(ASKED, more=True), _chunk(ASKED, more=True), _chunk(ASKED, more=False)],
        [_chunk(ASKED, more=True)],
        [_chunk(ASKED, more=True), _chunk(ASKED, more=True)],
    ],
)
async def test_a_watch_ends_when_its_client_leaves(chunks: list[dict[str, Any]]) -> None:
    client, catalog = Client(*chunks), _catalog()
    client.heard = lambda: asyncio.get_running_loop().call_later(0.05, client.leave)
    watch = serve(_stream(client, catalog), Health(catalog).watch, client.send)
    assert await asyncio.wait_for(watch, 10) == Cancelled.code
    assert client.told == [Answer.SERVING]


async def test_a_watch_is_told_of_what_changed_while_it_was_being_told() -> None:
    client, catalog = Client(_chunk(ASKED, more=False)), _catalog()

    def heard() -> None:
        if len(client.told) == 1:
            catalog.set_state(ModelState(name="m", version=1, state="loading"))
        else:
            client.leave()

    client.heard = heard
    watch = serve(_stream(client, catalog), Health(catalog).watch, client.send)
    await asyncio.wait_for(watch, 10)
    assert client.told == [Answer.SERVING, Answer.NOT_SERVING]


async def test_no_more_watch_than_may_and_who_leaves_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "MOST_WATCHES", 1)
    clients, catalog = [Client(_chunk(ASKED, more=False)) for _ in range(3)], _catalog()
    front = Health(catalog)
    watches = [serve(_stream(one, catalog), front.watch, one.send) for one in clients]
    first = asyncio.create_task(watches[0])
    await asyncio.sleep(0)
    assert await asyncio.wait_for(watches[1], 10) == QueueFull.code
    clients[0].leave()
    assert await asyncio.wait_for(first, 10) == Cancelled.code
    clients[2].leave()
    assert await asyncio.wait_for(watches[2], 10) == Cancelled.code
    assert clients[1].told == []


async def test_asking_who_is_there_takes_nothing_from_who_reads() -> None:
    client, catalog = Client(_chunk(ASKED, more=True), _chunk(ASKED, more=False)), _catalog()
    one = _stream(client, catalog)
    item = one.item()
    read = []
    async for body in one.messages():
        read.append(body)
        assert (await item.receive())["type"] == "http.request"
    assert read == [ASKED[5:]] * 2
    client.leave()
    assert (await item.receive())["type"] == "http.disconnect"


async def test_an_item_knows_that_its_client_left_behind_what_nobody_has_read() -> None:
    client, catalog = Client(_chunk(ASKED, more=False)), _catalog()
    item = _stream(client, catalog).item()
    assert (await item.receive())["type"] == "http.request"
    client.leave()
    assert (await item.receive())["type"] == "http.disconnect"


async def test_a_stream_that_ends_with_its_headers_has_no_messages() -> None:
    client = Client()
    exchange = Exchange({}, lambda: Said(_chunk(b"", more=False)), time.monotonic())
    one = Stream(exchange, client.send, 10**6, _catalog(), Border())
    assert [body async for body in one.messages()] == []
    assert (await one.item().receive())["type"] == "http.request"


@pytest.mark.parametrize(("leaves", "outcome"), [(False, Expired.code), (True, Cancelled.code)])
async def test_what_runs_when_the_deadline_of_its_stream_has_passed_is_counted(
    *, leaves: bool, outcome: str
) -> None:
    client, border = Client(_chunk(ASKED * 3, more=True)), Border()
    one = _stream(client, _catalog(), border)
    one.exchange.timeout_s = 0.1
    handler = OipStream(Endless(client.leave if leaves else bool)).infer
    assert await asyncio.wait_for(serve(one, handler, client.send), 10) == Expired.code
    assert border.counted == [outcome] * 3


class Unread(Client):
    """Reads no answer until it is told to; as pyvoy it tells of each that it was read."""

    def __init__(self, *chunks: dict[str, Any]) -> None:
        super().__init__(*chunks)
        self.bodies: list[bytes] = []
        self.read: list[asyncio.Future[None]] = []

    def send(self, event: dict[str, Any]) -> asyncio.Future[None]:  # type: ignore[override]
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if event.get("more_body"):
            self.bodies.append(event["body"])
            self.read.append(future)
        else:
            future.set_result(None)
        return future


async def test_who_is_cut_off_while_it_sends_cancels_nothing_of_whoever_sends() -> None:
    client = Unread(_chunk(ASKED, more=True))
    one = _stream(client, _catalog())
    one.exchange.timeout_s = 0.05
    handler = OipStream(Numbered()).infer
    assert await asyncio.wait_for(serve(one, handler, client.send), 10) == Expired.code
    assert [future.done() for future in client.read] == [False]
    client.read[0].set_result(None)  # raises if it was cancelled


class Numbered(OipGrpc):
    """Answers requests with the number that they have, those of ``held`` when told to."""

    def __init__(self, *held: int) -> None:
        self.held = {number: asyncio.Event() for number in held}
        self.begun = 0
        self.ended: list[int] = []

    async def infer(self, exchange: Exchange) -> bytes:
        number = self.begun
        self.begun += 1
        if number in self.held:
            await self.held[number].wait()
        self.ended.append(number)
        return bytes(Response(id=str(number)).SerializeToString())


async def test_answers_wait_for_those_before_them_but_not_until_they_are_read() -> None:
    client, border = Unread(_chunk(ASKED * 4, more=False)), Border()
    oip = Numbered(0, 2)
    handler = OipStream(oip).infer
    served = asyncio.create_task(serve(_stream(client, _catalog(), border), handler, client.send))

    def ids() -> list[str]:
        answers = [StreamResponse.FromString(body[5:]) for body in client.bodies]
        return [answer.infer_response.id for answer in answers]

    await _turns()
    assert (oip.ended, ids()) == ([1, 3], [])
    oip.held[0].set()
    await _turns()
    assert (oip.ended, ids()) == ([1, 3, 0], ["0", "1"])
    oip.held[2].set()
    await _turns()
    assert (ids(), border.counted) == (["0", "1", "2", "3"], [])
    for future in client.read:
        future.set_result(None)
    assert await asyncio.wait_for(served, 10) == "ok"
    assert border.counted == ["ok"] * 4


async def _turns() -> None:
    """All that can go on without anybody else."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_that_wait_for_their_turn_are_among_those_in_flight() -> None:
    client = Unread(_chunk(ASKED * (INFLIGHT + 9), more=False))
    oip = Numbered(0)
    handler = OipStream(oip).infer
    served = asyncio.create_task(serve(_stream(client, _catalog()), handler, client.send))
    await _turns()
    assert (oip.begun, client.bodies) == (INFLIGHT, [])
    oip.held[0].set()
    while not served.done():
        while client.read:
            client.read.pop().set_result(None)
        await asyncio.sleep(0)
    assert (served.result(), len(client.bodies)) == ("ok", INFLIGHT + 9)


async def test_requests_of_a_sequence_run_one_after_the_other_whoever_else_waits() -> None:
    one, two = ModelRequest(), ModelRequest()
    one.parameters["sequence_id"].int64_param = 1
    two.parameters["sequence_id"].int64_param = 2
    frames = [grpc.frame(each.SerializeToString()) for each in (one, two, two, one)]
    client, oip = Unread(_chunk(b"".join(frames), more=False)), Numbered(0)
    handler = OipStream(oip).infer
    served = asyncio.create_task(serve(_stream(client, _catalog()), handler, client.send))
    await _turns()
    assert (oip.begun, oip.ended) == (3, [1, 2])  # the second of two has not waited for an answer
    oip.held[0].set()
    await _turns()
    assert (oip.ended, len(client.bodies)) == ([1, 2, 0, 3], 4)
    for future in client.read:
        future.set_result(None)
    assert await asyncio.wait_for(served, 10) == "ok"
