"""The receiver's side of the scribe: real sockets and memory files, and scribes that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.engine.slots import unpack_bytes
from headrace.engine_control import SignatureMessage
from headrace.errors import (
    Expired,
    HeadraceError,
    InvalidInput,
    MalformedRequest,
    QueueFull,
    ScribeLost,
    UnavailableError,
)
from headrace.receiver.catalog import Catalog
from headrace.receiver.codecs.decoded import Decoded, Dialect
from headrace.receiver.exchange import Core, Exchange
from headrace.receiver.handover import client as scribe_client
from headrace.receiver.handover import messages as handover
from headrace.receiver.handover.client import ScribeClient
from headrace.receiver.handover.messages import AnswerHead, Reading
from headrace.receiver.handover.parcel import Parcel
from headrace.receiver.scribe import worker as scribe
from headrace.receiver.scribe.answer import encode
from headrace.values import Array, DType, Response, Signature, TensorSpec
from tests.unit.receiver.inside import inside


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large bodies wait for the scribe, however short its start would be without them."""
    monkeypatch.setattr(scribe_client, "ALONE_BYTES", scribe_client.LARGE_BYTES)


at_once = pytest.mark.usefixtures("_at_once")
Life = Callable[[socket.socket], None]

SIGNED = SignatureMessage.of(Signature((TensorSpec("x", DType.FP32, (None, 2)),), (), batched=True))
BODY = b'{"instances": [[1, 2], [3, 4.5]]}'


def dies(channel: socket.socket) -> None:
    """Take a job and die of it."""
    _take(channel)


def sulks(channel: socket.socket) -> None:
    """Take jobs and answer none, until the receiver leaves."""
    while _take(channel):
        pass


def _take(channel: socket.socket) -> bool:
    frame, descriptors, _, _ = socket.recv_fds(channel, handover.MAX_FRAME_BYTES, 1)
    for descriptor in descriptors:
        socket.close(descriptor)
    return bool(frame)


@contextlib.contextmanager
def scribes(path: Path, *lives: Life) -> Iterator[str]:
    """One scribe after the other behind one socket, as the supervisor has them."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()

    def live(each: Sequence[Life]) -> None:
        for life in each:
            with contextlib.suppress(OSError):
                channel, _ = listener.accept()
                with channel:
                    life(channel)

    thread = threading.Thread(target=live, args=(lives,))
    thread.start()
    try:
        yield str(path)
    finally:
        listener.shutdown(socket.SHUT_RD)
        thread.join(10)
        listener.close()


@contextlib.asynccontextmanager
async def connected(path: str) -> AsyncIterator[ScribeClient]:
    client = ScribeClient(asyncio.get_running_loop(), path)
    try:
        yield client
    finally:
        client.close()


async def ask(
    client: ScribeClient, body: bytes | memoryview = BODY, timeout_s: float | None = None
) -> Array:
    value = await client.decode(body, Dialect.PLAIN, SIGNED, timeout_s)
    decoded: Decoded = value["instances"]
    return decoded.take()["x"]


async def test_a_body_comes_back_as_tensors(tmp_path: Path) -> None:
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            x = await ask(client)
            assert x.dtype == np.float32
            assert x.tolist() == [[1, 2], [3, 4.5]]


async def test_a_body_in_a_parcel_is_handed_over_as_it_is(tmp_path: Path) -> None:
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            parcel = Parcel.create(BODY[:7], b"", BODY[7:])
            assert Parcel.of(parcel.view()) is parcel
            assert (await ask(client, parcel.view())).tolist() == [[1, 2], [3, 4.5]]


async def test_a_request_that_begins_anew_hands_its_body_over_again(tmp_path: Path) -> None:
    """Its parcel was closed, and its descriptor may be another's by then."""
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            parcel = Parcel.create(BODY)
            body = parcel.view()
            assert (await ask(client, body)).tolist() == [[1, 2], [3, 4.5]]
            other = Parcel.create(b'{"instances": [[9, 9], [8, 8.5]]}')
            assert other.descriptor == parcel.descriptor
            assert (await ask(client, body)).tolist() == [[1, 2], [3, 4.5]]
            assert (await ask(client, other.view())).tolist() == [[9, 9], [8, 8.5]]


async def test_strings_are_unpacked_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def unpack(*arguments: Any) -> Array:
        threads.append(threading.get_ident())
        return unpack_bytes(*arguments)

    monkeypatch.setattr(handover, "unpack_bytes", unpack)
    tensor = b'{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}'
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            value = await client.decode(b'{"inputs": [' + tensor + b"]}", Dialect.OIP)
    assert value["inputs"][0]["data"].only().tolist() == [b"a", b"b"]
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_of_a_part_of_a_parcel_a_copy_is_handed_over(tmp_path: Path) -> None:
    view = Parcel.create(BODY, b"behind it").view()
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            assert (await ask(client, view[: len(BODY)])).tolist() == [[1, 2], [3, 4.5]]
    assert bytes(view[len(BODY) :]) == b"behind it"


