"""One suite over the four clients, against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import headrace
from headrace import errors
from headrace.values import DType, TensorSpec
from tests.contract import models
from tests.contract.clients import KINDS, opened
from tests.contract.conftest import WEIGHTS
from tests.e2e.server import Server

X = np.arange(8, dtype=np.float32).reshape(2, 4)
NUMBERS = [dtype for dtype in DType if dtype is not DType.BYTES]


@pytest.fixture(scope="module")
def echoes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A double for each dtype, which answers with its input."""
    root = tmp_path_factory.mktemp("echoes")
    for dtype in DType:
        text = (
            f"inputs: {{x: [{dtype.value}, [null, 3]]}}\noutputs: {{y: [{dtype.value}, [null, 3]]}}"
        )
        models.double(root / dtype.value.lower() / "1/model.fake", text)
    with Server(Path(root)) as running:
        yield running


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, served: Server) -> Iterator[Any]:
    with opened(request.param, served.address) as face:
        yield face


@pytest.fixture(params=KINDS)
def echo(request: pytest.FixtureRequest, echoes: Server) -> Iterator[Any]:
    with opened(request.param, echoes.address) as face:
        yield face


def test_a_named_array_is_answered_with_arrays(client: Any) -> None:
    result = client.infer("linear", {"x": X})
    np.testing.assert_allclose(result["y"], X @ (WEIGHTS * 10))
    assert (result.model, result.version, result.id, list(result)) == ("linear", "3", "", ["y"])
    assert result.output is result["y"]


def test_an_array_alone_is_the_only_input(client: Any) -> None:
    np.testing.assert_allclose(client.infer("linear", X).output, X @ (WEIGHTS * 10))


def test_lists_become_what_the_model_takes(client: Any) -> None:
    result = client.infer("pair", {"left": [[1, 2]], "right": [3]})
    assert {name: array.dtype for name, array in result.items()} == {"l": "float32", "r": "int64"}
    np.testing.assert_array_equal(result["l"], [[1, 2]])


def test_version_and_id_are_kept(client: Any) -> None:
    result = client.infer("linear", X, version=1, request_id="seven")
    np.testing.assert_allclose(result.output, X @ WEIGHTS)
    assert (result.version, result.id) == ("1", "seven")


def test_outputs_can_be_chosen(client: Any) -> None:
    inputs = {"left": np.ones((1, 2), np.float32), "right": np.ones(1, np.int64)}
    assert list(client.infer("pair", inputs, outputs=["r"])) == ["r"]
    assert list(client.infer("pair", inputs, outputs=["r", "l"])) == ["r", "l"]
    with pytest.raises(errors.InvalidInput, match="several outputs"):
        _ = client.infer("pair", inputs).output


def test_classes_come_as_bytes(client: Any) -> None:
    (best,) = client.infer("linear", np.array([[1, 0, 0, 0]], np.float32), classification=1).output
    value, index = best[0].split(b":")
    assert (float(value), index) == ((WEIGHTS * 10)[0, 2], b"2")


def test_priority_is_taken(client: Any) -> None:
    assert client.infer("linear", X, priority=1).output.shape == (2, 3)


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.value)
def test_every_dtype_comes_back_as_it_went(echo: Any, dtype: DType) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype.numpy)
    output = echo.infer(dtype.value.lower(), {"x": array}).output
    assert output.dtype == dtype.numpy
    np.testing.assert_array_equal(output, array)
    listed = echo.infer(dtype.value.lower(), {"x": array.tolist()}).output
    np.testing.assert_array_equal(listed, array)


def test_bfloat16_keeps_its_bits(echo: Any) -> None:
    array = np.array([[3.140625, np.inf, -0.0]], ml_dtypes.bfloat16)
    assert echo.infer("bf16", array).output.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        [["a", "ü", b"\xff\x00"]],
        np.array([["a", "ü", b"\xff\x00"]], object),
    ],
    ids=["lists", "object"],
)
def test_text_comes_back_as_bytes(echo: Any, value: Any) -> None:
    output = echo.infer("bytes", {"x": value}).output
    assert output.tolist() == [[b"a", "ü".encode(), b"\xff\x00"]]


