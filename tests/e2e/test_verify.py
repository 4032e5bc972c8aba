"""``verify: shadow``: a version takes over only when it answers as the one that serves."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from headrace.values import Array, DType
from tests.contract.models import identity
from tests.e2e.conftest import write_linear
from tests.e2e.models import write_config, write_fake, write_sum
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

X = np.arange(1, 5, dtype=np.float32).reshape(1, 4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_linear(tmp_path / "models/m/1/model.onnx", 1.0)
    return tmp_path / "models"


@contextlib.contextmanager
def _serving(folder: Path, control: str = "explicit", **model: Any) -> Iterator[tuple[Server, Any]]:
    entry = {"path": folder, "verify": "shadow"} | model
    config = write_config(folder.parent / "c.json", entry, model_control=control, poll_s=0.1)
    with (
        Server("--config", config) as server,
        triton.InferenceServerClient(server.address) as client,
    ):
        yield server, client


def _ask(client: Any, x: Array = X, version: str = "", **sequence: Any) -> Array:
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    answer: Array = client.infer("m", [tensor], model_version=version, **sequence).as_numpy("y")
    return answer


def _states(client: Any) -> dict[str, tuple[str, str]]:
    rows = client.get_model_repository_index()
    return {row["version"]: (row["state"], row.get("reason", "")) for row in rows}


class Crowd:
    """Asks without a break; what went wrong and what was answered is kept."""

    def __init__(self, server: Server) -> None:
        self.answers: set[float] = set()
        self.errors: list[str] = []
        self._server = server
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with triton.InferenceServerClient(self._server.address) as client:
            while not self._done.is_set():
                try:
                    self.answers.add(float(_ask(client)[0, 0]))
                except InferenceServerException as error:
                    self.errors.append(str(error))

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def test_the_same_weights_are_served_and_the_verdict_is_logged(root: Path) -> None:
    with _serving(root) as (server, client):
        first = _ask(client)
        write_linear(root / "m/2/model.onnx", 1.0)
        client.load_model("m")
        np.testing.assert_array_equal(_ask(client, version="2"), first)
        (line,) = [text for text in server.output.splitlines() if "version_agrees" in text]
        assert '"model":"m","version":2,"with_version":1,"requests":1,' in line
        assert "0 % of its size" in line


def test_other_weights_fail_with_the_reason_and_no_request_notices(root: Path) -> None:
    with _serving(root) as (server, client), Crowd(server) as crowd:
        first = float(_ask(client)[0, 0])
        write_linear(root / "m/2/model.onnx", 1.5)
        with pytest.raises(InferenceServerException, match="output 'y' differs by 50 % of its"):
            client.load_model("m")
        until(lambda: len(server.engines()) == 1)
        assert float(_ask(client)[0, 0]) == first
    assert crowd.errors == []
    assert crowd.answers == {first}


def test_a_replacement_of_the_same_version_is_compared_too(root: Path) -> None:
    with _serving(root) as (_, client):
        first = _ask(client)
        write_linear(root / "m/1/model.onnx", 1.5)
        with pytest.raises(InferenceServerException, match="does not answer as version 1"):
            client.load_model("m")
        np.testing.assert_array_equal(_ask(client), first)
        assert client.is_model_ready("m", "1")
        # What serves has to go before something that is meant to differ may come.
        client.unload_model("m")
        client.load_model("m")
        np.testing.assert_allclose(_ask(client), first * 1.5)


def test_in_a_folder_that_is_watched_a_version_that_differs_is_left_failed(tmp_path: Path) -> None:
    """The crowd asks at the model's pace: engines that start want the cores too."""
    root = tmp_path / "models"
    pace = {"base_ms": 20}
    write_fake(root / "m/1/model.fake", scale=1, **pace)
    flags = {"versions": "latest:1", "max_batch": 2}
    with _serving(root, "poll", **flags) as (server, client), Crowd(server) as crowd:
        write_fake(tmp_path / "staged/model.fake", scale=1.5, **pace)
        (tmp_path / "staged").rename(root / "m/2")
        until(lambda: _states(client).get("2", ("", ""))[1], 60)
        assert "does not answer as version 1" in _states(client)["2"][1]
        assert _states(client)["1"][0] == "READY"
        write_fake(root / "m/2/model.fake", scale=1.0001, **pace)
        until(lambda: _states(client)["2"][0] == "READY", 60)
        until(lambda: len(crowd.answers) == 2)
    assert crowd.errors == []
    assert len(crowd.answers) == 2