async def test_errors_are_typed_and_told_where_they_are_looked_for(tmp_path: Path) -> None:
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            with pytest.raises(MalformedRequest, match="offset"):
                await ask(client, b'{"instances": [1,')
            value = await client.decode(b'{"instances": [[1], [2, 3]]}', Dialect.PLAIN, SIGNED)
            with pytest.raises(InvalidInput, match="ragged"):
                value["instances"].take()
            assert (await ask(client)).shape == (2, 2)


async def test_a_scribe_that_dies_once_is_not_noticed(tmp_path: Path) -> None:
    with scribes(tmp_path / "s", dies, scribe.serve) as path:
        async with connected(path) as client:
            found = await asyncio.gather(*[ask(client) for _ in range(20)])
            assert [x.tolist() for x in found] == [[[1, 2], [3, 4.5]]] * 20


async def test_a_body_of_which_it_dies_twice_is_given_up_and_those_behind_are_not(
    tmp_path: Path,
) -> None:
    with scribes(tmp_path / "s", dies, dies, scribe.serve) as path:
        async with connected(path) as client:
            ended = await asyncio.gather(ask(client), ask(client), return_exceptions=True)
            # Either may be there first: they are copied in threads.
            lost, answered = sorted(ended, key=lambda one: isinstance(one, np.ndarray))
            assert isinstance(lost, ScribeLost)
            assert "twice" in lost.message
            assert isinstance(answered, np.ndarray)


async def test_the_clients_deadline_holds_while_its_body_is_decoded(tmp_path: Path) -> None:
    with scribes(tmp_path / "s", sulks) as path:
        async with connected(path) as client:
            with pytest.raises(Expired):
                await ask(client, timeout_s=0.05)


async def test_one_that_never_answers_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scribe_client, "_PATIENCE_S", 0.05)
    with scribes(tmp_path / "s", sulks) as path:
        async with connected(path) as client:
            with pytest.raises(ScribeLost, match="did not answer"):
                await ask(client)


async def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scribe_client, "_MOST_BYTES", len(BODY))
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            found = await asyncio.gather(ask(client), ask(client), return_exceptions=True)
            assert isinstance(found[0], np.ndarray)
            assert isinstance(found[1], QueueFull)
            assert (await ask(client)).shape == (2, 2)  # and taken again when there is room


async def test_a_body_that_nobody_waits_for_keeps_its_place_until_the_scribe_is_done(
    tmp_path: Path,
) -> None:
    goes_on = threading.Event()

    def stalls(channel: socket.socket) -> None:
        goes_on.wait(10)
        scribe.serve(channel)

    with scribes(tmp_path / "s", stalls) as path:
        async with connected(path) as client:
            given_up = [ask(client, timeout_s=0.01) for _ in range(20)]
            found = await asyncio.gather(*given_up, return_exceptions=True)
            assert {type(one) for one in found} == {Expired}
            assert len(client._pending) == 8  # no more than there are places
            assert client._bytes == 8 * len(BODY)
            goes_on.set()
            assert (await ask(client)).shape == (2, 2)
            assert client._bytes == 0
            assert not client._pending
            again = await asyncio.gather(*[ask(client) for _ in range(20)])
            assert len(again) == 20


async def test_a_body_that_nobody_waits_for_counts_among_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scribe_client, "_MOST_BYTES", 2 * len(BODY))
    with scribes(tmp_path / "s", sulks) as path:
        async with connected(path) as client:
            for _ in range(2):
                with pytest.raises(Expired):
                    await ask(client, timeout_s=0.01)
            with pytest.raises(QueueFull):
                await ask(client, timeout_s=0.01)
        assert client._bytes == 0


async def test_nobody_else_is_blamed_for_a_body_that_was_given_up(tmp_path: Path) -> None:
    given_up = threading.Event()

    def dies_late(channel: socket.socket) -> None:
        given_up.wait(10)

    with scribes(tmp_path / "s", dies_late, dies, scribe.serve) as path:
        async with connected(path) as client:
            with pytest.raises(Expired):
                await ask(client, timeout_s=0.01)
            second = asyncio.ensure_future(ask(client))
            await asyncio.sleep(0)
            given_up.set()
            assert (await second).shape == (2, 2)  # its own death is its first
            assert client._bytes == 0


