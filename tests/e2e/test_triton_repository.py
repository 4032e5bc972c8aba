"""A model repository as Triton has it, served as it lies there: ``config.pbtxt`` and no card."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc
import tritonclient.http

from headrace.errors import ModelLoadError, SettingsError
from headrace.layers import load
from headrace.loader.places import left_out
from headrace.loader.store import FoundVersion, find, find_named
from headrace.settings import BackendName, ModelSettings, Settings
from headrace.values import DType
from tests.contract.models import node, write
from tests.contract.test_formats import SCRIPT, needs_torch, written
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server, until

CONFIG = """
name: "classifier"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100
  preserve_ordering: true }
"""
X = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    write_linear(root / "classifier/1/model.onnx", 1.0)
    write_linear(root / "classifier/1/other.onnx", 2.0)
    (root / "classifier/labels.txt").write_text("cat\ndog\nfish\n")
    (root / "classifier/config.pbtxt").write_text(
        f'{CONFIG}\ndefault_model_filename: "model.onnx"\n'
    )
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    with Server(root, "--port", "0") as running:
        yield running


def one(path: Path, **keys: Any) -> FoundVersion:
    defaults = ModelSettings(instances=7, max_batch=3, threads=2)
    settings = Settings(defaults=defaults, models=(ModelSettings(path=path, **keys),))
    (found,) = find(settings)
    return found


def test_an_entry_wins_over_the_configuration_and_that_over_the_defaults(root: Path) -> None:
    found = one(root)
    assert (found.settings.instances, found.settings.max_batch) == (2, 8)
    assert found.settings.threads == 2
    assert found.labels == ("cat", "dog", "fish")
    assert found.path.name == "model.onnx"
    assert one(root, instances=4).settings.instances == 4


def test_what_it_cannot_map_is_remarked_with_its_line(root: Path) -> None:
    (remark,) = one(root).remarks
    assert "config.pbtxt:9: dynamic_batching.preserve_ordering: not mapped" in remark


def test_a_card_wins_over_the_whole_of_it(tmp_path: Path) -> None:
    write_linear(tmp_path / "m/1/model.onnx", 1.0)
    (tmp_path / "m/config.pbtxt").write_text("max_batch_size: 8 other: 3")
    (tmp_path / "m/card.yaml").write_text("slo_ms: 5")
    found = one(tmp_path)
    assert (found.settings.slo_ms, found.settings.max_batch, found.remarks) == (5, 3, ())


def test_another_name_is_remarked_and_not_taken(tmp_path: Path) -> None:
    write_linear(tmp_path / "m/1/model.onnx", 1.0)
    (tmp_path / "m/config.pbtxt").write_text('name: "n" backend: "openvino"')
    found = one(tmp_path)
    assert (found.name, found.settings.backend) == ("m", BackendName.OPENVINO)
    assert "config.pbtxt:1 name: the model is called 'm' here" in found.remarks[0]


def test_it_is_no_configuration_of_files_beside_it(tmp_path: Path) -> None:
    write_linear(tmp_path / "loose.onnx", 1.0)
    (tmp_path / "config.pbtxt").write_text("max_batch_size: 8")
    assert one(tmp_path).settings.max_batch == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"max_batch_size: 8\ninput {", "config.pbtxt:2: the file ends where a } is missing"),
        (b"max_batch_size: 'a'", "config.pbtxt:1: max_batch_size: should be a whole number"),
        (b"\xff", "config.pbtxt:1: is not UTF-8 text"),
    ],
)
def test_a_broken_one_is_named_with_its_line(tmp_path: Path, text: bytes, says: str) -> None:
    write_linear(tmp_path / "m/1/model.onnx", 1.0)
    (tmp_path / "m/config.pbtxt").write_bytes(text)
    with pytest.raises(SettingsError) as caught:
        one(tmp_path)
    assert says in caught.value.message


@pytest.mark.slow
def test_triton_s_client_finds_the_configuration(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        config = client.get_model_config("classifier", as_json=True)["config"]
    assert config["name"] == "classifier"
    assert config["max_batch_size"] <= 8
    assert [int(size) for size in config["input"][0]["dims"]] == [4]
    (group,) = config["instance_group"]
    assert (group["kind"], group["count"]) == ("KIND_CPU", 2)
    assert max(config["dynamic_batching"]["preferred_batch_size"]) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("library", [tritonclient.grpc, tritonclient.http])
def test_triton_s_client_gets_the_labels(server: Server, library: Any) -> None:
    tensor = library.InferInput("x", X.shape, "FP32")
    tensor.set_data_from_numpy(X)
    wanted = library.InferRequestedOutput("y", class_count=2)
    with library.InferenceServerClient(server.address) as client:
        found = client.infer("classifier", [tensor], outputs=[wanted]).as_numpy("y")
    scores = (X @ (np.arange(12, dtype=np.float32).reshape(4, 3) - 5))[0]
    best = np.argsort(-scores)[:2]
    texts = [text.decode().split(":") for text in found.reshape(-1)]
    names = ["cat", "dog", "fish"]
    assert [(int(index), label) for _, index, label in texts] == [(i, names[i]) for i in best]


@pytest.mark.slow
def test_the_log_says_once_what_was_not_mapped_as_long_as_that_is_the_same(tmp_path: Path) -> None:
    def lost() -> int:
        return running.output.count("config_not_all_mapped")

    for version in (1, 2):
        write_linear(tmp_path / f"m/{version}/model.onnx", version)
    config = tmp_path / "m/config.pbtxt"
    config.write_text("response_cache { enable: true }")
    with Server(tmp_path, "--model-control", "explicit") as running:
        until(lost)
        with tritonclient.http.InferenceServerClient(running.address) as client:
            for version in (1, 2):
                write_linear(tmp_path / f"m/{version}/model.onnx", version + 2)
            client.load_model("m")
            assert lost() == 1
            config.write_text("batch_input {}")
            client.load_model("m")
            until(lambda: "batch_input" in running.output)
    assert lost() == 2


@pytest.mark.slow
def test_what_is_imported_is_checked_and_served(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "headrace.yaml"
    command = [sys.executable, "-m", "headrace"]
    subprocess.run([*command, "import", root, "--out", out], check=True, capture_output=True)
    checked = subprocess.run([*command, "check", out], check=True, capture_output=True, text=True)
    assert "classifier" in checked.stdout
    (entry,) = load(out, {}, {}).models
    assert (entry.instances, entry.max_batch, entry.labels) == (
        2,
        8,
        root / "classifier/labels.txt",
    )
    tensor = tritonclient.http.InferInput("x", X.shape, "FP32").set_data_from_numpy(X)
    with (
        Server(out) as running,
        tritonclient.http.InferenceServerClient(running.address) as client,
    ):
        answer = client.infer("classifier", [tensor]).as_numpy("y")
        (group,) = client.get_model_config("classifier")["instance_group"]
    np.testing.assert_allclose(answer, X @ (np.arange(12, dtype=np.float32).reshape(4, 3) - 5))
    assert group["count"] == 2


@pytest.mark.slow
def test_an_onnx_model_of_several_files_is_served(tmp_path: Path) -> None:
    """One above 2 GB is a folder called ``model.onnx``, with its weights beside the file."""
    file = tmp_path / "m/1/model.onnx/model.onnx"
    model = onnx.load(write_linear(file, 1.0))
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "m/config.pbtxt").write_text('platform: "onnxruntime_onnx"')
    assert file.with_name("weights.bin").exists()
    tensor = tritonclient.http.InferInput("x", X.shape, "FP32").set_data_from_numpy(X)
    with (
        Server(tmp_path) as running,
        tritonclient.http.InferenceServerClient(running.address) as client,
    ):
        answer = client.infer("m", [tensor]).as_numpy("y")
    np.testing.assert_allclose(answer, X @ (np.arange(12, dtype=np.float32).reshape(4, 3) - 5))


WARMED_UP = """
max_batch_size: 8
model_warmup { name: "first" batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } } }
"""


@pytest.mark.slow
def test_a_warm_up_costs_no_model_that_turns_out_to_share_no_runs(tmp_path: Path) -> None:
    """Its ``max_batch_size`` says that rows share runs, and here they depend on each other."""
    write(
        tmp_path / "m/1/model.onnx",
        [
            node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            node("Sub", ["x", "mean"], ["y"]),
        ],
        {"x": (DType.FP32, ("N", 4))},
        {"y": (DType.FP32, ("N", 4))},
    )
    (tmp_path / "m/config.pbtxt").write_text(WARMED_UP)
    x = np.vstack([X, X * 3])
    tensor = tritonclient.http.InferInput("x", x.shape, "FP32").set_data_from_numpy(x)
    with (
        Server(tmp_path) as running,
        tritonclient.http.InferenceServerClient(running.address) as client,
    ):
        answer = client.infer("m", [tensor]).as_numpy("y")
    np.testing.assert_allclose(answer, np.vstack([-X, X]))


PYTORCH = """
backend: "pytorch"
max_batch_size: 8
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 4 ] },
        { name: "INPUT__1" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 4 ] },
         { name: "OUTPUT__1" data_type: TYPE_BF16 dims: [ 4 ] } ]
