"""Traces as Triton's own clients turn them on, of requests through every kind of front."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.e2e.clients import http
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server, until

X = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
ORDER = [
    "REQUEST_START",
    "QUEUE_START",
    "COMPUTE_START",
    "COMPUTE_INPUT_END",
    "COMPUTE_OUTPUT_START",
    "COMPUTE_END",
    "REQUEST_END",
]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    root = tmp_path_factory.mktemp("traces")
    write_linear(root / "models/linear/1/model.onnx", 1.0)
    write_linear(root / "models/other/1/model.onnx", 1.0)
    (root / "out").mkdir()
    settings = root / "headrace.yaml"
    settings.write_text("server: {trace_dir: out}\nmodels: [{path: models, max_batch: 4}]\n")
    with Server("--config", settings) as running:
        yield running, root / "out"


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, traced: tuple[Server, Path]) -> Iterator[Any]:
    with getattr(tritonclient, request.param).InferenceServerClient(traced[0].address) as made:
        yield made
        made.update_trace_settings(settings={"trace_level": None, "trace_file": None})


def infer(client: Any, model: str, x: np.ndarray[Any, Any] = X, **named: Any) -> None:
    grpc = isinstance(client, tritonclient.grpc.InferenceServerClient)
    tensor = (tritonclient.grpc if grpc else tritonclient.http).InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    client.infer(model, [tensor], **named)


def read(path: Path, traces: int) -> list[dict[str, Any]]:
    """The objects of a file, once it has so many traces: they are written after the answer.

    Who reads while a trace is written may get the end of before and then the end of after.
    """

    def look() -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return []
        return found if sum("model_name" in one for one in found) >= traces else []

    return until(look)


def check_times(found: list[dict[str, Any]]) -> None:
    stamps = [one["timestamps"] for one in found if "timestamps" in one]
    assert stamps
    for stamp in stamps:
        assert [one["name"] for one in stamp] == ORDER
        times = [one["ns"] for one in stamp]
        assert times == sorted(times)
        assert times[0] < times[-1]


def test_every_front_is_traced(client: Any, traced: tuple[Server, Path]) -> None:
    server, folder = traced
    file = f"{type(client).__module__.split('.')[1]}-fronts.json"
    client.update_trace_settings(
        settings={
            "trace_level": ["TIMESTAMPS", "TENSORS"],
            "trace_rate": "1",
            "trace_file": file,
        }
    )
    infer(client, "linear", request_id="first")
    infer(client, "other", np.ones((9, 4), np.float32))  # more rows than a batch may have
    for path, body in (
        ("/v1/models/linear:predict", {"instances": X.tolist()}),
        ("/predict/linear", {"input": {"x": X.tolist()}}),
    ):
        status, answer, _ = http(server.url + path, body)
        assert status == 200, answer
    answers: list[Any] = []
    with tritonclient.grpc.InferenceServerClient(server.address) as other:
        other.start_stream(lambda result, error: answers.append(error or result))
        tensor = tritonclient.grpc.InferInput("x", X.shape, "FP32")
        tensor.set_data_from_numpy(X)
        other.async_stream_infer("linear", [tensor])
        until(lambda: answers)
        other.stop_stream()
    found = read(folder / file, 5)
    heads = [one for one in found if "model_name" in one]
    assert [one["model_name"] for one in heads] == ["linear", "other", *["linear"] * 3]
    assert heads[0]["request_id"] == "first"
    assert {one["model_version"] for one in heads} == {1}
    check_times(found)
    mine = {
        o["activity"]: o["tensor"] for o in found if o["id"] == heads[0]["id"] and "tensor" in o
    }
    assert mine["TENSOR_QUEUE_INPUT"] == {
        "name": "x",
        "data": "1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0",
        "shape": "2,4",
        "dtype": "FP32",
    }
    assert (mine["TENSOR_BACKEND_OUTPUT"]["name"], mine["TENSOR_BACKEND_OUTPUT"]["shape"]) == (
        "y",
        "2,3",
    )


def test_rate_count_and_files_are_kept_to(client: Any, traced: tuple[Server, Path]) -> None:
    _, folder = traced
    file = f"{type(client).__module__.split('.')[1]}-counted"
    client.update_trace_settings(
        "linear",
        {
            "trace_level": ["TIMESTAMPS"],
            "trace_rate": "3",
            "trace_count": "3",
            "log_frequency": "2",
            "trace_file": file,
        },
    )
    for _ in range(12):
        infer(client, "linear")
        infer(client, "other")  # has no settings of its own, and all have it off
    found = [*read(folder / f"{file}.0", 2), *read(folder / f"{file}.1", 1)]
    assert [one["model_name"] for one in found if "model_name" in one] == ["linear"] * 3
    check_times(found)
    assert not (folder / f"{file}.2").exists()
    left = client.get_trace_settings("linear")
    text = left["trace_count"] if isinstance(left, dict) else left.settings["trace_count"].value[0]
    assert text == "0"
    names = ("trace_level", "trace_rate", "trace_count", "log_frequency", "trace_file")
    client.update_trace_settings("linear", dict.fromkeys(names))


def test_a_request_that_fails_has_the_times_it_came_to_and_off_stops(
    client: Any, traced: tuple[Server, Path]
) -> None:
    _, folder = traced
    file = f"{type(client).__module__.split('.')[1]}-failed"
    client.update_trace_settings(
        settings={"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_file": file}
    )
    with pytest.raises(InferenceServerException):
        infer(client, "linear", np.ones((1, 5), np.float32))
    client.update_trace_settings(settings={"trace_level": None})
    infer(client, "linear", request_id="untraced")
    client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
    infer(client, "linear", request_id="traced")
    failed, times, last, _ = read(folder / file, 2)
    assert (failed["model_name"], last["request_id"]) == ("linear", "traced")
    assert [one["name"] for one in times["timestamps"]] == [
        "REQUEST_START",
        "QUEUE_START",
        "REQUEST_END",
    ]
