"""The receiver's side of the scribe: real sockets and memory files, and scribes that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.control import SignatureMessage
from headrace.errors import (
    Expired,
    HeadraceError,
    InvalidInput,
    MalformedRequest,
    QueueFull,
    ScribeLost,
)
from headrace.receiver.catalog import Catalog
from headrace.receiver.codecs.decoded import Decoded, Dialect
from headrace.receiver.exchange import Core
from headrace.receiver.handover import client as scribe_client
from headrace.receiver.handover import messages as handover
from headrace.receiver.handover.client import ScribeClient
from headrace.receiver.handover.messages import AnswerHead
from headrace.receiver.handover.parcel import Parcel
from headrace.receiver.scribe import worker as scribe
from headrace.receiver.scribe.answer import encode
from headrace.values import Array, DType, Response, Signature, TensorSpec

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
            first, second = await asyncio.gather(ask(client), ask(client), return_exceptions=True)
            assert isinstance(first, ScribeLost)
            assert "twice" in first.message
            assert isinstance(second, np.ndarray)


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


async def test_rows_of_outputs_that_have_none_are_refused(tmp_path: Path) -> None:
    outputs = {"a": np.zeros(2), "b": np.zeros(3)}
    head = AnswerHead(model="m", version=3, rows=True)
    with scribes(tmp_path / "s", dies, scribe.serve) as path:
        async with connected(path) as client:
            with pytest.raises(InvalidInput, match="no rows in common"):
                await client.encode(Dialect.TFSERVING, head, outputs)


async def test_many_rows_of_nothing_are_encoded_beside_the_event_loop(tmp_path: Path) -> None:
    outputs: dict[str, Array] = {"y": np.empty((2**16, 0), np.float32)}
    with scribes(tmp_path / "s", scribe.serve) as path:
        async with connected(path) as client:
            core = Core(Catalog(), _never, scribe=client)
            found = await core.encode(Dialect.TFSERVING, Response("m", 1, "", outputs), rows=True)
    assert found is not None
    assert json.loads(found) == {"predictions": [[]] * 2**16}


def _never(*_: object) -> Any:
    raise AssertionError("nothing is run here")
