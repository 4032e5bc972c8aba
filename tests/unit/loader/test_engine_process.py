from __future__ import annotations

import sys

import pytest

from headrace.loader.engine_process import start

TELLS = "import os; print(os.environ['OPENBLAS_NUM_THREADS'], end='')"


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
