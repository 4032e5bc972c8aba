from __future__ import annotations

import asyncio
import sys

import psutil
import pytest

from headrace.loader.engine_process import start
from tests.e2e.server import has_ended, until

TELLS = "import os; print(os.environ['OPENBLAS_NUM_THREADS'], end='')"
LEAVES = """
import os, signal
child = os.fork()
if child:
    print(child, flush=True)
signal.pause()
"""


@pytest.mark.parametrize(("said", "has"), [(None, b"1"), ("4", b"4")])
async def test_numpy_starts_no_threads_in_an_engine_unless_the_operator_says_so(
    monkeypatch: pytest.MonkeyPatch, said: str | None, has: bytes
) -> None:
    if said is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", said)
    process = await start(sys.executable, "-c", TELLS)
    assert process.stdout is not None
    assert await process.stdout.read() == has
    assert await process.wait() == 0


async def test_what_an_engine_has_forked_ends_with_it() -> None:
    process = await start(sys.executable, "-c", LEAVES)
    assert process.stdout is not None
    child = psutil.Process(int(await process.stdout.readline()))
    process.kill()
    await process.wait()
    await asyncio.to_thread(until, lambda: has_ended(child))
