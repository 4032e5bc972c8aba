"""What a model remembers stays with its sequence: over every front, in batches, past a death."""

from __future__ import annotations

import asyncio
import http.client as http_client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

import headrace
from headrace.receiver.codecs.protobuf import message
from tests.e2e.clients import (
    Array,
    grpc_infer,
    grpc_live,
    grpc_request,
    http,
    metrics,
    outcomes,
)
from tests.e2e.models import write_delay, write_sum
from tests.e2e.server import Server, frozen, until

pytestmark = pytest.mark.slow

MODEL = '{model="sum",version="2"}'
# How long a run of `slow` takes: so long that its client is asked if it is there.
SLOW_S = 0.2
# Whether a request starts its sequence, and whether it ends it.
START, ON, END, ONLY = (True, False), (False, False), (False, True), (True, True)
Ask = Callable[..., Array]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`sum` in two versions, the older ten times as much; `few` of two; `delay` and `slow`."""
    root = tmp_path_factory.mktemp("sequences")
    write_sum(root / "sum", 1, scale=10)
    write_sum(root / "sum", 2)
    write_sum(root / "few", max_streams=2)
    write_sum(root / "short", idle_s=0.2)
    write_delay(root / "delay", fail_at=13)
    write_delay(root / "slow", base_ms=SLOW_S * 1e3)
    with Server(root, "--max-batch", "16") as running:
        yield running


def _row(*numbers: float) -> Array:
    return np.array([[number, -number] for number in numbers], np.float32)


def _flags(identity: Any, start: bool, end: bool) -> dict[str, Any]:
    return {"sequence_id": identity, "sequence_start": start, "sequence_end": end}


def _headers(identity: Any, start: bool, end: bool) -> dict[str, str]:
    flags = {"headrace-sequence-start": start, "headrace-sequence-end": end}
    said = {name: "true" for name, flag in flags.items() if flag}
    return {"headrace-sequence-id": str(identity), **said}


# -- fronts ----------------------------------------------------------------------------------------


def _triton(library: Any, x: Array) -> Any:
    tensor = library.InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    return tensor


def _grpc(server: Server, x: Array, *call: Any, model: str = "sum", **options: Any) -> Any:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        return client.infer(model, [_triton(tritonclient.grpc, x)], **_flags(*call), **options)


def _oip_grpc(server: Server, x: Array, *call: Any) -> Array:
    return np.asarray(_grpc(server, x, *call).as_numpy("y"))


def _oip_grpc_metadata(server: Server, x: Array, *call: Any) -> Array:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        inputs = [_triton(tritonclient.grpc, x)]
        return np.asarray(client.infer("sum", inputs, headers=_headers(*call)).as_numpy("y"))


def _oip_grpc_aio(server: Server, x: Array, *call: Any) -> Array:
    async def ask() -> Array:
        async with tritonclient.grpc.aio.InferenceServerClient(server.address) as client:
            inputs = [_triton(tritonclient.grpc, x)]
            return np.asarray((await client.infer("sum", inputs, **_flags(*call))).as_numpy("y"))

    return asyncio.run(ask())


def _oip_rest(binary: bool) -> Ask:
    def ask(server: Server, x: Array, *call: Any) -> Array:
        with tritonclient.http.InferenceServerClient(server.address) as client:
            tensor = tritonclient.http.InferInput("x", x.shape, "FP32")
            tensor.set_data_from_numpy(x, binary_data=binary)
            return np.asarray(client.infer("sum", [tensor], **_flags(*call)).as_numpy("y"))

    return ask


def _oip_rest_aio(server: Server, x: Array, *call: Any) -> Array:
    async def ask() -> Array:
        async with tritonclient.http.aio.InferenceServerClient(server.address) as client:
            inputs = [_triton(tritonclient.http, x)]
            return np.asarray((await client.infer("sum", inputs, **_flags(*call))).as_numpy("y"))

    return asyncio.run(ask())


def _tfserving_grpc(server: Server, x: Array, *call: Any) -> Array:
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = "sum"
    tensor = request.inputs["x"]
    tensor.dtype, tensor.tensor_content = 1, x.tobytes()
    for size in x.shape:
        tensor.tensor_shape.dim.add(size=size)
    with grpc.insecure_channel(server.address) as channel:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            lambda one: one.SerializeToString(),
            message("tensorflow.serving.PredictResponse").FromString,
        )
        answer = predict(request, metadata=tuple(_headers(*call).items()), timeout=30)
    return np.array(answer.outputs["y"].float_val, np.float32).reshape(x.shape)


def _json(path: str, key_in: str, key_out: str) -> Ask:
    def ask(server: Server, x: Array, *call: Any) -> Array:
        url = f"{server.url}{path}"
        status, answer, _ = http(url, {key_in: x.tolist()}, headers=_headers(*call))
        assert status == 200, answer
        return np.array(answer[key_out], np.float32)

    return ask


FRONTS: dict[str, Ask] = {
    "oip-grpc": _oip_grpc,
    "oip-grpc-aio": _oip_grpc_aio,
    "oip-grpc-metadata": _oip_grpc_metadata,
    "oip-rest-binary": _oip_rest(binary=True),
    "oip-rest-json": _oip_rest(binary=False),
    "oip-rest-aio": _oip_rest_aio,
    "tfserving-grpc": _tfserving_grpc,
    "tfserving-rest-rows": _json("/v1/models/sum:predict", "instances", "predictions"),
    "tfserving-rest-columns": _json("/v1/models/sum:predict", "inputs", "outputs"),
    "predict": _json("/predict/sum", "input", "output"),
}


@pytest.mark.parametrize("front", FRONTS)
def test_every_front_goes_on_where_the_last_request_ended(server: Server, front: str) -> None:
    ask, identity = FRONTS[front], f"through {front}"
    np.testing.assert_array_equal(ask(server, _row(1), identity, *START), _row(1))
    np.testing.assert_array_equal(ask(server, _row(2), identity, *ON), _row(3))
    np.testing.assert_array_equal(ask(server, _row(4), identity, *END), _row(7))
    np.testing.assert_array_equal(ask(server, _row(5), identity, *ONLY), _row(5))


def test_a_sequence_may_go_on_through_another_front(server: Server) -> None:
    total = 0
    for number, ask in enumerate(FRONTS.values(), 1):
        total += number
        answer = ask(server, _row(number), 77, number == 1, number == len(FRONTS))
        np.testing.assert_array_equal(answer, _row(total))


@pytest.mark.parametrize("identity", [2**63 - 1, 2**63, 2**64 - 1])
def test_our_clients_go_on_with_each_others_sequences_of_large_numbers(
    server: Server, identity: int
) -> None:
    with (
        headrace.Client(f"http://{server.address}") as first,
        headrace.Client(f"grpc://{server.address}") as second,
    ):
        first.infer("sum", _row(1), sequence_id=identity, sequence_start=True)
        answer = second.infer("sum", _row(2), sequence_id=identity, sequence_end=True).output
    np.testing.assert_array_equal(answer, _row(3))


@pytest.mark.parametrize("identity", [1, 2**63 - 1, "one", "1" * 128])
def test_ids_are_numbers_or_text(server: Server, identity: int | str) -> None:
    assert _oip_grpc(server, _row(1), identity, *START)[0, 0] == 1
    assert _oip_rest(binary=True)(server, _row(1), identity, *END)[0, 0] == 2


def test_a_request_without_an_id_is_a_sequence_of_its_own(server: Server) -> None:
    url = f"{server.url}/predict/sum"
    for _ in range(2):
        assert http(url, {"input": [[1, 2]]})[1] == {"output": [[1, 2]]}
        for none in (0, ""):
            np.testing.assert_array_equal(_oip_grpc(server, _row(3), none, *ON), _row(3))


# -- what clients see ------------------------------------------------------------------------------


def test_clients_see_neither_state_nor_constants(server: Server) -> None:
    _, seen, _ = http(f"{server.url}/v2/models/sum")
    assert seen["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert seen["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]
    answer = _grpc(server, _row(1), 5, *ONLY).get_response()
    assert [output.name for output in answer.outputs] == ["y"]
    _, server_seen, _ = http(f"{server.url}/v2")
    assert {"sequence", "sequence(string_id)"} <= set(server_seen["extensions"])


def test_state_can_be_neither_sent_nor_asked_for(server: Server) -> None:
    url = f"{server.url}/v2/models/sum/infer"
    x = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    state = {"name": "state", "shape": [1, 1, 2], "datatype": "FP32", "data": [1, 2]}
    status, answer, _ = http(url, {"inputs": [x, state]})
    assert (status, answer["error"]) == (400, "unknown input 'state'; the model has x")
    status, answer, _ = http(url, {"inputs": [x], "outputs": [{"name": "stateN"}]})
    assert (status, answer["error"]) == (400, "unknown output 'stateN'; outputs: y")
    status, answer, _ = http(url, {"inputs": [x], "outputs": [{"name": "y"}]})
    assert [output["name"] for output in answer["outputs"]] == ["y"]


# -- what can go wrong -----------------------------------------------------------------------------


def test_a_sequence_must_be_started(server: Server) -> None:
    with pytest.raises(InferenceServerException) as caught:
        _oip_grpc(server, _row(1), 404, *ON)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert (
        "inference request for sequence 404 to model 'sum' must specify the START flag on the "
        "first request of the sequence" in caught.value.message()
    )
    status, _, headers = http(
        f"{server.url}/predict/sum", {"input": [[1, 2]]}, {"headrace-sequence-id": "404"}
    )
    assert (status, headers["headrace-error"]) == (400, "sequence_not_started")


def test_starting_a_live_sequence_begins_it_anew(server: Server) -> None:
    assert _oip_grpc(server, _row(1), "anew", *START)[0, 0] == 1
    assert _oip_grpc(server, _row(5), "anew", *START)[0, 0] == 5
    assert _oip_grpc(server, _row(1), "anew", *END)[0, 0] == 6


def test_the_rows_of_a_sequence_stay_as_many_as_they_were(server: Server) -> None:
    x = _row(*range(20))  # more than a batch may have
    np.testing.assert_array_equal(_oip_grpc(server, x, "rows", *START), x)
    np.testing.assert_array_equal(_oip_grpc(server, x, "rows", *ON), 2 * x)
    with pytest.raises(InferenceServerException, match="has 20 rows, this request 1"):
        _oip_grpc(server, _row(1), "rows", *ON)
    np.testing.assert_array_equal(_oip_grpc(server, x, "rows", *END), 3 * x)


def test_a_request_that_fails_changes_nothing_and_may_be_sent_again(server: Server) -> None:
    def ask(number: float, *call: Any) -> float:
        return float(_grpc(server, _row(number), *call, model="delay").as_numpy("y")[0, 0])

    assert ask(1, "d", *START) == 7
    assert ask(2, "d", *ON) == 1
    with pytest.raises(InferenceServerException, match="the value 13 is in this batch"):
        ask(13, "d", *END)
    assert ask(3, "d", *ON) == 2
    assert ask(4, "d", *END) == 3


def _leave_http(server: Server, number: float, identity: str, arrived: Callable[[], Any]) -> None:
    host, _, port = server.address.rpartition(":")
    body = json.dumps({"input": _row(number).tolist()})
    line = http_client.HTTPConnection(host, int(port), timeout=30)
    line.request("POST", "/predict/slow", body, _headers(identity, *ON))
    arrived()
    line.close()


def _leave_grpc(server: Server, number: float, identity: str, arrived: Callable[[], Any]) -> None:
    with grpc.insecure_channel(server.address) as channel:
        metadata = tuple(_headers(identity, *ON).items())
        future = grpc_infer(channel).future(grpc_request("slow", _row(number)), metadata=metadata)
        grpc_live(channel)(service_pb2.ServerLiveRequest())  # behind it on the same connection
        arrived()
        future.cancel()
        grpc_live(channel)(service_pb2.ServerLiveRequest())  # and this behind the cancellation


def _left(server: Server, leave: Callable[..., None], *, behind: bool) -> float:
    """Leave a request of a sequence that runs, or waits behind one that does.

    Returns what the next one is told: how many came before it.
    """

    def ask(number: float, *call: bool) -> float:
        return float(_grpc(server, _row(number), name, *call, model="slow").as_numpy("y")[0, 0])

    def runs() -> bool:
        return metrics(server.url)['headrace_running_batches{model="slow",version="1"}'] == 1

    name = f"{leave.__name__} {behind}"
    assert ask(1, *START) == 7
    before = outcomes(server.url, "slow").get("cancelled", 0)
    with ThreadPoolExecutor(1) as pool:
        with frozen(server.engine("slow")):
            if behind:
                running = pool.submit(ask, 2, *ON)
                until(runs)
            leave(server, 3, name, lambda: until(runs))
            assert runs()  # whatever came before on other connections has been seen by now
        if behind:
            assert running.result() == 1
    until(lambda: outcomes(server.url, "slow").get("cancelled", 0) == before + 1)
    return ask(4, *END)


@pytest.mark.parametrize("leave", [_leave_http, _leave_grpc])
def test_who_leaves_while_it_runs_changes_nothing(
    server: Server, leave: Callable[..., None]
) -> None:
    assert _left(server, leave, behind=False) == 1


def test_who_leaves_while_it_waits_changes_nothing(server: Server) -> None:
    assert _left(server, _leave_grpc, behind=True) == 2


def test_too_many_sequences_are_refused(server: Server) -> None:
    for number in (1, 2):
        _grpc(server, _row(1), number, *START, model="few")
    with pytest.raises(InferenceServerException, match="keeps 2 sequences already") as caught:
        _grpc(server, _row(1), 3, *START, model="few")
    assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    _grpc(server, _row(1), 2, *END, model="few")
    _grpc(server, _row(1), 3, *ONLY, model="few")


def test_an_idle_sequence_is_forgotten(server: Server) -> None:
    _grpc(server, _row(1), 1, *START, model="short")
    name = '{model="short",version="1"}'
    until(lambda: metrics(server.url)[f"headrace_sequences_expired_total{name}"] == 1)
    assert metrics(server.url)[f"headrace_sequences{name}"] == 0
    with pytest.raises(InferenceServerException, match=r"was idle for 0\.2 s"):
        _grpc(server, _row(1), 1, *ON, model="short")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"sequence_id": -1}, "not -1"),
        ({"sequence_id": 2**64}, "not 1.8446744073709552e+19"),
        ({"sequence_id": 1.5}, "not 1.5"),
        ({"sequence_id": True}, "not True"),
        ({"sequence_id": []}, "not []"),
        ({"sequence_id": "x" * 129}, "at most 128 characters"),
        ({"sequence_id": 1, "sequence_start": 1}, "sequence_start must be true or false, not 1"),
        ({"sequence_id": 1, "sequence_end": "true"}, "sequence_end must be true or false"),
    ],
)
def test_malformed_parameters_are_refused(
    server: Server, parameters: dict[str, Any], words: str
) -> None:
    x = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    body = {"inputs": [x], "parameters": parameters}
    status, answer, headers = http(f"{server.url}/v2/models/sum/infer", body)
    assert (status, headers["headrace-error"]) == (400, "malformed_request"), answer
    assert words in answer["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"headrace-sequence-id": "x" * 129},
        {"headrace-sequence-id": "1", "headrace-sequence-start": "yes"},
        {"headrace-sequence-id": "1", "headrace-sequence-end": "2"},
    ],
)
def test_malformed_headers_are_refused(server: Server, headers: dict[str, str]) -> None:
    status, answer, head = http(f"{server.url}/predict/sum", {"input": [[1, 2]]}, headers)
    assert (status, head["headrace-error"]) == (400, "malformed_request"), answer


# -- many at once ----------------------------------------------------------------------------------


def _sing(server: Server, identity: int, length: int) -> list[float]:
    """One sequence of ones from start to end, on one connection; what came back."""
    with grpc.insecure_channel(server.address) as channel:
        infer = grpc_infer(channel)
        return [
            _first(infer(_request(identity, number == 0, number == length - 1), timeout=60))
            for number in range(length)
        ]


def _request(identity: int, start: bool, end: bool, model: str = "sum") -> Any:
    request = grpc_request(model, _row(identity), sequence_id=identity)
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    return request


def _first(answer: Any) -> float:
    return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0])


def test_many_sequences_share_batches_and_nothing_else(server: Server) -> None:
    before = metrics(server.url)
    with ThreadPoolExecutor(24) as pool:
        sung = list(pool.map(lambda number: _sing(server, number, 30), range(1, 25)))
    after = metrics(server.url)
    for identity, answers in enumerate(sung, 1):
        assert answers == [identity * number for number in range(1, 31)]
    rows, runs = (
        after[f"headrace_batch_rows_{part}{MODEL}"] - before[f"headrace_batch_rows_{part}{MODEL}"]
        for part in ("sum", "count")
    )
    assert rows == 24 * 30
    assert runs < rows


def test_requests_of_a_sequence_sent_all_at_once_run_one_after_the_other(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        infer = grpc_infer(channel)
        infer(_request(1, start=True, end=False), timeout=30)
        futures = [infer.future(_request(1, start=False, end=False), timeout=30) for _ in range(50)]
        answers = [_first(future.result()) for future in futures]
        infer(_request(1, start=False, end=True), timeout=30)
    assert sorted(answers) == list(range(2, 52))


def test_sequences_outlive_their_engine(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        sung = [pool.submit(_sing, server, number, 400) for number in range(1, 9)]
        ok = 'headrace_requests_total{model="sum",outcome="ok",version="2"}'
        seen = metrics(server.url)[ok]
        until(lambda: metrics(server.url)[ok] > seen + 200)
        dead = until(lambda: server.children("headrace.engine.worker sum/2"))[0]
        dead.kill()
        for identity, future in enumerate(sung, 1):
            assert future.result() == [identity * number for number in range(1, 401)]
    assert dead.pid not in [p.pid for p in server.children("headrace.engine.worker sum/2")]


# -- versions --------------------------------------------------------------------------------------


def test_a_sequence_stays_on_the_version_it_began_with(server: Server) -> None:
    for call, version in ((START, "1"), (ON, "")):
        answer = _grpc(server, _row(1), "v", *call, model_version=version)
        assert answer.get_response().model_version == "1"
    assert answer.as_numpy("y")[0, 0] == 20
    status, body, _ = http(
        f"{server.url}/v2/models/sum/infer",
        {
            "parameters": {"sequence_id": "v"},
            "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}],
        },
    )
    assert (status, body["model_version"], body["outputs"][0]["data"][0]) == (200, "1", 30)
    anew = _grpc(server, _row(1), "v", *START)
    assert anew.get_response().model_version == "2"
    assert _oip_grpc(server, _row(1), "v", *END)[0, 0] == 2


def test_a_start_that_fails_leaves_a_sequence_on_its_version(server: Server) -> None:
    _grpc(server, _row(1), "stays", *START, model_version="1")
    with pytest.raises(InferenceServerException, match="input 'x' has shape"):
        _grpc(server, np.zeros((1, 3), np.float32), "stays", *START)
    answer = _grpc(server, _row(1), "stays", *ON)
    assert answer.get_response().model_version == "1"
    assert answer.as_numpy("y")[0, 0] == 20
    # What has moved does not come back when it ends there.
    assert _grpc(server, _row(1), "stays", *ONLY).get_response().model_version == "2"
    with pytest.raises(InferenceServerException, match="must specify the START flag"):
        _grpc(server, _row(1), "stays", *ON)


def test_a_version_that_has_gone_takes_its_sequences_with_it(tmp_path: Path) -> None:
    write_sum(tmp_path / "sum", 1, scale=10)
    write_sum(tmp_path / "sum", 2)
    limit = {"HEADRACE_SERVER__ENGINE_RESTART_LIMIT": "1"}
    with Server(tmp_path, "--max-batch", "2", environment=limit) as server:
        _grpc(server, _row(1), 9, *START, model_version="1")
        server.children("headrace.engine.worker sum/1")[0].kill()
        until(lambda: http(f"{server.url}/v2/models/sum/versions/1/ready")[0] == 503)
        server.wait_for("engine_died|model_failed|failed")
        until(lambda: http(f"{server.url}/v2/models/sum")[1]["versions"] == ["2"])
        with pytest.raises(InferenceServerException, match="its version has gone"):
            _oip_grpc(server, _row(1), 9, *ON)
        assert _oip_grpc(server, _row(1), 9, *ONLY)[0, 0] == 1
