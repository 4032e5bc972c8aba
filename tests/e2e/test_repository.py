"""Models come, change and go while the server runs: Triton's repository API over real clients."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from headrace.errors import NotAllowed
from headrace.models.ask import ServerModels
from headrace.values import Array
from tests.e2e.clients import http, metrics
from tests.e2e.conftest import write_linear
from tests.e2e.crowd import Answer, Crowd
from tests.e2e.models import write_fake, write_sleeper
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

X = np.ones((1, 4), np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_linear(tmp_path / "linear/1/model.onnx", 1.0)
    write_linear(tmp_path / "other/1/model.onnx", 1.0)
    return tmp_path


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    """One of its own, for a test that ends it or a part of it."""
    with Server(root, "--model-control", "explicit") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    """A folder of models and its server, in which every test has models of its own."""
    root = tmp_path_factory.mktemp("shared")
    for name in ("linear", "other"):
        write_linear(root / name / "1/model.onnx", 1.0)
    with Server(root, "--model-control", "explicit") as running:
        yield root, running


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, shared: tuple[Path, Server]) -> Iterator[Any]:
    kind = triton_grpc if request.param == "grpc" else triton_http
    with kind.InferenceServerClient(shared[1].address) as made:
        yield made


def asked_over(kind: str) -> pytest.MarkDecorator:
    """For what does not depend on who asks: every load is an engine's start."""
    return pytest.mark.parametrize("client", [kind], indirect=True)


@pytest.fixture
def folder(client: Any, shared: tuple[Path, Server]) -> Iterator[Path]:
    """The folder of a model of this test, which serves one version."""
    root, _ = shared
    folder = root / f"mine{len(list(root.iterdir()))}"
    write_linear(folder / "1/model.onnx", 1.0)
    client.load_model(folder.name)
    yield folder
    client.unload_model(folder.name)


def _ask(client: Any, name: str = "linear", version: str = "") -> Array:
    kind = triton_grpc if isinstance(client, triton_grpc.InferenceServerClient) else triton_http
    tensor = kind.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(X)
    answer: Array = client.infer(name, [tensor], model_version=version).as_numpy("y")
    return answer


def _index(client: Any) -> dict[tuple[str, str], str]:
    index = client.get_model_repository_index()
    rows = (
        index
        if isinstance(index, list)
        else [{"name": m.name, "version": m.version, "state": m.state} for m in index.models]
    )
    return {(row["name"], row["version"]): row["state"] for row in rows}


def test_a_model_is_unloaded_and_loaded_again(client: Any) -> None:
    before = _ask(client)
    assert _index(client)["linear", "1"] == "READY"
    client.unload_model("linear")
    assert _index(client)["linear", "1"] == "UNAVAILABLE"
    assert _index(client)["other", "1"] == "READY"
    assert not client.is_model_ready("linear")
    assert client.is_server_ready()
    with pytest.raises(InferenceServerException, match="unloaded"):
        _ask(client)
    client.load_model("linear")
    assert client.is_model_ready("linear")
    np.testing.assert_array_equal(_ask(client), before)


@asked_over("grpc")
def test_new_versions_and_changed_files_are_taken_up(client: Any, folder: Path) -> None:
    before = _ask(client, folder.name)
    write_linear(folder / "2/model.onnx", 2.0)
    write_linear(folder / "1/model.onnx", 3.0)
    client.load_model(folder.name)
    np.testing.assert_array_equal(_ask(client, folder.name), before * 2)
    np.testing.assert_array_equal(_ask(client, folder.name, "1"), before * 3)
    (folder / "2/model.onnx").unlink()
    (folder / "2").rmdir()
    client.load_model(folder.name)
    np.testing.assert_array_equal(_ask(client, folder.name), before * 3)
    assert _index(client)[folder.name, "2"] == "UNAVAILABLE"


@asked_over("http")
def test_a_new_model_of_the_folder_is_loaded_by_its_name(
    client: Any, shared: tuple[Path, Server]
) -> None:
    root, _ = shared
    name = f"fresh{len(list(root.iterdir()))}"
    write_linear(root / name / "7/model.onnx", 1.0)
    client.load_model(name)
    np.testing.assert_array_equal(_ask(client, name), _ask(client))
    client.unload_model(name)


def test_files_and_a_configuration_are_sent_along(
    client: Any, folder: Path, tmp_path: Path
) -> None:
    content = write_linear(tmp_path / "elsewhere.bin", 5.0).read_bytes()
    before = _ask(client, folder.name)
    config = {"max_batch_size": 8, "instance_group": [{"count": 1}], "parameters": {}}
    files = {"file:4/model.onnx": content}
    client.load_model(folder.name, config=json.dumps(config), files=files)
    np.testing.assert_array_equal(_ask(client, folder.name), before * 5)
    assert set(_index(client).items()) >= {
        ((folder.name, "4"), "READY"),
        ((folder.name, "1"), "UNAVAILABLE"),
    }
    client.load_model(folder.name)  # back to what lies in its place
    np.testing.assert_array_equal(_ask(client, folder.name), before)


