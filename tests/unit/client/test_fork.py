"""Children that were forked have their parent's client, and leave its connections alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.unit.client.servers import Threaded

pytestmark = pytest.mark.slow

CHILDREN = 3
FORKS = f"""
import multiprocessing, sys
import numpy as np, headrace

client = headrace.Client(sys.argv[1], binary=False, timeout_s=20)

def ask(name):
    for at in range(50):
        wanted = f"{{name}}-{{at}}"
        assert client.infer("m", {{"x": np.ones(1, np.float32)}}, request_id=wanted).id == wanted

ask("before")
children = [
    multiprocessing.get_context("fork").Process(target=ask, args=(f"child {{number}}",))
    for number in range({CHILDREN})
]
for child in children:
    child.start()
ask("parent")
for child in children:
    child.join()
client.close()
print([child.exitcode for child in children])
"""
IN_A_LOOP = """
import asyncio, os, sys
import numpy as np, headrace
from headrace.errors import InvalidArgument

with asyncio.Runner() as runner:
    client = headrace.AsyncClient(sys.argv[1], binary=False)

    async def ask():
        await client.infer("m", {"x": np.ones(1, np.float32)})

    runner.run(ask())
    child = os.fork()
    if child == 0:
        try:
            runner.run(ask())
        except InvalidArgument as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    runner.run(ask())
    runner.run(client.close())
"""


def _answers(body: bytes) -> bytes:
    """Answer with the id that was asked with."""
    outputs = [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1]}]
    return json.dumps({"id": json.loads(body).get("id", ""), "outputs": outputs}).encode()


@pytest.fixture
def echo() -> Iterator[Threaded]:
    server = Threaded(_answers)
    with server.running():
        yield server


def _run(code: str, server: Threaded) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, f"http://127.0.0.1:{server.server_port}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_every_process_has_connections_and_answers_of_its_own(echo: Threaded) -> None:
    done = _run(FORKS, echo)
    assert done.stdout.strip() == str([0] * CHILDREN), done.stderr
    assert len(echo.peers) == 1 + CHILDREN


def test_an_event_loop_is_not_for_children(echo: Threaded) -> None:
    done = _run(IN_A_LOOP, echo)
    assert done.returncode == 0, done.stderr
    assert "make a client inside each asyncio.run, and in each process" in done.stdout
    assert len(echo.peers) == 1
