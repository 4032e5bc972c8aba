"""``tritonclient``: http, grpc, and both again for asyncio. One check a method, for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

from tests.conformance.check import REFUSED, WORKS, Asker, Check, World, public

CLIENTS = (
    "tritonclient.http",
    "tritonclient.http.aio",
    "tritonclient.grpc",
    "tritonclient.grpc.aio",
)
PRIVATE = frozenset({"close", "plugin"})
"""Methods that say nothing to a server: used or read in every check."""

X = np.arange(4, dtype=np.float32).reshape(1, 4)


class Triton(Asker):
    """One of the four clients."""

    def __init__(self, name: str, world: World) -> None:
        self.module: ModuleType = import_module(name)
        self.grpc = ".grpc" in name
        self.world = world
        super().__init__(self.module.InferenceServerClient(world.address))

    async def read(self, name: str, *arguments: Any) -> Any:
        """Call a method that answers with a document: JSON in both."""
        return await self.ask(name, *arguments, **({"as_json": True} if self.grpc else {}))

    def inputs(self) -> list[Any]:
        """The input of ``linear``."""
        tensor = self.module.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(X)
        return [tensor]

    async def close(self) -> None:
        """Let go of the connection."""
        await self.ask("close")


Method = Callable[[Triton], Awaitable[None]]
METHODS: dict[str, tuple[Method, str]] = {}


def method(*names: str, verdict: str = WORKS) -> Callable[[Method], Method]:
    """Say which methods of the clients a check is of."""

    def note(run: Method) -> Method:
        METHODS.update(dict.fromkeys(names, (run, verdict)))
        return run

    return note


def checks() -> Iterator[Check]:
    """Every method of every client."""
    for name in CLIENTS:
        for one in sorted(public(import_module(name).InferenceServerClient) - PRIVATE):
            if one in METHODS:  # a test says when one is missing
                run, verdict = METHODS[one]
                yield Check(name, one, functools.partial(_run, name, run), verdict)


async def _run(name: str, run: Method, world: World) -> None:
    async with _client(name, world) as client:
        await run(client)


@contextlib.asynccontextmanager
async def _client(name: str, world: World) -> AsyncIterator[Triton]:
    client = Triton(name, world)
    try:
        yield client
    finally:
        await client.close()


# -- how it is -------------------------------------------------------------------------------------


@method("is_server_live")
async def _(t: Triton) -> None:
    assert await t.ask("is_server_live") is True


@method("is_server_ready")
async def _(t: Triton) -> None:
    assert await t.ask("is_server_ready") is True


@method("is_model_ready")
async def _(t: Triton) -> None:
    assert await t.ask("is_model_ready", "linear") is True
    assert await t.ask("is_model_ready", "linear", "1") is True
    assert await t.ask("is_model_ready", "nobody") is False


@method("get_server_metadata")
async def _(t: Triton) -> None:
    found = await t.read("get_server_metadata")
    assert found["name"] == "headrace"
    assert "binary_tensor_data" in found["extensions"]


@method("get_model_metadata")
async def _(t: Triton) -> None:
    found = await t.read("get_model_metadata", "linear")
    assert found["versions"] == ["1", "3"]
    assert [int(size) for size in found["inputs"][0]["shape"]] == [-1, 4]


@method("get_model_config")
async def _(t: Triton) -> None:
    found = await t.read("get_model_config", "linear")
    config = found.get("config", found)
    assert config["name"] == "linear"
    assert config["max_batch_size"] > 1
    assert [int(size) for size in config["input"][0]["dims"]] == [4]
    assert config["input"][0]["data_type"] == "TYPE_FP32"


@method("get_inference_statistics")
async def _(t: Triton) -> None:
    await t.ask("infer", "linear", t.inputs())
    found = await t.read("get_inference_statistics", "linear", "3")
    assert int(found["model_stats"][0]["inference_stats"]["success"]["count"]) >= 1


# -- inference -------------------------------------------------------------------------------------


@method("infer")
async def _(t: Triton) -> None:
    outputs = [t.module.InferRequestedOutput("y")]
    answer = await t.ask("infer", "linear", t.inputs(), outputs=outputs, request_id="one")
    np.testing.assert_allclose(answer.as_numpy("y"), 3 * X)
    first = await t.ask("infer", "linear", t.inputs(), model_version="1", priority=1)
    np.testing.assert_allclose(first.as_numpy("y"), X)
    ranked = [t.module.InferRequestedOutput("y", class_count=2)]
    best = await t.ask("infer", "linear", t.inputs(), outputs=ranked)
    assert [text.split(b":")[1] for text in best.as_numpy("y").ravel()] == [b"3", b"2"]


@method("async_infer")
async def _(t: Triton) -> None:
    if t.grpc:
        answers: queue.Queue[Any] = queue.Queue()
        t.client.async_infer(
            "linear", t.inputs(), lambda result, error: answers.put((result, error))
        )
        result, error = answers.get(timeout=10)
        assert error is None
    else:
        result = t.client.async_infer("linear", t.inputs()).get_result(timeout=10)
    np.testing.assert_allclose(result.as_numpy("y"), 3 * X)


@method("start_stream", "async_stream_infer", "stop_stream")
async def _(t: Triton) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    t.client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for number in range(3):
            t.client.async_stream_infer("linear", t.inputs(), request_id=str(number))
        t.client.async_stream_infer("nobody", t.inputs())
        found = [answers.get(timeout=10) for _ in range(4)]
    finally:
        t.client.stop_stream()
    results = [result.get_response() for result, error in found[:3] if error is None]
    assert [one.id for one in results] == ["0", "1", "2"]
    assert all(one.parameters["triton_final_response"].bool_param for one in results)
    assert found[3][1] is not None


@method("stream_infer")
async def _(t: Triton) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            yield {"model_name": "linear", "inputs": t.inputs(), "request_id": str(number)}

    found = []
    async for result, error in t.client.stream_infer(requests()):
        assert error is None
        found.append(result.get_response().id)
        if len(found) == 3:
            break
    assert found == ["0", "1", "2"]


@method("generate_request_body", "parse_response_body")
async def _(t: Triton) -> None:
    outputs = [t.module.InferRequestedOutput("y")]
    kind = t.module.InferenceServerClient
    body, size = kind.generate_request_body(t.inputs(), outputs=outputs)
    status, answer, headers = await asyncio.to_thread(
        _post, f"{t.world.url}/v2/models/linear/infer", body, size
    )
    assert status == 200
    length = headers["Inference-Header-Content-Length"]
    result = kind.parse_response_body(answer, header_length=int(length))
    np.testing.assert_allclose(result.as_numpy("y"), 3 * X)


@method("register_plugin", "unregister_plugin")
async def _(t: Triton) -> None:
    client = import_module("tritonclient._plugin")

    class Plugin(client.InferenceServerClientPlugin):  # type: ignore[misc, name-defined]
        def __call__(self, request: Any) -> None:
            request.headers["authorization"] = "Bearer something"

    t.client.register_plugin(Plugin())
    try:
        await t.ask("infer", "linear", t.inputs())
    finally:
        t.client.unregister_plugin()


# -- the models there are --------------------------------------------------------------------------


@method("get_model_repository_index")
async def _(t: Triton) -> None:
    found = await t.read("get_model_repository_index")
    rows = found["models"] if isinstance(found, dict) else found
    assert {"name": "linear", "version": "3", "state": "READY"}.items() <= next(
        row for row in rows if (row["name"], row["version"]) == ("linear", "3")
    ).items()


@method("load_model", "unload_model")
async def _(t: Triton) -> None:
    await t.ask("unload_model", "spare")
    assert await t.ask("is_model_ready", "spare") is False
    await t.ask("load_model", "spare")
    assert await t.ask("is_model_ready", "spare") is True


# -- settings --------------------------------------------------------------------------------------


@method("get_log_settings", "update_log_settings")
async def _(t: Triton) -> None:
    before = _flat(await t.read("get_log_settings"))
    assert before["log_info"] is True
    after = _flat(await t.read("update_log_settings", {"log_info": False}))
    try:
        assert after["log_info"] is False
    finally:
        await t.ask("update_log_settings", {"log_info": True})


@method("get_trace_settings")
async def _(t: Triton) -> None:
    assert _flat(await t.read("get_trace_settings"))["trace_level"] in ("OFF", ["OFF"])
    await t.read("get_trace_settings", "linear")


@method("update_trace_settings")
async def _(t: Triton) -> None:
    await t.ask("update_trace_settings", "linear", {"trace_rate": "500"})
    assert int(_one(_flat(await t.read("get_trace_settings", "linear"))["trace_rate"])) == 500
    await t.ask("update_trace_settings", "linear", {"trace_rate": None})


# -- shared memory ---------------------------------------------------------------------------------


@method(
    "register_system_shared_memory",
    "get_system_shared_memory_status",
    "unregister_system_shared_memory",
)
async def _(t: Triton) -> None:
    key = f"/headrace-{uuid.uuid4().hex}"
    region = shm.create_shared_memory_region("mine", key, 16 + 16)
    name = f"mine-{uuid.uuid4().hex}"
    try:
        shm.set_shared_memory_region(region, [X])
        await t.ask("register_system_shared_memory", name, key, 32)
        status = await t.read("get_system_shared_memory_status")
        assert name in str(status)
        tensor = t.module.InferInput("x", [1, 4], "FP32")
        tensor.set_shared_memory(name, 16)
        wanted = t.module.InferRequestedOutput("y")
        wanted.set_shared_memory(name, 16, 16)
        await t.ask("infer", "linear", [tensor], outputs=[wanted])
        found = shm.get_contents_as_numpy(region, np.float32, [1, 4], 16)
        np.testing.assert_allclose(found, 3 * X)
        await t.ask("unregister_system_shared_memory", name)
        assert name not in str(await t.read("get_system_shared_memory_status"))
    finally:
        shm.destroy_shared_memory_region(region)


@method("get_cuda_shared_memory_status")
async def _(t: Triton) -> None:
    assert not _flat(await t.read("get_cuda_shared_memory_status"))


@method("register_cuda_shared_memory", verdict=REFUSED)
async def _(t: Triton) -> None:
    await t.refused(
        InferenceServerException,
        "memory of a GPU is not taken",
        "register_cuda_shared_memory",
        "mine",
        b"aGFuZGxl",
        0,
        16,
    )


@method("unregister_cuda_shared_memory")
async def _(t: Triton) -> None:
    await t.ask("unregister_cuda_shared_memory")


def _flat(found: Any) -> dict[str, Any]:
    """The settings of an answer: gRPC wraps each of them."""
    if isinstance(found, list):
        return {str(index): row for index, row in enumerate(found)}
    if "regions" in found:
        return dict(found["regions"])
    if "settings" not in found:
        return dict(found)
    return {
        name: next(iter(value.values()), None) if isinstance(value, dict) else value
        for name, value in found["settings"].items()
    }


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _post(url: str, body: bytes, size: int) -> tuple[int, bytes, Any]:
    import urllib.request  # noqa: PLC0415 - for this check only

    headers = {"Inference-Header-Content-Length": str(size)}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:  # noqa: S310
        return answer.status, answer.read(), answer.headers
