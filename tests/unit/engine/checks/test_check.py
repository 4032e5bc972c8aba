"""Whole files of every format pass; what is cut off or changed in them never breaks the look."""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.checks import check
from headrace.errors import ModelLoadError
from tests.contract.bad_models.ir import IR
from tests.contract.bad_models.onnx_ import external, functions, weighted
from tests.contract.bad_models.tensorflow_ import VARIABLE, saved_model, tflite
from tests.contract.bad_models.wrong import archive

_INDEX = bytes(40) + bytes.fromhex("57fb808b247547db")
_SHARD = "variables/variables.data-00000-of-00001"
# The model's file first, then what lies beside it.
WHOLE: dict[str, dict[str, bytes]] = {
    "onnx": {"model.onnx": weighted().SerializeToString()},
    "onnx with functions": {"model.onnx": functions(("f", "g"), ("g", "Relu")).SerializeToString()},
    "onnx with a file of weights": {
        "model.onnx": external("w.bin", offset=64, length=64).SerializeToString(),
        "w.bin": bytes(128),
    },
    "ir": {"model.xml": IR.encode(), "model.bin": bytes(64)},
    "saved model": {"saved_model.pb": saved_model()},
    "saved model with variables": {
        "saved_model.pb": saved_model(VARIABLE),
        "variables/variables.index": _INDEX,
        _SHARD: bytes(64),
    },
    "tflite": {"model.tflite": tflite()},
    "pt2": {"model.pt2": archive(**{"m/archive_format": b"pt2", "m/data/weights/w": bytes(64)})},
    "python": {"model.py": b"x = 1"},
}
every_format = pytest.mark.parametrize("name", sorted(WHOLE))


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / next(iter(files))


@every_format
def test_a_whole_model_passes(name: str, tmp_path: Path) -> None:
    check(_written(tmp_path, WHOLE[name]))


@every_format
def test_a_whole_model_passes_as_a_volume_of_kubernetes_has_it(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "..2026", WHOLE[name])
    (tmp_path / "..data").symlink_to("..2026")
    for made in path.parent.iterdir():
        (tmp_path / made.name).symlink_to(Path("..data", made.name))
    check(tmp_path / path.name)


@every_format
def test_so_it_does_as_a_cache_of_hugging_face_has_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    for number, (file, content) in enumerate(WHOLE[name].items()):
        blob, link = tmp_path / "blobs" / str(number), tmp_path / "snapshot" / file
        blob.write_bytes(content)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    check(tmp_path / "snapshot" / next(iter(WHOLE[name])))


@pytest.mark.slow
@every_format
def test_every_beginning_of_a_model_is_refused_or_passes(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path, WHOLE[name])
    content = path.read_bytes()
    for size in range(0, len(content), max(1, len(content) // 200)):
        path.write_bytes(content[:size])
        _tried(path)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    root, numbers = tmp_path_factory.mktemp("changed"), itertools.count()
    return lambda: root / str(next(numbers))


@pytest.mark.slow
@every_format
@given(st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_bytes_that_are_changed_never_break_the_look(
    name: str, fresh: Callable[[], Path], changes: list[tuple[int, int]]
) -> None:
    path = _written(fresh(), WHOLE[name])
    content = bytearray(path.read_bytes())
    for at, value in changes:
        content[at % len(content)] = value
    path.write_bytes(content)
    _tried(path)


def _tried(path: Path) -> None:
    try:
        check(path)
    except ModelLoadError:
        return


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(ModelLoadError, match="it is not a regular file"):
        check(tmp_path / "model.onnx")


def test_what_is_not_there_any_more_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="it cannot be read: No such file"):
        check(tmp_path / "model.onnx")


def test_weights_in_a_file_of_holes_are_held_against_the_memory(tmp_path: Path) -> None:
    made = external("w.bin")
    made.graph.initializer[0].dims[:] = [10**6, 10**6]
    path = _written(tmp_path, {"model.onnx": made.SerializeToString()})
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(4 * 10**12)  # takes no room on the disk
    with pytest.raises(ModelLoadError, match=r"declares 3725\.3 GiB of weights, and .* are free"):
        check(path)


@pytest.mark.slow
def test_an_archive_that_unfolds_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    for size in (1000, 65 * 2**20):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("m/code/__torch__.py", bytes(size))
        if size == 1000:
            check(path)
    assert path.stat().st_size < 2**20
    with pytest.raises(ModelLoadError, match="unfold to 68157440 bytes: PyTorch stores"):
        check(path)
