"""The supervisor's side of scribes: real processes, and a system that will not always."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.control import SCRIBE_NAME
from headrace.engine_control import SignatureMessage
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.handover.client import ScribeClient
from headrace.receiver.scribe_process import ScribeProcesses
from headrace.server_settings import ServerSettings
from headrace.values import DType, Signature, TensorSpec

pytestmark = pytest.mark.slow

SIGNED = SignatureMessage.of(Signature((TensorSpec("x", DType.FP32, (None, 2)),), (), batched=True))


async def is_read(client: ScribeClient) -> bool:
    value = await client.decode(b'{"instances": [[1, 2]]}', Dialect.PLAIN, SIGNED)
    rows: list[list[float]] = value["instances"].take()["x"].tolist()
    return rows == [[1, 2]]


@contextlib.asynccontextmanager
async def supervised(scribes: ScribeProcesses) -> AsyncIterator[None]:
    running = asyncio.create_task(scribes.run())
    await asyncio.sleep(0)  # it listens
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("step", ["sock_accept", "_start"])
async def test_a_system_that_has_nothing_left_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    loop, scribes = asyncio.get_running_loop(), ScribeProcesses(ServerSettings(), tmp_path)
    owner: Any = loop if step == "sock_accept" else scribes
    real, refusals = (
        getattr(owner, step),
        [
            OSError(errno.EMFILE, "none left"),
            RuntimeError("can't start new thread") if step == "_start" else OSError("none left"),
        ],
    )

    async def refused_at_first(*arguments: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await real(*arguments)

    monkeypatch.setattr(owner, step, refused_at_first)
    async with supervised(scribes):
        client = ScribeClient(loop, str(tmp_path / SCRIBE_NAME))
        assert await is_read(client)
        assert not refusals
        client.close()


async def test_each_connection_has_a_process_of_its_own(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with supervised(ScribeProcesses(ServerSettings(), tmp_path)):
        clients = [ScribeClient(loop, str(tmp_path / SCRIBE_NAME)) for _ in range(3)]
        for client in clients:  # those before are still connected
            assert await is_read(client)
        for client in clients:
            client.close()