@asked_over("http")
def test_what_cannot_be_loaded_leaves_what_serves_alone(client: Any, folder: Path) -> None:
    before = _ask(client, folder.name)
    (folder / "1/model.onnx").write_bytes(b"no model at all")
    with pytest.raises(InferenceServerException, match="version 1"):
        client.load_model(folder.name)
    np.testing.assert_array_equal(_ask(client, folder.name), before)
    assert _index(client)[folder.name, "1"] == "READY"


@asked_over("grpc")
@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("results: [{output: nosuch, apply: softmax}]", "no output 'nosuch'"),
        ("labels: [a, b]\nresults: [{output: y, apply: top_k, k: 1}]", "labels"),
    ],
)
def test_a_card_that_does_not_fit_its_model_leaves_what_serves_alone(
    client: Any, folder: Path, card: str, reason: str
) -> None:
    before = _ask(client, folder.name)
    (folder / "card.yaml").write_text(card)
    with pytest.raises(InferenceServerException, match=reason):
        client.load_model(folder.name)
    np.testing.assert_array_equal(_ask(client, folder.name), before)
    (folder / "card.yaml").unlink()
    client.load_model(folder.name)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"model_name": "nobody"}, "there is no model 'nobody'"),
        ({"model_name": "linear", "config": "[]"}, "must be a JSON object"),
        ({"model_name": "linear", "config": '{"name": "x"}'}, "its name is 'x'"),
        ({"model_name": "linear", "config": '{"max_batch_size": 99999}'}, "max_batch"),
        ({"model_name": "linear", "config": '{"version_policy": {"latest": 3}}'}, "version_policy"),
        (
            {"model_name": "linear", "config": '{"version_policy":{"specific":{"versions":[9]}}}'},
            "has no version 9",
        ),
        (
            {"model_name": "linear", "config": "{}", "files": {"file:../1/m.onnx": b"x"}},
            "VERSION/NAME",
        ),
        (
            {
                "model_name": "linear",
                "config": '{"parameters": {"slo_ms": ' + "[" * 250 + "]" * 250 + "}}",
            },
            "nested deeper than 32 levels",
        ),
    ],
)
def test_bad_orders_say_what_is_wrong(client: Any, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InferenceServerException, match=reason):
        client.load_model(**arguments)
    _ask(client)


def test_under_load_no_request_fails_while_a_model_is_replaced(tmp_path: Path) -> None:
    failures: list[str] = []
    answers: list[float] = []
    done = threading.Event()

    def load() -> None:
        with triton_grpc.InferenceServerClient(running.address) as client:
            while not done.is_set():  # at the model's pace: engines that start want the cores too
                try:
                    answers.append(float(_ask(client)[0, 0]))
                except InferenceServerException as error:
                    failures.append(str(error))

    file = write_fake(tmp_path / "linear/1/model.fake", base_ms=20, scale=1)
    threads = [threading.Thread(target=load) for _ in range(2)]
    flags = ("--model-control", "explicit", "--max-batch", "2")
    with (
        Server(tmp_path, *flags) as running,
        triton_http.InferenceServerClient(running.address) as control,
    ):
        for thread in threads:
            thread.start()
        until(lambda: len(answers) > 20)
        for scale in (2, 3, 4):
            write_fake(file, base_ms=20, scale=scale)
            control.load_model("linear")
            enough = len(answers) + 20
            until(partial(_more, answers, enough))
        done.set()
        for thread in threads:
            thread.join()
        assert len(running.engines()) == 1
    assert failures == []
    assert set(answers) == {1, 2, 3, 4}


def _more(answers: list[float], enough: int) -> bool:
    return len(answers) > enough


