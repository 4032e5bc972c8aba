"""Requests of a stream have places as all others do; a stream waits where others are refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from headrace.server_settings import ServerSettings
from tests.e2e.clients import grpc_request
from tests.unit.receiver.inside import Call, Came, Inside, inside

SERVICE = "/inference.GRPCInferenceService/"
MANY = 40


def _frame(name: str) -> bytes:
    request = grpc_request("m", np.ones((1, 4), np.float32))
    request.id = name
    message: bytes = request.SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


def _open(server: Inside) -> tuple[Call, asyncio.Task[None]]:
    """A stream of many requests, whose answers nobody reads."""
    call = Call()
    call.reads.clear()
    for number in range(MANY):
        call.say(_frame(str(number)), more=number < MANY - 1)
    return call, server.call(SERVICE + "ModelStreamInfer", call)


async def _infer(server: Inside) -> Came:
    headers = [(b"content-type", b"application/grpc")]
    return await server.ask(SERVICE + "ModelInfer", _frame("one"), headers=headers)


@pytest.mark.parametrize("places", [1, 2, 3, 8, 100])
async def test_all_are_answered_however_few_places_there_are(tmp_path: Path, places: int) -> None:
    settings = ServerSettings(max_inflight=places)
    async with inside("", tmp_path, server=settings) as server:
        streams = [_open(server) for _ in range(min(2, places))]
        for call, ended in streams:
            call.reads.set()
            await ended
            assert (len(call.bodies), call.status) == (MANY, "0")
        for _ in range(3):  # no place was kept
            assert (await _infer(server)).headers["grpc-status"] == "0"


@pytest.mark.parametrize("places", [2, 8])
async def test_a_stream_is_not_read_on_without_a_place_and_others_have_theirs(
    tmp_path: Path, places: int
) -> None:
    settings = ServerSettings(max_inflight=places)
    async with inside("", tmp_path, server=settings) as server:
        call, ended = _open(server)
        for _ in range(3):
            assert (await _infer(server)).headers["grpc-status"] == "0"
        # Beside those that have places one is read ahead, and a chunk to see who has left.
        assert call.unread >= MANY - places // 2 - 2
        call.reads.set()
        await ended
        assert len(call.bodies) == MANY


async def test_who_leaves_gives_back_the_places_of_all_its_requests(tmp_path: Path) -> None:
    async with inside("", tmp_path, server=ServerSettings(max_inflight=8)) as server:
        for _ in range(3):
            call, ended = _open(server)
            await call.asked(4)
            call.leave()
            call.reads.set()
            await ended
        whole = await asyncio.gather(*(_infer(server) for _ in range(8)))
        assert {one.headers["grpc-status"] for one in whole} == {"0"}