@at_once
@pytest.mark.parametrize("spent_s", [0.0, 1.0])
async def test_the_clients_deadline_holds_while_its_answer_is_encoded(
    tmp_path: Path, spent_s: float
) -> None:
    response = Response("m", 1, "", {"a": np.zeros(10**5)})
    with scribes(tmp_path / "s", sulks) as path:
        async with connected(path) as client:
            core = Core(Catalog(), _never, scribe=client)
            exchange = Exchange({}, _never, time.monotonic() - spent_s)
            exchange.timeout_s = 0.05
            with pytest.raises(Expired, match="while the scribe had the JSON"):
                await core.encode(exchange, Dialect.OIP, response)


def _never(*_: object) -> Any:
    raise AssertionError


async def test_who_waits_hears_that_the_server_stops(tmp_path: Path) -> None:
    taken, loop = asyncio.Event(), asyncio.get_running_loop()

    def takes_one(channel: socket.socket) -> None:
        _take(channel)
        loop.call_soon_threadsafe(taken.set)
        sulks(channel)

    with scribes(tmp_path / "s", takes_one) as path:
        async with connected(path) as client:
            waiting = asyncio.ensure_future(ask(client))
            await taken.wait()
            client.close()
            with pytest.raises(ScribeLost, match="stopped"):
                await waiting


async def test_without_a_descriptor_the_client_may_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            with monkeypatch.context() as full:
                full.setattr("os.memfd_create", none_left)
                with pytest.raises(UnavailableError, match="Too many open files"):
                    await ask(client)
                with pytest.raises(UnavailableError, match="Too many open files"):
                    await client.encode(Dialect.PLAIN, AnswerHead(model="m", version=1), {})
            await ask(client)


async def test_no_socket_is_a_typed_error(tmp_path: Path) -> None:
    async with connected(str(tmp_path / "none")) as client:
        with pytest.raises(ScribeLost, match="cannot be reached"):
            await ask(client)


@pytest.mark.parametrize("lives", [[scribe.serve], [dies, dies]])
async def test_no_cycle_keeps_a_body(tmp_path: Path, lives: list[Life]) -> None:
    bodies = (BODY, b'{"instances": [[1], [2, 3]]}', b"{")
    with scribes(tmp_path / "s", *lives) as path:
        async with connected(path) as client:
            gc.collect()
            gc.disable()
            try:
                for body in bodies if lives == [scribe.serve] else bodies[:1]:
                    with contextlib.suppress(HeadraceError):
                        await ask(client, body)
                    await asyncio.sleep(0)
                    assert gc.collect() == 0
            finally:
                gc.enable()


@pytest.mark.parametrize("dialect", Dialect)
async def test_an_answer_is_encoded_as_its_front_would(tmp_path: Path, dialect: Dialect) -> None:
    outputs: dict[str, Array] = {
        "a": np.asarray([[1.5, np.nan]], np.float32),
        "b": np.asarray([[7]], np.int64),
    }
    head = AnswerHead(model="m", version=3, id="one", rows=True)
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            assert await client.encode(dialect, head, outputs) == encode(dialect, head, outputs)


async def test_names_and_ids_may_be_longer_than_a_message_between_processes(tmp_path: Path) -> None:
    names = [f"{number:04}".ljust(500, "x") for number in range(2000)]
    specs = tuple(TensorSpec(name, DType.FP32, (None, 1)) for name in names)
    signature = SignatureMessage.of(Signature(specs, (), batched=True))
    body = json.dumps({"inputs": {name: [[1.5]] for name in names[:100]}}).encode()
    head = AnswerHead(model="m", version=3, id="i" * 1_000_000)
    outputs: dict[str, Array] = {"a": np.ones((1, 2), np.float32)}
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            parsed = await client.decode(body, Dialect.TFSERVING, signature)
            assert isinstance(parsed["inputs"], Decoded)
            answer = json.loads(await client.encode(Dialect.OIP, head, outputs))
            assert answer["id"] == head.id


async def test_rows_of_outputs_that_have_none_are_refused(tmp_path: Path) -> None:
    outputs = {"a": np.zeros(2), "b": np.zeros(3)}
    head = AnswerHead(model="m", version=3, rows=True)
    with scribes(tmp_path / "s", dies, scribe.serve) as path:
        async with connected(path) as client:
            with pytest.raises(InvalidInput, match="no rows in common"):
                await client.encode(Dialect.TFSERVING, head, outputs)