@contextlib.contextmanager
def _replaced_while_many_wait(
    folder: Path, drain_timeout_s: float
) -> Iterator[tuple[Server, list[Future[Answer]]]]:
    """A server and requests of a second each: all wait for what another has just replaced."""
    model = write_sleeper(folder)
    limit = {"HEADRACE_SERVER__DRAIN_TIMEOUT_S": str(drain_timeout_s)}
    flags = ("--model-control", "explicit", "--instances", "1")
    with (
        Server(folder, *flags, environment=limit) as server,
        Crowd(server.address) as crowd,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = [crowd.ask("sleeper", rows=100) for _ in range(10)]
        write_fake(model / "1/next", per_row_ms=10, scale=2).replace(model / "1/model.fake")
        load = f"{server.url}/v2/repository/models/sleeper/load"
        pool.submit(http, load, {})
        url, quick = f"{server.url}/predict/sleeper", {"input": [[1, 1, 1, 1]]}
        hasty = {"headrace-timeout-ms": "300"}  # it does not stay where the others wait
        until(lambda: http(url, quick, hasty)[1] == {"output": [[2] * 4]})
        yield server, asked


def test_what_waits_for_a_model_that_is_replaced_is_answered_however_short_a_drain_may_be(
    tmp_path: Path,
) -> None:
    with _replaced_while_many_wait(tmp_path, drain_timeout_s=0) as (_, asked):
        assert [one.result().status for one in asked] == [200] * 10


def test_sigterm_does_not_wait_longer_for_a_model_that_is_being_replaced(tmp_path: Path) -> None:
    with _replaced_while_many_wait(tmp_path, drain_timeout_s=1) as (server, asked):
        assert server.stop(6) == 1
        assert [one.result().status for one in asked][-1] != 200  # it was still waiting


def test_without_model_control_nothing_is_loaded_or_unloaded(root: Path) -> None:
    with Server(root) as server:
        for path in ("load", "unload"):
            status, text, headers = http(f"{server.url}/v2/repository/models/linear/{path}", {})
            assert status == 403
            assert "server.model_control" in text["error"]
            assert headers["headrace-error"] == "not_allowed"
        with pytest.raises(NotAllowed, match="unloaded or labelled over the wire"):
            ServerModels(server.url).label("linear", {"stable": 1})
        # Of what JSON holds some cannot be passed on: nothing of it is.
        deep = json.dumps({"parameters": {"slo_ms": 0}}).replace("0", "[" * 250 + "]" * 250)
        receiver = server.receiver()
        url = f"{server.url}/v2/repository/models/linear/load"
        assert http(url, {"parameters": {"config": deep}})[0] == 400
        assert http(url, {"parameters": {"config": "{}"}})[0] == 403
        assert server.receiver() == receiver
        assert "ordered" not in server.output
        status, text, _ = http(f"{server.url}/v2/repository/index", {"ready": True})
        assert status == 200
        assert {row["name"] for row in text} == {"linear", "other"}


@pytest.mark.parametrize("flags", [(), ("--preload", "false"), ("--max-resident", "1")])
def test_an_order_that_fails_does_not_end_a_server_of_which_nothing_else_serves(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    file = write_linear(tmp_path / "linear/1/model.onnx", 1.0)
    url = "/v2/repository/models/linear"
    with Server(tmp_path, "--model-control", "explicit", *flags) as server:
        assert flags or http(f"{server.url}{url}/unload", {})[0] == 200
        file.with_name("next").write_bytes(b"no model at all")
        file.with_name("next").replace(file)
        status, answer, headers = http(f"{server.url}{url}/load", {})
        assert (status, headers["headrace-error"]) == (500, "model_load")
        assert "'linear' version 1: " in answer["error"]
        write_linear(file, 1.0)
        assert http(f"{server.url}{url}/load", {})[0] == 200
        assert http(f"{server.url}/predict/linear", {"input": X.tolist()})[0] == 200
        assert server.stop() == 0


def test_a_receiver_that_dies_comes_back_with_what_was_loaded(server: Server) -> None:
    with triton_http.InferenceServerClient(server.address) as client:
        client.unload_model("other")
    receiver = server.receiver()
    receiver.kill()
    until(lambda: server.receiver().pid != receiver.pid)

    def index() -> dict[tuple[str, str], str]:
        try:
            with triton_http.InferenceServerClient(server.address) as client:
                return _index(client)
        except (OSError, InferenceServerException):
            return {}

    until(lambda: index().get(("linear", "1")) == "READY")
    assert index() == {("linear", "1"): "READY", ("other", "1"): "UNAVAILABLE"}


def test_sigterm_does_not_wait_for_a_model_that_loads(root: Path, server: Server) -> None:
    write_fake(root / "slow.fake", load_ms=60_000)
    answers: list[tuple[int, Any]] = []

    def load() -> None:
        status, answer, _ = http(f"{server.url}/v2/repository/models/slow/load", {})
        answers.append((status, answer))

    thread = threading.Thread(target=load)
    thread.start()
    until(lambda: server.children("headrace.engine.worker slow/"))
    assert server.stop(15) == 0
    thread.join()
    assert answers == [(503, {"error": "the server is shutting down"})]
    assert "cut_off" not in server.output


def test_who_waits_for_a_dead_engine_is_told_when_its_model_is_unloaded(root: Path) -> None:
    write_fake(root / "lazy.fake", load_ms=3_000)
    answers: list[tuple[int, Any, dict[str, str]]] = []
    with Server(root, "--model-control", "explicit") as server:
        server.engine("lazy").kill()

        def ask() -> None:
            answers.append(http(f"{server.url}/predict/lazy", {"input": [[1, 2, 3, 4]]}))

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: metrics(server.url)['headrace_queue_length{model="lazy",version="1"}'] == 1)
        status, _, _ = http(f"{server.url}/v2/repository/models/lazy/unload", {})
        thread.join(10)
    assert status == 200
    assert [(status, headers["headrace-error"]) for status, _, headers in answers] == [
        (503, "engine_lost")
    ]