@pytest.mark.parametrize("array", [np.array([["a", "bc", ""]]), np.array([[b"a", b"bc", b""]])])
def test_numpy_strings_are_text(echo: Any, array: Any) -> None:
    assert echo.infer("bytes", array).output.tolist() == [[b"a", b"bc", b""]]


def test_layout_and_byte_order_make_no_difference(echo: Any) -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4)[:, 1:].T.copy().T
    output = echo.infer("int32", {"x": array}).output
    assert output.dtype == np.int32
    np.testing.assert_array_equal(output, array)


def test_no_rows_are_a_typed_error(echo: Any) -> None:
    with pytest.raises(errors.InvalidInput):
        echo.infer("fp32", np.zeros((0, 3), np.float32))


def test_a_large_tensor_comes_back_whole(echo: Any) -> None:
    array = np.random.default_rng(1).random((40_000, 3), np.float32)
    output = echo.infer("fp32", array, timeout_s=60).output
    np.testing.assert_array_equal(output, array)


def test_live_ready_and_metadata(client: Any) -> None:
    assert client.live() is True
    assert client.ready() is True
    assert client.ready("linear") is True
    assert client.ready("linear", version=1) is True
    assert client.ready("linear", version=2) is False
    assert client.ready("nobody") is False
    assert client.ready("broken") is False
    server = client.metadata()
    assert (server.name, server.version) == ("headrace", headrace.__version__)
    assert "binary_tensor_data" in server.extensions
    model = client.metadata("linear")
    assert model.inputs == (TensorSpec("x", DType.FP32, (None, 4)),)
    assert model.outputs == (TensorSpec("y", DType.FP32, (None, 3)),)
    assert (model.name, model.versions) == ("linear", ("1", "3"))
    # Of so small a model it is chance which backend is found to be faster.
    assert model.platform in {"onnxruntime_f32", "openvino_f32"}


def test_models_lists_every_version_with_its_state(client: Any) -> None:
    states = {(one.name, one.version): one.state for one in client.models()}
    assert states["linear", "1"] == states["linear", "3"] == "READY"
    assert states["broken", "1"] == "UNAVAILABLE"


REFUSED: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (errors.ModelNotFound, "unknown model 'nobody'", {"model": "nobody", "inputs": {"x": X}}),
    (errors.ModelNotFound, "unknown model 'nobody'", {"model": "nobody", "inputs": [[1]]}),
    (errors.VersionNotFound, "2", {"model": "linear", "inputs": {"x": X}, "version": 2}),
    (errors.InvalidInput, "FP32, not FP64", {"model": "linear", "inputs": X.astype(np.float64)}),
    (errors.InvalidInput, r"shape \[-1, 4\]", {"model": "linear", "inputs": X[:, :3]}),
    (errors.InvalidInput, "z", {"model": "linear", "inputs": {"z": X}}),
    (errors.InvalidInput, "z", {"model": "linear", "inputs": {"z": [[1, 2, 3, 4]]}}),
    (errors.InvalidInput, "z", {"model": "linear", "inputs": X, "outputs": ["z"]}),
    (errors.InvalidInput, "2 inputs", {"model": "pair", "inputs": X}),
    (errors.InvalidInput, "no inputs", {"model": "linear", "inputs": {}}),
    (errors.InvalidInput, "classification", {"model": "linear", "inputs": X, "classification": 0}),
    (errors.InvalidInput, "list of names", {"model": "linear", "inputs": X, "outputs": "y"}),
    (errors.InvalidInput, "complex128", {"model": "linear", "inputs": X.astype(complex)}),
    (errors.InvalidInput, "come through", {"model": "linear", "inputs": [["a", "b", "c", "d"]]}),
    (errors.InvalidInput, "cannot be made", {"model": "linear", "inputs": [[1, 2], [3]]}),
    (errors.ModelFailed, "broken", {"model": "broken", "inputs": {"x": X}}),
    (errors.MalformedRequest, "priority", {"model": "linear", "inputs": X, "priority": -1}),
    (
        errors.MalformedRequest,
        "sequence_id",
        {"model": "linear", "inputs": X, "sequence_end": True},
    ),
    (errors.MalformedRequest, "written", {"model": "linear", "inputs": X, "priority": 2**70}),
    (errors.InvalidTimeout, "more than 0", {"model": "linear", "inputs": X, "timeout_s": 0}),
    (
        errors.InvalidTimeout,
        "more than 0",
        {"model": "linear", "inputs": X, "timeout_s": float("nan")},
    ),
    (errors.Expired, "timeout_s", {"model": "linear", "inputs": {"x": X}, "timeout_s": 1e-6}),
]