@at_once
async def test_a_large_json_header_before_binary_data_is_for_the_scribe_too(tmp_path: Path) -> None:
    sizes = []

    class Noting(ScribeClient):
        async def decode(self, body: bytes | memoryview, *arguments: Any) -> dict[str, Any]:
            sizes.append(len(body))
            return await super().decode(body, *arguments)

    data = np.arange(40_000, dtype=np.float32)
    as_json = {"name": "x", "datatype": "FP32", "shape": [40_000, 1], "data": data.tolist()}
    binary = {"name": "z", "datatype": "FP32", "shape": [40_000, 1]}
    inputs = [as_json, binary | {"parameters": {"binary_data_size": data.nbytes}}]
    asked = {"inputs": inputs, "outputs": [{"name": n} for n in ("y", "w")]}
    text = json.dumps(asked | {"parameters": {"binary_data_output": True}}).encode()
    headers = [(b"inference-header-content-length", b"%d" % len(text))]
    card = "inputs: {x: [FP32, [null, 1]], z: [FP32, [null, 1]]}\n"
    card += "outputs: {y: [FP32, [null, 1]], w: [FP32, [null, 1]]}\n"
    with scribes(tmp_path / "scribe", scribe.serve) as path:
        noting = Noting(asyncio.get_running_loop(), path)
        async with inside(card, tmp_path, noting) as server:
            body = text + (data * 2).tobytes()
            came = await server.ask("/v2/models/m/infer", body, headers=headers)
        noting.close()
    assert came.status == 200, came.body
    assert sizes == [len(text)]
    found = came.body[int(came.headers["inference-header-content-length"]) :]
    assert found == data.tobytes() + (data * 2).tobytes()


async def test_a_large_body_calls_the_scribe_and_is_not_kept_waiting_for_it(
    tmp_path: Path,
) -> None:
    awakens, loop, called = threading.Event(), asyncio.get_running_loop(), asyncio.Event()

    def sleeps(channel: socket.socket) -> None:
        loop.call_soon_threadsafe(called.set)
        awakens.wait(10)
        scribe.serve(channel)

    large = json.dumps({"instances": [[1.0, 2.0]] * 10_000}).encode()
    exchange = Exchange({}, _never, 0.0)
    with scribes(tmp_path / "s", sleeps) as path:
        async with connected(path) as client:
            core = Core(Catalog(), _never, scribe=client)
            exchange.body = BODY
            await core.parse(exchange, Dialect.PLAIN, SIGNED.unwrap())
            assert client._socket is None  # little ones call nobody
            exchange.body = large
            value = await core.parse(exchange, Dialect.PLAIN, SIGNED.unwrap())
            assert value["instances"] == [[1.0, 2.0]] * 10_000
            await called.wait()
            assert client.takes(scribe_client.ALONE_BYTES + 1)
            assert not client.takes(scribe_client.ALONE_BYTES)
            awakens.set()
            await ask(client)  # answered after it has said that it is awake
            value = await core.parse(exchange, Dialect.PLAIN, SIGNED.unwrap())
            assert isinstance(value["instances"], Decoded)


async def test_a_scribe_that_dies_is_not_awake(tmp_path: Path) -> None:
    died, loop = asyncio.Event(), asyncio.get_running_loop()

    def dies_of_the_second(channel: socket.socket) -> None:
        channel.send(handover.AWAKE.pack())
        _take(channel)

    def is_called_again(channel: socket.socket) -> None:
        loop.call_soon_threadsafe(died.set)
        scribe.serve(channel)

    with scribes(tmp_path / "s", dies_of_the_second, is_called_again) as path:
        async with connected(path) as client:
            assert not client.takes(scribe_client.LARGE_BYTES + 1)
            waiting = asyncio.ensure_future(ask(client))
            await died.wait()
            assert (await waiting).tolist() == [[1, 2], [3, 4.5]]
            assert client.takes(scribe_client.LARGE_BYTES + 1)


async def test_many_rows_of_nothing_are_encoded_beside_the_event_loop(tmp_path: Path) -> None:
    outputs: dict[str, Array] = {"y": np.empty((2**16, 0), np.float32)}
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            await ask(client)  # it is awake then
            core = Core(Catalog(), _never, scribe=client)
            exchange, response = Exchange({}, _never, 0.0), Response("m", 1, "", outputs)
            found = await core.encode(exchange, Dialect.TFSERVING, response, rows=True)
    assert found is not None
    assert json.loads(found) == {"predictions": [[]] * 2**16}


SCORES = np.array([[0.25], [1], [np.inf]], np.float32)


@pytest.mark.parametrize(
    ("dialect", "reading", "said"),
    [
        (Dialect.CLASSIFY, Reading(examples=3, scores="y", labels=("cat",)), '[["cat",0.25]]'),
        (Dialect.REGRESS, Reading(examples=3), "0.25,1.0,Infinity"),
        (Dialect.GENERATE, None, '"model_version":"2"'),
    ],
)
def test_answers_that_are_read_from_outputs_are_written_as_their_fronts_do(
    dialect: Dialect, reading: Reading | None, said: str
) -> None:
    head = AnswerHead(model="m", version=2, reading=reading)
    text = encode(dialect, head, {"y": SCORES}).decode()
    assert said in "".join(text.split())
    if reading is not None:
        other = head.model_copy(update={"reading": reading.model_copy(update={"examples": 4})})
        with pytest.raises(InvalidInput, match="batch size"):
            encode(dialect, other, {"y": SCORES})