def test_a_version_with_another_signature_differs(root: Path) -> None:
    with _serving(root) as (_, client):
        _ask(client)
        identity(root / "m/2/model.onnx", DType.FP32, ("N", 4))
        with pytest.raises(InferenceServerException, match=r"'y' is FP32 \[1, 4\], and was FP32"):
            client.load_model("m")
        assert _states(client)["1"][0] == "READY"


def test_without_a_request_there_is_nothing_to_compare_and_that_is_logged(root: Path) -> None:
    with _serving(root) as (server, client):
        write_linear(root / "m/2/model.onnx", 1.5)
        client.load_model("m")
        assert client.is_model_ready("m", "2")
        assert "nothing_to_compare" in server.output


def test_where_it_is_off_anything_takes_over_and_nothing_is_kept(root: Path) -> None:
    with _serving(root, verify="off") as (server, client):
        first = _ask(client)
        write_linear(root / "m/2/model.onnx", 1.5)
        client.load_model("m")
        np.testing.assert_allclose(_ask(client), first * 1.5)
        assert "version_agrees" not in server.output
        assert "nothing_to_compare" not in server.output


def test_a_receiver_that_has_been_replaced_has_kept_nothing(root: Path) -> None:
    with _serving(root) as (server, client):
        _ask(client)
        server.receiver().kill()
        until(lambda: "receiver_died" in server.output)
        with triton.InferenceServerClient(server.address) as again:
            until(lambda: _ready(again))
            write_linear(root / "m/2/model.onnx", 1.5)
            again.load_model("m")
            assert "nothing_to_compare" in server.output


def _ready(client: Any) -> bool:
    try:
        return bool(client.is_model_ready("m"))
    except (InferenceServerException, OSError):
        return False


def test_a_model_with_a_memory_is_compared_with_what_it_remembered(tmp_path: Path) -> None:
    folder = write_sum(tmp_path / "models/m")
    x = np.ones((1, 2), np.float32)
    with _serving(tmp_path / "models") as (server, client):
        _ask(client, x, sequence_id=5, sequence_start=True)
        end_s = time.monotonic() + 1.1
        while time.monotonic() < end_s:  # one a second is kept, the next with something remembered
            _ask(client, x, sequence_id=5)
        shutil.copytree(folder / "1", folder / "2")
        client.load_model("m")
        assert '"requests":2' in server.output
        write_sum(folder, 3, scale=2)
        with pytest.raises(InferenceServerException, match="output 'y' differs by"):
            client.load_model("m")


PYTHON_FILE = """
import numpy as np

class Model:
    inputs = {{"x": ("FP32", [None, 4])}}
    outputs = {{"y": ("BYTES", [None, 1])}}

    def infer(self, batch):
        return {{"y": np.array([[{word!r}]] * len(batch["x"]), object)}}
"""


def _write_python(folder: Path, version: int, word: str) -> None:
    (folder / str(version)).mkdir(parents=True)
    (folder / str(version) / "model.py").write_text(PYTHON_FILE.format(word=word))


def test_a_python_file_is_compared_as_any_model(tmp_path: Path) -> None:
    folder = tmp_path / "models/m"
    _write_python(folder, 1, "yes")
    with _serving(tmp_path / "models") as (server, client):
        assert _ask(client).tolist() == [[b"yes"]]
        _write_python(folder, 2, "yes")
        client.load_model("m")
        assert "0 % of its elements" in server.output
        _ask(client, version="2")
        _write_python(folder, 3, "no")
        with pytest.raises(InferenceServerException, match="differs by 100 % of its elements"):
            client.load_model("m")
