from __future__ import annotations

import sys
from asyncio.subprocess import Process

from headrace.loader.engine_process import start
from headrace.loader.spare import Spare

LISTENS = "import sys; sys.stdin.read()"


async def _process(code: str = LISTENS) -> Process:
    return await start(sys.executable, "-c", code)


async def test_it_is_taken_once() -> None:
    process = await _process()
    spare = Spare(process)
    assert spare.take() is process
    assert spare.take() is None
    await spare.end()  # no longer its to end
    assert process.returncode is None
    process.kill()
    await process.wait()


async def test_one_that_has_died_is_not_taken() -> None:
    process = await _process("")
    await process.wait()
    assert Spare(process).take() is None


async def test_one_that_nobody_took_is_ended() -> None:
    process = await _process()
    spare = Spare(process)
    await spare.end()
    assert process.returncode is not None
    assert spare.take() is None


async def test_without_one_there_is_nothing_to_take_or_end() -> None:
    spare = Spare(None)
    assert spare.take() is None
    await spare.end()