"""


ADDS_UP = """
import sys
import warnings
import torch

warnings.simplefilter("ignore")

class Sum(torch.nn.Module):
    def forward(self, x, before):
        return x + before, before + x.sum(1, keepdim=True)

example = torch.zeros(2, 4), torch.zeros(2, 1)
torch.jit.trace(Sum(), example).save(sys.argv[1] + "/model.pt")
"""
WITH_STATE = """
name: "sum" platform: "pytorch_libtorch" max_batch_size: 8
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 4 ] } ]
sequence_batching { state [ {
  input_name: "INPUT__1" output_name: "OUTPUT__1" data_type: TYPE_FP32 dims: [ 1 ]
  initial_state: { name: "zero" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
} ] }
"""


@needs_torch
@pytest.mark.slow
def test_torchscript_with_a_memory_is_served_with_what_its_configuration_says(
    tmp_path: Path,
) -> None:
    (tmp_path / "sum/1").mkdir(parents=True)
    written(ADDS_UP, tmp_path / "sum/1")
    (tmp_path / "sum/config.pbtxt").write_text(WITH_STATE)
    x = tritonclient.http.InferInput("INPUT__0", X.shape, "FP32").set_data_from_numpy(X)
    with (
        Server(tmp_path) as running,
        tritonclient.http.InferenceServerClient(running.address) as client,
    ):
        for start, before in ((True, 0), (False, X.sum())):
            answer = client.infer("sum", [x], sequence_id=7, sequence_start=start)
            np.testing.assert_allclose(answer.as_numpy("OUTPUT__0"), X + before)


@needs_torch
@pytest.mark.slow
def test_torchscript_is_served_with_what_its_configuration_says(tmp_path: Path) -> None:
    folder = tmp_path / "repository/less"
    (folder / "1").mkdir(parents=True)
    written(SCRIPT, tmp_path)
    shutil.copy(tmp_path / "less.pt", folder / "1/model.pt")
    (folder / "config.pbtxt").write_text(PYTORCH)
    given = {"INPUT__1": X, "INPUT__0": X * 3}
    tensors = [
        tritonclient.http.InferInput(name, array.shape, "FP32").set_data_from_numpy(array)
        for name, array in given.items()
    ]
    with (
        Server(folder.parent) as running,
        tritonclient.http.InferenceServerClient(running.address) as client,
    ):
        answer = client.infer("less", tensors)
    np.testing.assert_allclose(answer.as_numpy("OUTPUT__0"), X * 2)
    np.testing.assert_allclose(answer.as_numpy("OUTPUT__1"), X * 3)


# -- models that are not served here -------------------------------------------------------------

LEFT_OUT = {
    "chain": 'platform: "ensemble" ensemble_scheduling { step [] }',
    "streams": "model_transaction_policy { decoupled: true }",
    "plan": 'platform: "tensorrt_plan"',
    "script": 'backend: "python"',
}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A repository of one model and of those that Triton alone can serve, as they lie there."""
    root = tmp_path / "repository"
    write_linear(root / "m/1/model.onnx", 1.0)
    for name, config in LEFT_OUT.items():
        (root / name / "1").mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(f'name: "{name}"\n{config}\n')
    write_linear(root / "streams/1/model.onnx", 1.0)
    (root / "plan/1/model.plan").write_bytes(b"")
    (root / "script/1/model.py").write_text("class TritonPythonModel: ...\n")
    return root


def test_what_is_not_served_here_is_passed_over(mixed: Path) -> None:
    settings = Settings(models=(ModelSettings(path=mixed),))
    assert [found.name for found in find(settings)] == ["m"]
    told = left_out(settings.models[0])
    assert [one.name for one in told] == sorted(LEFT_OUT)
    for one in told:
        assert one.error.message.startswith(f"{mixed / one.name}/config.pbtxt:2: ")


def test_what_is_not_served_here_is_refused_where_it_is_asked_for(mixed: Path) -> None:
    settings = Settings(models=(ModelSettings(path=mixed),))
    for name in LEFT_OUT:
        direct = Settings(models=(ModelSettings(path=mixed / name),))
        says = f"{name}/config.pbtxt:2: "
        with pytest.raises(ModelLoadError, match=says):
            find(direct)
        for folder in (None, mixed / name):
            with pytest.raises(ModelLoadError, match=says):
                find_named(settings, name, folder=folder)


def test_a_repository_of_nothing_else_says_why(mixed: Path) -> None:
    shutil.rmtree(mixed / "m")
    with pytest.raises(ModelLoadError) as caught:
        one(mixed)
    first, *more = caught.value.message.splitlines()
    assert "nothing to serve here" in first
    assert len(more) == len(LEFT_OUT)


@pytest.fixture
def with_empty(tmp_path: Path) -> Path:
    """A repository of one model and of one whose version is called ``v1``."""
    root = tmp_path / "repository"
    write_linear(root / "m/1/model.onnx", 1.0)
    write_linear(root / "vee/v1/model.onnx", 1.0)
    (root / "vee/config.pbtxt").write_text("max_batch_size: 8")
    return root


def test_a_model_without_a_version_folder_is_named(with_empty: Path) -> None:
    settings = Settings(models=(ModelSettings(path=with_empty),))
    assert [found.name for found in find(settings)] == ["m"]
    (told,) = left_out(settings.models[0])
    says = "vee: has a config.pbtxt and no version folder (1/) beside it; found config.pbtxt, v1/"
    assert (told.name, told.error.message) == ("vee", f"{with_empty}/{says}")
    with pytest.raises(ModelLoadError) as caught:
        find_named(settings, "vee")
    assert caught.value.message == told.error.message
    shutil.rmtree(with_empty / "m")
    with pytest.raises(ModelLoadError) as caught:
        find(settings)
    assert caught.value.message.endswith(f"found vee/\n{told.error.message}")


def test_a_model_without_a_version_folder_hides_none_of_its_name(
    with_empty: Path, tmp_path: Path
) -> None:
    write_linear(tmp_path / "others/vee/1/model.onnx", 1.0)
    places = (with_empty, tmp_path / "others")
    settings = Settings(models=tuple(ModelSettings(path=place) for place in places))
    for found in (find(settings)[-1], *find_named(settings, "vee")):
        assert found.path.is_relative_to(tmp_path / "others")


@pytest.mark.parametrize("where", ["streams", "streams/1"])
def test_a_card_brings_it_back(mixed: Path, where: str) -> None:
    (mixed / where / "card.yaml").write_text("slo_ms: 5")
    found = find(Settings(models=(ModelSettings(path=mixed),)))
    assert [version.name for version in found] == ["m", "streams"]


def test_a_broken_configuration_hides_no_neighbour(mixed: Path) -> None:
    (mixed / "streams/config.pbtxt").write_text("{")
    settings = Settings(models=(ModelSettings(path=mixed),))
    assert [found.name for found in find_named(settings, "m")] == ["m"]


@pytest.mark.parametrize("control", ["none", "poll"])
@pytest.mark.slow
def test_the_log_says_once_what_is_left_out(mixed: Path, control: str) -> None:
    words = ("--model-control", control)
    environment = {"HEADRACE_SERVER__POLL_S": "0.05"}
    with Server(mixed, *words, environment=environment) as running:
        until(lambda: running.output.count("model_left_out") == len(LEFT_OUT))
        if control == "poll":  # a model that comes is seen by a later look
            write_linear(mixed / "later/1/model.onnx", 1.0)
            until(lambda: "later" in running.output)
        assert running.output.count("model_left_out") == len(LEFT_OUT)
        assert "models_unreadable" not in running.output


@pytest.mark.slow
def test_a_model_whose_versions_are_removed_goes_and_the_log_says_what_is_left(
    with_empty: Path,
) -> None:
    def served() -> list[str]:
        return [one["name"] for one in client.get_model_repository_index()]

    words = ("--model-control", "poll")
    environment = {"HEADRACE_SERVER__POLL_S": "0.05"}
    (with_empty / "vee/v1").rename(with_empty / "vee/1")
    with (
        Server(with_empty, *words, environment=environment) as running,
        tritonclient.http.InferenceServerClient(running.address) as client,
    ):
        assert sorted(served()) == ["m", "vee"]
        (with_empty / "vee/1").rename(with_empty / "vee/v1")
        until(lambda: served() == ["m"])
        until(lambda: running.output.count("model_left_out") == 1)


@pytest.mark.slow
def test_check_tells_what_is_left_out(mixed: Path) -> None:
    command = [sys.executable, "-m", "headrace", "check", str(mixed)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.count("left out: ") == len(LEFT_OUT)
    answer = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
    assert json.loads(answer)["left_out"].keys() == LEFT_OUT.keys()
