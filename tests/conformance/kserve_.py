"""KServe's own clients: ``InferenceRESTClient`` and ``InferenceGRPCClient``, protocol v2.

They register the same messages as ``tritonclient`` does, so both cannot be in one process: each
check runs in one of its own, ``python -m tests.conformance.kserve_ CLIENT METHOD URL``.
"""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from tests.conformance.check import Check, World, public

PRIVATE = frozenset({"close"})
REST, GRPC = "kserve.InferenceRESTClient", "kserve.InferenceGRPCClient"
X = np.arange(4, dtype=np.float32).reshape(1, 4)
NO_EXPLANATION = "explain"
"""Of protocol v1 and of KServe's explainers; it is not part of this server."""


def methods() -> dict[str, set[str]]:
    """The methods of both clients."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.conformance.kserve_", "methods"],
        check=True,
        capture_output=True,
    )
    return {client: set(names) for client, names in json.loads(answer.stdout).items()}


def _methods() -> dict[str, set[str]]:
    import kserve  # noqa: PLC0415 - slow, and only the conformance set-up has it

    return {
        REST: public(kserve.InferenceRESTClient) - PRIVATE - {NO_EXPLANATION},
        GRPC: public(kserve.InferenceGRPCClient) - PRIVATE,
    }


def _request(*, raw: bool) -> Any:
    from kserve import InferInput, InferRequest  # noqa: PLC0415 - as above

    tensor = InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(X, binary_data=raw)
    return InferRequest(model_name="linear", infer_inputs=[tensor])


@asynccontextmanager
async def _rest() -> AsyncIterator[Any]:
    from kserve import InferenceRESTClient, RESTConfig  # noqa: PLC0415 - as above

    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _grpc(url: str) -> AsyncIterator[Any]:
    from kserve import InferenceGRPCClient  # noqa: PLC0415 - as above

    client = InferenceGRPCClient(url.removeprefix("http://"))
    try:
        yield client
    finally:
        await client.close()


async def _rest_infer(url: str) -> None:
    async with _rest() as client:
        for raw in (False, True):
            answer = await client.infer(url, _request(raw=raw), model_name="linear")
            np.testing.assert_allclose(answer.outputs[0].as_numpy(), 3 * X)


async def _rest_is_server_live(url: str) -> None:
    async with _rest() as client:
        assert await client.is_server_live(url) is True


async def _rest_is_server_ready(url: str) -> None:
    async with _rest() as client:
        assert await client.is_server_ready(url) is True


async def _rest_is_model_ready(url: str) -> None:
    async with _rest() as client:
        assert await client.is_model_ready(url, "linear") is True


async def _grpc_infer(url: str) -> None:
    async with _grpc(url) as client:
        for raw in (False, True):
            answer = await client.infer(_request(raw=raw))
            np.testing.assert_allclose(answer.outputs[0].as_numpy(), 3 * X)


async def _grpc_is_server_live(url: str) -> None:
    async with _grpc(url) as client:
        assert await client.is_server_live() is True


async def _grpc_is_server_ready(url: str) -> None:
    async with _grpc(url) as client:
        assert await client.is_server_ready() is True


async def _grpc_is_model_ready(url: str) -> None:
    async with _grpc(url) as client:
        assert await client.is_model_ready("linear") is True


RUNS: dict[tuple[str, str], Callable[[str], Awaitable[None]]] = {
    (REST, "infer"): _rest_infer,
    (REST, "is_server_live"): _rest_is_server_live,
    (REST, "is_server_ready"): _rest_is_server_ready,
    (REST, "is_model_ready"): _rest_is_model_ready,
    (GRPC, "infer"): _grpc_infer,
    (GRPC, "is_server_live"): _grpc_is_server_live,
    (GRPC, "is_server_ready"): _grpc_is_server_ready,
    (GRPC, "is_model_ready"): _grpc_is_model_ready,
}


def checks() -> Iterator[Check]:
    """Every method of both."""
    for client, method in RUNS:
        yield Check(client, method, functools.partial(_apart, client, method))


async def _apart(client: str, method: str, world: World) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.conformance.kserve_",
        client,
        method,
        world.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    text, _ = await process.communicate()
    assert process.returncode == 0, text.decode()[-2000:]


def _main(arguments: list[str]) -> None:
    if arguments == ["methods"]:
        json.dump({client: sorted(names) for client, names in _methods().items()}, sys.stdout)
    else:
        client, method, url = arguments
        asyncio.run(RUNS[client, method](url))  # type: ignore[arg-type] # they are coroutines


if __name__ == "__main__":
    _main(sys.argv[1:])