@pytest.mark.parametrize(
    ("kind", "words", "call"), REFUSED, ids=[f"{k.__name__}-{w}" for k, w, _ in REFUSED]
)
def test_errors_are_those_the_server_raised(
    client: Any, kind: type[Exception], words: str, call: dict[str, Any]
) -> None:
    with pytest.raises(kind, match=words) as caught:
        client.infer(**call)
    assert type(caught.value) is kind


def test_an_unknown_option_is_a_mistake_in_the_program(client: Any) -> None:
    with pytest.raises(TypeError, match="prioritty"):
        client.infer("linear", X, prioritty=1)


def test_the_deadline_ends_a_call_that_takes_longer(client: Any) -> None:
    with pytest.raises(errors.OverloadError):
        client.infer("slow", {"x": X[:1]}, timeout_s=0.05)


def test_a_closed_client_says_so(request: pytest.FixtureRequest, served: Server) -> None:
    for kind in KINDS:
        with opened(kind, served.address) as client:
            client.infer("linear", {"x": X})
            client.close()
            client.close()
            with pytest.raises(errors.ClientError, match="closed"):
                client.infer("linear", {"x": X})


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_many_threads_share_a_client(served: Server, scheme: str) -> None:
    with (
        headrace.Client(f"{scheme}://{served.address}") as client,
        ThreadPoolExecutor(16) as pool,
    ):

        def ask(row: int) -> None:
            x = np.full((1, 4), row, np.float32)
            np.testing.assert_allclose(client.infer("linear", x).output, x @ (WEIGHTS * 10))

        list(pool.map(ask, range(200)))


@pytest.mark.parametrize("scheme", ["http", "grpc"])
async def test_hundreds_of_tasks_share_a_client(served: Server, scheme: str) -> None:
    async with headrace.AsyncClient(f"{scheme}://{served.address}") as client:
        rows = [np.full((1, 4), row, np.float32) for row in range(500)]
        results = await asyncio.gather(*[client.infer("linear", {"x": x}) for x in rows])
        for x, result in zip(rows, results, strict=True):
            np.testing.assert_allclose(result.output, x @ (WEIGHTS * 10))


@pytest.mark.parametrize("scheme", ["http", "grpc"])
async def test_a_cancelled_call_leaves_the_client_usable(served: Server, scheme: str) -> None:
    async with headrace.AsyncClient(f"{scheme}://{served.address}") as client:
        await client.infer("linear", {"x": X})
        task = asyncio.create_task(client.infer("slow", {"x": X[:1]}))
        await client.infer("linear", {"x": X})  # the other one has been sent by now
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        np.testing.assert_allclose((await client.infer("linear", X)).output, X @ (WEIGHTS * 10))


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_client_belongs_to_one_event_loop(served: Server, scheme: str) -> None:
    asked = headrace.AsyncClient(f"{scheme}://{served.address}")

    async def ask() -> bool:
        return await asked.live()

    async def first() -> None:
        assert await ask()
        other: list[BaseException] = []

        def second() -> None:
            try:
                asyncio.run(ask())
            except errors.ClientError as error:
                other.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert "another event loop" in str(other[0])
        await asked.close()

    asyncio.run(first())


def test_json_is_spoken_to_servers_that_read_nothing_else(echoes: Server) -> None:
    with headrace.Client(echoes.url, binary=False) as client:
        x = np.array([[1.5, np.nan, -np.inf]], np.float32)
        result = client.infer("fp32", {"x": x}, outputs=["y"], request_id="i")
        np.testing.assert_array_equal(result.output, x)
        assert result.id == "i"
        assert client.infer("bytes", [["a", "b", "ü"]]).output.tolist() == [
            [b"a", b"b", "ü".encode()]
        ]
        with pytest.raises(errors.InvalidInput, match="cannot go as JSON"):
            client.infer("fp16", np.ones((1, 3), np.float16))
        with pytest.raises(errors.InvalidInput, match="no text"):
            client.infer("bytes", [[b"\xff", b"", b""]])
