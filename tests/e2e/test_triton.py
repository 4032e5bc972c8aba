"""Triton's own clients, unchanged, with everything they can ask a server in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException, shared_memory

from tests.contract import models
from tests.e2e.clients import http
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server

Array = np.ndarray[Any, Any]
X = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
TEXT = """
inputs: {text_input: [BYTES, [null, 1]]}
outputs: {text_output: [BYTES, [null, 1]]}
"""
FREE = """
inputs: {x: [FP32, [null, null, 2]]}
outputs: {y: [FP32, [null, null, 2]]}
"""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("triton")
    write_linear(root / "linear/1/model.onnx", 1.0)
    write_linear(root / "linear/3/model.onnx", 10.0)
    models.double(root / "llm/1/model.fake", TEXT)
    models.double(root / "free/1/model.fake", FREE)
    (root / "free/card.yaml").write_text("warm_shapes: {x: [[1, 2]]}\n")
    settings = root / "headrace.yaml"
    settings.write_text(f"server: {{shared_memory: true}}\nmodels: [{{path: {root}}}]\n")
    with Server("--config", settings) as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, triton: Server) -> Iterator[Any]:
    library = getattr(tritonclient, request.param)
    with library.InferenceServerClient(triton.address) as made:
        yield made


def library_of(client: Any) -> Any:
    """The module that this client's tensors come from."""
    grpc = isinstance(client, tritonclient.grpc.InferenceServerClient)
    return tritonclient.grpc if grpc else tritonclient.http


def ask(client: Any, method: str, *args: Any, **named: Any) -> Any:
    """Call a method; gRPC's clients give a message unless asked for JSON."""
    if library_of(client) is tritonclient.grpc:
        named["as_json"] = True
    return getattr(client, method)(*args, **named)


def infer(client: Any, model: str, x: Array, **named: Any) -> Any:
    tensor = library_of(client).InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    return client.infer(model, [tensor], **named)


# -- what models and the server say of themselves --------------------------------------------------


def test_the_configuration_is_what_is_served(client: Any) -> None:
    found = ask(client, "get_model_config", "linear", "3")
    config = found.get("config", found)
    assert config["name"] == "linear"
    assert config["platform"].startswith(config["backend"])
    assert config["max_batch_size"] >= 1
    assert [(t["name"], t["data_type"]) for t in config["input"]] == [("x", "TYPE_FP32")]
    assert [int(size) for size in config["input"][0]["dims"]] == [4]
    assert [int(size) for size in config["output"][0]["dims"]] == [3]
    (group,) = config["instance_group"]
    assert (group["kind"], group["count"] >= 1) == ("KIND_CPU", True)
    assert config["max_batch_size"] in config["dynamic_batching"]["preferred_batch_size"]
    assert config["parameters"]["precision"] == {"string_value": "f32"}
    with pytest.raises(InferenceServerException, match="no version 2"):
        client.get_model_config("linear", "2")


def test_the_metadata_names_the_extensions_and_the_properties(client: Any) -> None:
    extensions = ask(client, "get_server_metadata")["extensions"]
    assert {"statistics", "model_configuration", "system_shared_memory"} <= set(extensions)
    model = ask(client, "get_model_metadata", "linear")
    assert [int(size) for size in model["inputs"][0]["shape"]] == [-1, 4]
    if library_of(client) is tritonclient.http:  # the other one's protobuf does not know them
        assert model["properties"]["batched"] == "true"


