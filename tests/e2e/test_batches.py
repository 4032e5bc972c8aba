"""What shares a batch and what does not, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from headrace.values import Array, DType
from tests.contract.models import identity, node, write
from tests.e2e.clients import grpc_infer, grpc_request, http, metrics
from tests.e2e.http2 import ask, settings
from tests.e2e.models import write_config
from tests.e2e.server import Server, frozen, until

PAD = 9.0
WIDE = 2 * 2**20
DTYPES = {
    "truth": DType.BOOL,
    "small": DType.INT8,
    "byte": DType.UINT8,
    "large": DType.INT64,
    "half": DType.FP16,
    "brain": DType.BF16,
    "double": DType.FP64,
}
# OpenVINO computes in 32 bits: it refuses doubles, and takes 64-bit integers that are small.
SMALL_DTYPES = {name: dtype for name, dtype in DTYPES.items() if name != "double"}
LARGEST = {"typed-onnxruntime": 2**63 - 1, "typed-openvino": 2**31 - 1}


def _sequences(path: Path) -> Path:
    """y = 2 x at every place, total = the sum of the x that are not masked."""
    free = ("N", "L")
    return write(
        path,
        [
            node("Add", ["x", "x"], ["y"]),
            node("Mul", ["x", "mask"], ["kept"]),
            node("ReduceSum", ["kept", "last"], ["total"], keepdims=0),
        ],
        {"x": (DType.FP32, free), "mask": (DType.FP32, free)},
        {"y": (DType.FP32, free), "total": (DType.FP32, ("N",))},
        {"last": np.array([1])},
    )


def _typed(path: Path, dtypes: Mapping[str, DType]) -> Path:
    """Every input comes out as it went in, under its name with `_out`."""
    return write(
        path,
        [node("Identity", [name], [f"{name}_out"]) for name in dtypes],
        {name: (dtype, ("N", 3)) for name, dtype in dtypes.items()},
        {f"{name}_out": (dtype, ("N", 3)) for name, dtype in dtypes.items()},
    )


def _moving(path: Path) -> Path:
    """Texts, whose length moves what is after them, and numbers of two kinds: each comes back."""
    kinds = {"text": DType.BYTES, "age": DType.FP32, "count": DType.INT32}
    return write(
        path,
        [node("Identity", [name], [f"{name}_out"]) for name in kinds],
        {name: (kind, ("N", "L")) for name, kind in kinds.items()},
        {f"{name}_out": (kind, ("N", "L")) for name, kind in kinds.items()},
    )


INFER = "/inference.GRPCInferenceService/ModelInfer"
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("batches")
    wide = write(
        root / "wide.onnx",
        [node("Tile", ["x", "times"], ["y"])],
        {"x": (DType.FP32, ("N", 1))},
        {"y": (DType.FP32, ("N", WIDE))},
        {"times": np.array([1, WIDE])},
    )
    sequences = _sequences(root / "sequences.onnx")
    typed, small = _typed(root / "1.onnx", DTYPES), _typed(root / "2.onnx", SMALL_DTYPES)
    sizes = {"1": [4, 8]}
    padded = {"buckets": {"x": sizes, "mask": sizes}, "pad_values": {"x": PAD}}
    ort, openvino = {"backend": "onnxruntime"}, {"backend": "openvino"}
    config = write_config(
        root / "headrace.yaml",
        {"path": sequences, "name": "padded-onnxruntime", **padded, **ort},
        {"path": sequences, "name": "padded-openvino", **padded, **openvino},
        {"path": sequences, "name": "unpadded", **ort},
        {"path": typed, "name": "typed-onnxruntime", **ort},
        {"path": small, "name": "typed-openvino", **openvino},
        {"path": identity(root / "texts.onnx", DType.BYTES, ("N", 2))},
        {"path": identity(root / "vector.onnx", DType.FP32, (3,))},
        {"path": wide, "max_batch": 4},
        {"path": _moving(root / "moving.onnx")},
    )
    options = ("--instances", "1", "--max-batch", "4")
    with Server("--config", config, *options) as running:
        yield running


# -- shapes --------------------------------------------------------------------------------------


def _infer(server: Server, model: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """OIP over REST in JSON: every output by its name."""
    tensors = [
        {"name": n, "datatype": DType.of(a.dtype).value, "shape": a.shape, "data": a.tolist()}
        for n, a in inputs.items()
    ]
    status, answer, _ = http(f"{server.url}/v2/models/{model}/infer", {"inputs": tensors})
    assert status == 200, answer
    return {
        one["name"]: np.reshape(np.asarray(one["data"], np.float32), one["shape"])
        for one in answer["outputs"]
    }


def _sequence(length: int, rows: int = 1) -> dict[str, Array]:
    x = np.arange(1, rows * length + 1, dtype=np.float32).reshape(rows, length)
    return {"x": x, "mask": (x % 2).astype(np.float32)}


def _is_right(outputs: Mapping[str, Array], inputs: Mapping[str, Array]) -> bool:
    total = (inputs["x"] * inputs["mask"]).sum(1)
    is_long = outputs["y"].shape == inputs["x"].shape
    return (
        is_long
        and np.allclose(outputs["y"], 2 * inputs["x"])
        and np.allclose(outputs["total"], total)
    )


@pytest.mark.parametrize("model", ["padded-onnxruntime", "padded-openvino", "unpadded"])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 11])
def test_every_length_comes_back_as_long_as_it_came(
    server: Server, model: str, length: int
) -> None:
    for rows in (1, 3, 9):
        inputs = _sequence(length, rows)
        assert _is_right(_infer(server, model, inputs), inputs)


class Together:
    """Requests that wait in the queue at the same moment, and the batches they became."""

    def __init__(self, server: Server, model: str, filler: Callable[[], object]) -> None:
        self._server = server
        self._model = model
        self._filler = filler

    def run(self, asks: Sequence[Callable[[], object]]) -> list[float]:
        """Run them; return how many batches and how many rows there were of them."""
        before = self._batches()
        with ThreadPoolExecutor(len(asks) + 2) as pool:
            with frozen(self._server.engine(self._model)):
                futures = []
                for batches in (1, 2):
                    futures.append(pool.submit(self._filler))
                    self._until("running_batches", batches)
                futures += [pool.submit(ask) for ask in asks]
                self._until("queue_length", len(asks))
            for future in futures:
                future.result()
        return [after - was - 2 for after, was in zip(self._batches(), before, strict=True)]

    def _until(self, gauge: str, value: float) -> None:
        until(lambda: self._gauge(gauge) == value)

    def _gauge(self, name: str) -> float:
        return metrics(self._server.url)[f'headrace_{name}{{model="{self._model}",version="1"}}']

    def _batches(self) -> tuple[float, float]:
        return self._gauge("batch_rows_count"), self._gauge("batch_rows_sum")


@pytest.mark.parametrize(
    ("model", "lengths", "batches"),
    [
        ("padded-onnxruntime", [3, 4, 2], 1),
        ("padded-openvino", [3, 4, 2], 1),
        ("padded-onnxruntime", [3, 6, 4, 8], 2),
        ("padded-onnxruntime", [9, 10], 2),  # past the last bucket nothing is padded
        ("unpadded", [3, 3, 3], 1),
        ("unpadded", [3, 4, 3], 2),
    ],
)
def test_what_is_padded_to_one_shape_shares_a_batch_and_nothing_else_does(
    server: Server, model: str, lengths: list[int], batches: int
) -> None:
    def ask(length: int) -> None:
        inputs = _sequence(length)
        assert _is_right(_infer(server, model, inputs), inputs)

    together = Together(server, model, partial(ask, 1))
    assert together.run([partial(ask, one) for one in lengths]) == [batches, len(lengths)]


def test_a_model_without_a_batch_axis_runs_every_request_alone(server: Server) -> None:
    def ask(value: float) -> None:
        x = np.full(3, value, np.float32)
        np.testing.assert_array_equal(_infer(server, "vector", {"x": x})["y"], x)

    together = Together(server, "vector", partial(ask, 0))
    assert together.run([partial(ask, value) for value in range(5)]) == [5, 5]


# -- element types -------------------------------------------------------------------------------


def _typed_inputs(rows: int, largest: int) -> dict[str, Array]:
    limits = np.array([[0, 1, 1]] * rows)
    return {
        "truth": limits.astype(bool),
        "small": (limits * -128).astype(np.int8),
        "byte": (limits * 255).astype(np.uint8),
        "large": limits.astype(np.int64) * largest,
        "half": (limits * 65504).astype(np.float16),
        "brain": (limits * 3.3895314e38).astype(ml_dtypes.bfloat16),
        "double": limits * np.nextafter(1, 2),
    }


@pytest.mark.parametrize(
    ("model", "dtypes"), [("typed-onnxruntime", DTYPES), ("typed-openvino", SMALL_DTYPES)]
)
@pytest.mark.parametrize("rows", [1, 3, 10])
def test_every_element_type_comes_back_bit_by_bit_over_grpc(
    server: Server, model: str, dtypes: Mapping[str, DType], rows: int
) -> None:
    every = _typed_inputs(rows, LARGEST[model])
    inputs = {name: every[name] for name in dtypes}
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=DTYPES[name].value, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    with grpc.insecure_channel(server.address) as channel:
        answer = grpc_infer(channel)(request)
    assert [output.name for output in answer.outputs] == [f"{name}_out" for name in dtypes]
    assert [output.datatype for output in answer.outputs] == [one.value for one in dtypes.values()]
    found = dict(zip(dtypes, answer.raw_output_contents, strict=True))
    assert found == {name: array.tobytes() for name, array in inputs.items()}


def test_texts_of_any_length_share_batches_and_keep_their_bytes(server: Server) -> None:
    def ask(*texts: str) -> None:
        x = np.array([[text.encode() for text in texts]], object).reshape(-1, 2)
        tensor = tritonclient.http.InferInput("x", x.shape, "BYTES")
        tensor.set_data_from_numpy(x)
        with tritonclient.http.InferenceServerClient(server.address) as client:
            found = client.infer("texts", [tensor]).as_numpy("y")
        np.testing.assert_array_equal(found, x)

    together = Together(server, "texts", partial(ask, "", ""))
    asks = [partial(ask, "a", "水車" * 1000), partial(ask, "", "\n\0\t", "ß", '"')]
    assert together.run(asks) == [1, 3]


def test_bytes_that_are_no_text_are_refused_and_their_neighbours_are_not(server: Server) -> None:
    def ask(word: bytes) -> Array:
        tensor = tritonclient.http.InferInput("x", (1, 2), "BYTES")
        tensor.set_data_from_numpy(np.array([[word, b""]], object))
        with tritonclient.http.InferenceServerClient(server.address) as client:
            found: Array = client.infer("texts", [tensor]).as_numpy("y")
        return found

    def refused() -> None:
        with pytest.raises(InferenceServerException, match="input 'x' has a string") as caught:
            ask(b"\xff")
        assert caught.value.status() == "400"

    asks = [refused, partial(ask, b"a"), refused, partial(ask, "ß".encode())]
    with ThreadPoolExecutor(len(asks)) as pool:
        list(pool.map(lambda one: one(), asks * 5))


def test_numbers_after_texts_of_any_length_come_back_as_they_were(server: Server) -> None:
    for size in (100, 10, 100, 10):
        sent = {"text": [["x" * size]], "age": [[1.5, 2.5, 3.5, 4.5]], "count": [[1, 2, 3, 4]]}
        status, answer, _ = http(f"{server.url}/v1/models/moving:predict", {"inputs": sent})
        assert status == 200, answer
        assert answer["outputs"] == {f"{name}_out": value for name, value in sent.items()}


# -- size ----------------------------------------------------------------------------------------


def test_outputs_that_outgrow_their_slot_arrive_whole(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        for rows in (1, 3):  # 8 MiB a row, and 16 MiB of room
            x = np.arange(1, rows + 1, dtype=np.float32).reshape(rows, 1)
            tensor = tritonclient.grpc.InferInput("x", x.shape, "FP32")
            tensor.set_data_from_numpy(x)
            found = client.infer("wide", [tensor]).as_numpy("y")
            assert found.shape == (rows, WIDE)
            np.testing.assert_array_equal(found, np.broadcast_to(x, found.shape))


def test_large_tensors_may_come_in_large_frames(server: Server) -> None:
    frame_bytes = settings(server.address).max_frame_size
    assert frame_bytes == 256 * 1024
    message = grpc_request("texts", np.zeros(0)).SerializeToString()  # a model for the path alone
    body = b"\0" + (20 * frame_bytes).to_bytes(4, "big") + message + bytes(3 * frame_bytes)
    answer = ask(server.address, INFER, body, GRPC)
    assert answer.grpc_status == grpc.StatusCode.INVALID_ARGUMENT.value[0]  # it was read whole
    assert f"{len(body) - 5} came" in answer.grpc_message.replace("%20", " ")
