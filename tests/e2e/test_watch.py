"""Models come, change and go as their files do: ``model_control: poll`` over a real server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.e2e.conftest import write_linear
from tests.e2e.crowd import Load
from tests.e2e.models import write_fake
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

X = np.ones((1, 4), np.float32)
BASE = float(np.arange(12, dtype=np.float32).reshape(4, 3).sum(axis=0)[0] - 20)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_linear(tmp_path / "models/linear/1/model.onnx", 1.0)
    write_linear(tmp_path / "models/other/1/model.onnx", 1.0)
    return tmp_path / "models"


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    with Server(root, "--model-control", "poll", "--poll-s", "0.2") as running:
        yield running


def _scale(server: Server, name: str = "linear", version: str = "") -> float | None:
    """By what the weights of the model that answers are multiplied; None: none answers."""
    with triton.InferenceServerClient(server.address) as client:
        tensor = triton.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(X)
        try:
            answer: Any = client.infer(name, [tensor], model_version=version).as_numpy("y")
        except InferenceServerException:
            return None
    return float(answer[0, 0]) / BASE


def _states(server: Server) -> dict[tuple[str, str], tuple[str, str]]:
    with triton.InferenceServerClient(server.address) as client:
        rows: Any = client.get_model_repository_index()
    return {(r["name"], r["version"]): (r["state"], r.get("reason", "")) for r in rows}


def _max_batch(server: Server) -> int:
    with triton.InferenceServerClient(server.address) as client:
        return int(client.get_model_config("linear")["max_batch_size"])


def _copied(root: Path, version: int, scale: float) -> Path:
    """A version folder beside the repository, to be moved into it."""
    return write_linear(root.parent / f"staged/{version}/model.onnx", scale)


def _last(load: Load) -> Any:
    return load.answers[-1].output if load.answers else None


def test_new_versions_take_over_and_no_request_fails(tmp_path: Path) -> None:
    """Clients ask at the model's pace: engines that start want the cores too."""
    folder = tmp_path / "m"
    write_fake(folder / "1/model.fake", base_ms=20, scale=1)
    flags = ("--model-control", "poll", "--poll-s", "0.2", "--max-batch", "2")
    with Server(folder, "--versions", "latest:1", *flags) as server:
        with Load(server.address, "m", clients=2) as load:
            for version in (2, 3):
                write_fake(folder / str(version) / "model.fake", base_ms=20, scale=version)
                now = [[float(version)] * 4]
                until(lambda: _last(load) == now, 60)  # noqa: B023 - called at once
                until(lambda: len(server.engines()) == 1, 60)
        assert {str(answer.output) for answer in load.answers} == {
            str([[scale] * 4]) for scale in (1.0, 2.0, 3.0)
        }
        assert _states(server)["m", "1"][0] == "UNAVAILABLE"


def test_files_changed_in_place_and_the_card_are_read_again(server: Server, root: Path) -> None:
    write_linear(root / "linear/1/model.onnx", 5.0)
    until(lambda: _scale(server) == 5.0, 60)
    (root / "linear/card.yaml").write_text("max_batch: 1\n")
    until(lambda: _max_batch(server) == 1, 60)
    assert _scale(server) == 5.0


@pytest.mark.parametrize("change", ["model", "card"])
def test_what_is_changed_in_place_and_cannot_be_served_leaves_what_serves(
    change: str, server: Server, root: Path
) -> None:
    if change == "model":
        (root / "linear/1/model.onnx").write_bytes(b"no model at all" * 100)
    else:  # which the engine loads, and then no receiver can serve
        (root / "linear/card.yaml").write_text("results: [{output: gone, apply: softmax}]\n")
    with Load(server.address, "linear", clients=2) as load:
        until(lambda: "change_not_taken" in server.output, 60)
        until(lambda: len(server.engines()) == 2, 60)
    assert {answer.status for answer in load.answers} == {200}
    assert _scale(server) == 1.0
    assert _states(server)["linear", "1"][0] == "READY"
    (root / "linear/card.yaml").unlink(missing_ok=True)
    write_linear(root / "linear/1/model.onnx", 3.0)
    until(lambda: _scale(server) == 3.0, 60)


def test_what_is_half_copied_or_broken_leaves_what_serves_alone(server: Server, root: Path) -> None:
    whole = _copied(root, 2, 2.0).read_bytes()
    (root / "linear/2").mkdir()
    (root / "linear/2/.model.onnx.Ab3dEf").write_bytes(whole[:50])
    until(lambda: "models_unreadable" in server.output, 60)
    (root / "linear/2/model.onnx").write_bytes(whole[: len(whole) // 2])
    until(lambda: ("linear", "2") in _states(server), 60)
    until(lambda: _states(server)["linear", "2"][1] != "", 60)
    assert _scale(server) == 1.0
    (root / "linear/2/model.onnx").write_bytes(whole)
    until(lambda: _scale(server) == 2.0, 60)
    assert _scale(server, version="1") == 1.0


def test_models_come_and_go_with_their_folders(server: Server, root: Path) -> None:
    staged = _copied(root, 1, 7.0).parent
    (root / "late").mkdir()
    staged.rename(root / "late/1")
    until(lambda: _scale(server, "late") == 7.0, 60)
    shutil.rmtree(root / "linear")
    until(lambda: _scale(server) is None, 60)
    assert _scale(server, "other") == 1.0
    shutil.rmtree(root / "other/1")
    shutil.rmtree(root / "late/1")
    until(lambda: not server.engines(), 60)
    write_linear(root / "other/1/model.onnx", 3.0)
    until(lambda: _scale(server, "other") == 3.0, 60)


def test_a_repository_that_is_not_there_unloads_nothing(server: Server, root: Path) -> None:
    until(lambda: _scale(server) == 1.0)
    root.rename(root.with_name("away"))
    until(lambda: "no such file or folder" in server.output, 60)
    root.mkdir()  # as an empty mount point
    until(lambda: "nothing to serve here" in server.output, 60)
    assert (_scale(server), _scale(server, "other")) == (1.0, 1.0)
    root.rmdir()
    root.with_name("away").rename(root)
    write_linear(root / "linear/2/model.onnx", 2.0)
    until(lambda: _scale(server) == 2.0, 60)


def test_a_start_wants_no_more_than_the_watch_that_follows(root: Path) -> None:
    (root / "linear/2").mkdir()  # half copied
    (root / "other/card.yaml").write_text("max_bach: 2\n")
    with Server(root, "--model-control", "poll", "--poll-s", "0.2") as server:
        assert _scale(server) == 1.0
        until(lambda: "linear/2: no model file" in server.output, 60)
        until(lambda: "max_bach: unknown key" in server.output, 60)
        (root / "other/card.yaml").unlink()
        until(lambda: _scale(server, "other") == 1.0, 60)


def test_a_start_in_an_empty_folder_is_ready_and_serves_what_comes(tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    with Server(root, "--model-control", "poll", "--poll-s", "0.2") as server:
        assert _states(server) == {}
        write_linear(root / "linear/1/model.onnx", 2.0)
        until(lambda: _scale(server) == 2.0, 60)