def statistics(client: Any, name: str, version: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(client, "get_inference_statistics", name, version)[
        "model_stats"
    ]
    return found


def whole(value: dict[str, Any], *path: str) -> int:
    """A number, which gRPC's JSON writes as text, or leaves out when it is 0."""
    leaf: Any = value
    for name in path:
        leaf = leaf.get(name, {})
    return int(leaf or 0)


def test_statistics_count_what_was_asked(client: Any) -> None:
    (before,) = statistics(client, "linear", "1")
    for _ in range(3):
        infer(client, "linear", X, model_version="1")
    wrong = np.zeros((1, 5), np.float32)
    with pytest.raises(InferenceServerException):
        infer(client, "linear", wrong, model_version="1")
    (after,) = statistics(client, "linear", "1")

    def grown(*path: str) -> int:
        return whole(after, *path) - whole(before, *path)

    assert grown("inference_count") == 6
    assert grown("execution_count") == 3
    for phase in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert grown("inference_stats", phase, "count") == 3, phase
        assert grown("inference_stats", phase, "ns") > 0, phase
    assert grown("inference_stats", "fail", "count") == 1
    assert grown("inference_stats", "fail", "ns") > 0
    assert whole(after, "last_inference") > 1_700_000_000_000
    (of_two,) = [row for row in after["batch_stats"] if int(row["batch_size"]) == 2]
    assert whole(of_two, "compute_infer", "count") >= 3


def test_statistics_are_of_a_version_a_model_or_all(client: Any) -> None:
    assert [row["version"] for row in statistics(client, "linear", "3")] == ["3"]
    assert sorted(row["version"] for row in statistics(client, "linear")) == ["1", "3"]
    assert {row["name"] for row in statistics(client, "")} == {"linear", "llm", "free"}
    with pytest.raises(InferenceServerException, match="unknown model 'nope'"):
        statistics(client, "nope")


# -- switches --------------------------------------------------------------------------------------


def unwrap(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a gRPC answer or a REST one, as one form."""
    found = {}
    for key, value in settings.get("settings", settings).items():
        inner = value
        if isinstance(value, dict):
            inner = value["value"] if "value" in value else next(iter(value.values()))
        found[key] = inner[0] if isinstance(inner, list) and key != "trace_level" else inner
    return found


def test_trace_settings_of_a_model_go_before_those_of_all_and_null_clears(client: Any) -> None:
    def change(model: str | None, **settings: Any) -> dict[str, Any]:
        named = {"model_name": model, "settings": settings}
        return unwrap(ask(client, "update_trace_settings", **named))

    def read(model: str | None) -> dict[str, Any]:
        return unwrap(ask(client, "get_trace_settings", model_name=model))

    assert read(None)["trace_level"] == ["OFF"]
    assert change(None, trace_rate="5")["trace_rate"] == "5"
    assert read("linear")["trace_rate"] == "5"
    assert change("linear", trace_rate="7", trace_level=["OFF"])["trace_rate"] == "7"
    assert (read(None)["trace_rate"], read("llm")["trace_rate"]) == ("5", "5")
    assert change("linear", trace_rate=None)["trace_rate"] == "5"
    assert change(None, trace_rate=None)["trace_rate"] == "1000"
    for settings, message in (
        ({"trace_level": ["TIMESTAMPS"]}, "traces are not written here"),
        ({"trace_level": ["MAX"]}, "trace_level must be of OFF"),
        ({"trace_file": "/tmp/trace"}, "trace_file must be a file's name"),  # noqa: S108
        ({"trace_file": "trace"}, "server.trace_dir must name a folder"),
        ({"trace_rate": "0"}, "trace_rate must be a whole number from 1"),
        ({"speed": "1"}, "unknown trace setting 'speed'"),
    ):
        with pytest.raises(InferenceServerException, match=message):
            client.update_trace_settings(settings=settings)
    with pytest.raises(InferenceServerException, match="unknown model 'nope'"):
        client.get_trace_settings("nope")


def test_log_settings_are_changed_and_read_back(client: Any) -> None:
    def change(**settings: Any) -> dict[str, Any]:
        return unwrap(ask(client, "update_log_settings", settings))

    before = unwrap(ask(client, "get_log_settings"))
    assert before == {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }
    changed = change(log_info=False, log_verbose_level=2, log_format="ISO8601")
    assert changed == {
        **before,
        "log_info": False,
        "log_verbose_level": 2,
        "log_format": "ISO8601",
    }
    assert change(log_info=True, log_verbose_level=0, log_format="default") == before
    for settings, message in (
        ({"log_file": "x"}, "log_file cannot be changed"),
        ({"log_format": "xml"}, "log_format must be default or ISO8601"),
        ({"loud": True}, "unknown log setting 'loud'"),
    ):
        with pytest.raises(InferenceServerException, match=message):
            client.update_log_settings(settings)


# -- shared memory ---------------------------------------------------------------------------------


@contextlib.contextmanager
def region(client: Any, name: str, size: int) -> Iterator[Any]:
    """A region of the client's own, registered inside the context."""
    handle = shared_memory.create_shared_memory_region(name, f"/headrace-{name}", size)
    try:
        client.register_system_shared_memory(name, f"/headrace-{name}", size)
        yield handle
    finally:
        client.unregister_system_shared_memory(name)
        shared_memory.destroy_shared_memory_region(handle)


def shared(client: Any, x: Array, *, offset: int = 0, out_bytes: int | None = None) -> Any:
    """Ask with x in region ``in``, for y in region ``out``."""
    library = library_of(client)
    tensor = library.InferInput("x", x.shape, "FP32")
    tensor.set_shared_memory("in", x.nbytes, offset)
    output = library.InferRequestedOutput("y")
    output.set_shared_memory("out", out_bytes or len(x) * 12, offset)
    return client.infer("linear", [tensor], outputs=[output])


def test_tensors_travel_in_shared_memory_both_ways(client: Any) -> None:
    expected = infer(client, "linear", X).as_numpy("y")
    with region(client, "in", 256) as into, region(client, "out", 256) as out:
        names = ask(client, "get_system_shared_memory_status")
        rows = names["regions"].values() if "regions" in names else names
        assert {row["name"] for row in rows} == {"in", "out"}
        for offset, x in ((0, X), (64, X), (0, X * 2)):  # the same form, other bytes
            shared_memory.set_shared_memory_region(into, [x], offset)
            answer = shared(client, x, offset=offset)
            found = shared_memory.get_contents_as_numpy(out, np.float32, [2, 3], offset)
            np.testing.assert_allclose(found, expected * (x[0, 0] / X[0, 0]), rtol=1e-5)
            assert answer.get_output("y") is not None
        np.testing.assert_array_equal(infer(client, "linear", X).as_numpy("y"), expected)
    rows = ask(client, "get_system_shared_memory_status")
    assert not (rows.get("regions") if isinstance(rows, dict) else rows)


def test_misuse_of_shared_memory_is_told(client: Any) -> None:
    refused = pytest.raises
    with refused(InferenceServerException, match="cannot be opened"):
        client.register_system_shared_memory("a", "/headrace-nowhere", 64)
    with refused(InferenceServerException, match="no name of POSIX shared memory"):
        client.register_system_shared_memory("a", "/../etc/passwd", 64)
    with refused(InferenceServerException, match="Unable to find shared memory region: 'out'"):
        shared(client, X)
    with refused(InferenceServerException, match="Unable to find shared memory region: 'in'"):
        client.get_system_shared_memory_status("in")
    with region(client, "in", 64), region(client, "out", 64):
        with refused(InferenceServerException, match="registered already"):
            client.register_system_shared_memory("in", "/headrace-in", 64)
        with refused(InferenceServerException, match="offset and byte_size ask for 99999"):
            client.register_system_shared_memory("b", "/headrace-in", 99_999)
        with refused(InferenceServerException, match="has 64 bytes: 24 at offset 60"):
            shared(client, X, offset=60)
        with refused(InferenceServerException, match="output 'y' has 24 bytes, its place .* 8"):
            shared(client, X, out_bytes=8)


def test_a_region_cut_off_by_its_client_hurts_nobody_else(client: Any, triton: Server) -> None:
    receiver = triton.receiver().pid
    with region(client, "in", 64), region(client, "out", 64):
        for name in ("in", "out"):
            with Path(f"/dev/shm/headrace-{name}").open("r+b") as object_:  # noqa: S108
                object_.truncate(16)
            with pytest.raises(InferenceServerException, match="has shrunk"):
                shared(client, X)
            with Path(f"/dev/shm/headrace-{name}").open("r+b") as object_:  # noqa: S108
                object_.truncate(64)
        shared(client, X)
    assert triton.receiver().pid == receiver


def test_there_is_no_cuda_memory(client: Any) -> None:
    assert not ask(client, "get_cuda_shared_memory_status")
    client.unregister_cuda_shared_memory()
    with pytest.raises(InferenceServerException, match="memory of a GPU"):
        client.register_cuda_shared_memory("a", b"aGFuZGxl", 0, 64)


def test_shared_memory_is_off_unless_the_operator_wants_it(server: Server) -> None:
    for library in (tritonclient.grpc, tritonclient.http):
        with library.InferenceServerClient(server.address) as off:
            with pytest.raises(InferenceServerException, match=r"server\.shared_memory"):
                off.register_system_shared_memory("a", "/a", 1)
            with pytest.raises(InferenceServerException, match=r"server\.shared_memory"):
                shared(off, X)
            assert "system_shared_memory" not in ask(off, "get_server_metadata")["extensions"]


# -- raw bodies and generate -----------------------------------------------------------------------


def test_a_raw_body_is_one_row(triton: Server) -> None:
    with tritonclient.http.InferenceServerClient(triton.address) as client:
        expected = infer(client, "linear", X[:1]).as_numpy("y")
        headers = {"Inference-Header-Content-Length": "0"}
        for model, x, want in (("linear", X[:1], expected), ("free", X[None], None)):
            body = x.reshape(-1, 2).tobytes() if model == "free" else x.tobytes()
            response = client._post(
                f"v2/models/{model}/infer", body, headers=headers, query_params=None
            )
            assert response.status_code == 200
            length = response.get("Inference-Header-Content-Length")
            result = tritonclient.http.InferResult.from_response_body(
                response.read(), header_length=int(length)
            ).as_numpy("y")
            np.testing.assert_array_equal(result, x.reshape(1, -1, 2) if want is None else want)


def test_generate_maps_keys_to_tensors(triton: Server) -> None:
    for path in ("llm", "llm/versions/1"):
        body = {"text_input": "hé", "parameters": {"temperature": 0.5}, "id": "7"}
        status, answer, _ = http(f"{triton.url}/v2/models/{path}/generate", body)
        assert (status, answer) == (
            200,
            {"model_name": "llm", "model_version": "1", "id": "7", "text_output": "hé"},
        )
    status, answer, _ = http(f"{triton.url}/v2/models/linear/generate", {"x": [1, 2, 3, 4]})
    assert (status, len(answer["y"])) == (200, 3)
    status, answer, _ = http(f"{triton.url}/v2/models/llm/generate", {"text": "a"})
    assert status == 400
    assert "'text_input' is missing" in answer["error"]


# -- the clients that wait -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grpc", "http"])
async def test_the_clients_of_asyncio_ask_the_same(triton: Server, kind: str) -> None:
    library = getattr(tritonclient, kind)
    async with library.aio.InferenceServerClient(triton.address) as client:
        named = {"as_json": True} if kind == "grpc" else {}
        config = await client.get_model_config("linear", **named)
        assert config.get("config", config)["name"] == "linear"
        found = await client.get_inference_statistics("linear", "1", **named)
        assert found["model_stats"][0]["version"] == "1"
        assert unwrap(await client.get_trace_settings(**named))["trace_level"] == ["OFF"]
        assert unwrap(await client.get_log_settings(**named))["log_error"] is True
        assert not await client.get_cuda_shared_memory_status(**named)
        await client.unregister_system_shared_memory()
        tensor = library.InferInput("x", X.shape, "FP32")
        tensor.set_data_from_numpy(X)
        assert (await client.infer("linear", [tensor])).as_numpy("y").shape == (2, 3)
