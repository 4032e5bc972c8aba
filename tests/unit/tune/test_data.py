"""Samples of every kind of file, and what is said of those that do not fit."""

from __future__ import annotations

import json
import os
import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headrace.accepts import AcceptedImage
from headrace.errors import SettingsError
from headrace.tune import data as data_module
from headrace.tune.data import Samples, load_samples, stamps
from headrace.values import DType, Signature, TensorSpec

X = TensorSpec("x", DType.FP32, (None, 2))
N = TensorSpec("n", DType.INT64, ("batch",))
PHOTO = TensorSpec("photo", DType.FP32, (None, 3, 4, 4))
ACCEPTS = (AcceptedImage(kind="image", input="photo"),)


def signature(*inputs: TensorSpec, batched: bool = True) -> Signature:
    return Signature(inputs or (X,), (TensorSpec("y", DType.FP32, (None, 3)),), batched)


def load(path: Path | None, *inputs: TensorSpec, rows: int = 100, **others: Any) -> Samples:
    batched = others.pop("batched", True)
    return load_samples(path, signature(*inputs, batched=batched), rows=rows, **others)


def photo(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = BytesIO()
    Image.new("RGB", (4, 4), (level, level, level)).save(out, "PNG")
    path.write_bytes(out.getvalue())


# -- arrays ----------------------------------------------------------------------------------------


def test_an_npz_file_has_inputs_and_labels(tmp_path: Path) -> None:
    file = tmp_path / "samples.npz"
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.savez(file, x=x, n=np.arange(5), labels=np.array([0, 1, 2, 0, 1]))
    found = load(file, X, N)
    np.testing.assert_array_equal(found.inputs["x"], x)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 0, 1]
    assert found.origin == f"5 samples of {file}, with labels"


def test_fewer_rows_than_there_are_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    file = tmp_path / "samples.npz"
    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    np.savez(file, x=x, labels=np.arange(100))
    one, again, other = (load(file, rows=10, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 10
    assert one.labels is not None
    np.testing.assert_array_equal(one.inputs["x"], x[one.labels])
    np.testing.assert_array_equal(one.inputs["x"], again.inputs["x"])
    assert (one.inputs["x"] != other.inputs["x"]).any()
    assert one.origin.startswith("10 of 100 samples")


def test_of_samples_with_labels_more_are_read(tmp_path: Path) -> None:
    x = np.ones((100, 2), np.float32)
    np.savez(tmp_path / "x.npz", x=x, labels=np.arange(100))
    found = load(tmp_path / "x.npz", rows=10, labelled_rows=50)
    assert (len(found), found.there) == (50, 100)
    np.save(tmp_path / "x.npy", x)
    assert len(load(tmp_path / "x.npy", rows=10, labelled_rows=50)) == 10
    for number in range(4):
        photo(tmp_path / "photos" / "cat" / f"{number}.png", number)
    photos = load(tmp_path / "photos", PHOTO, accepts=ACCEPTS, rows=1, labelled_rows=3)
    assert (len(photos), photos.there) == (3, 4)


def test_a_folder_of_arrays_is_put_together(tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((2, 2), number, np.float32))
    (tmp_path / "one.json").write_text(json.dumps({"x": [[7, 7]]}))
    np.save(tmp_path / "labels.npy", np.arange(7))
    found = load(tmp_path)
    assert found.inputs["x"][:, 0].tolist() == [0, 0, 1, 1, 2, 2, 7]
    assert found.labels is not None


def test_of_a_model_without_a_batch_axis_every_file_is_a_sample(tmp_path: Path) -> None:
    fixed = TensorSpec("x", DType.FP32, (1, 2))
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((1, 2), number, np.float32))
    assert load(tmp_path, fixed, batched=False).inputs["x"].shape == (3, 1, 2)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"z": np.ones((3, 2), np.float32)}, "z is none of the model's inputs"),
        ({"x": np.ones((3, 4), np.float32)}, "x is of shape"),
        ({"x": np.ones((3, 2), np.float32), "labels": np.zeros(2, int)}, "2 labels for 3 samples"),
        ({"x": np.ones((3, 2), np.float32), "labels": np.zeros(3)}, "numbers of classes"),
        ({"x": np.ones((3, 2), np.float32), "labels": np.full(3, -1)}, "numbers of classes"),
        ({"labels": np.zeros(3, int)}, "the input 'x' is missing"),
        ({"x": np.ones((0, 2), np.float32)}, "there is no sample in it"),
        (
            {"x": np.ones((0, 2), np.float32), "labels": np.zeros(0, int)},
            "there is no sample in it",
        ),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(SettingsError, match=words):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.npy", b"", "x.npy: it is empty, cut off or damaged"),
        ("labels.npy", b"", "labels.npy: it is empty, cut off or damaged"),
        ("x.npz", b"PK\x03\x04 and no more", "x.npz: it is empty, cut off or damaged"),
        ("x.json", b'{"instances": []}', "instances should be a list of rows, at least one"),
    ],
)
def test_a_file_that_is_damaged_or_empty_is_told(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        load(tmp_path / name)
    with pytest.raises(SettingsError, match=words):
        load(tmp_path)


def test_what_is_no_array_or_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("no")
    with pytest.raises(SettingsError, match=r"x\.npz"):
        load(tmp_path / "x.npz")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "gone.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="no file in it"):
        load(tmp_path / "empty")


def test_words_beside_arrays_are_no_samples_and_a_table_says_nothing_of_rows(
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2), np.float32))
    (tmp_path / "README.md").write_text("where these come from")
    assert len(load(tmp_path)) == 4
    (tmp_path / "labels.csv").write_text("a.npz,1\n")
    with pytest.raises(SettingsError, match=r"labels\.csv is of files .* put 'labels' into"):
        load(tmp_path)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "b.txt").write_text("what is this")
    with pytest.raises(SettingsError, match=r"b\.txt is no \.npz"):
        load(tmp_path)


# -- images ----------------------------------------------------------------------------------------


def test_images_lie_in_a_folder_for_each_class(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        for copy in range(2):
            photo(tmp_path / name / f"{copy}.png", number)
    (tmp_path / "README.md").write_text("where they come from")
    found = load(tmp_path, PHOTO, accepts=ACCEPTS)
    assert found.inputs["photo"].shape == (4, 3, 4, 4)
    assert found.labels is not None
    assert found.labels.tolist() == found.inputs["photo"][:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    known = load(tmp_path, PHOTO, accepts=ACCEPTS, classes=("fox", "dog", "cat"))
    assert known.labels is not None
    assert known.labels.tolist() == [2, 2, 1, 1]
    with pytest.raises(SettingsError, match="'cat' is none of the model's classes"):
        load(tmp_path, PHOTO, accepts=ACCEPTS, classes=("fox", "dog"))


def test_a_table_names_the_class_of_each(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / f"{number}.png", number)
    (tmp_path / "labels.csv").write_text("file,class\n2.png,7\n0.png,5\n")
    found = load(tmp_path, PHOTO, accepts=ACCEPTS)
    assert found.labels is not None
    assert found.labels.tolist() == [7, 5]
    assert found.inputs["photo"][:, 0, 0, 0].tolist() == [2, 0]
    (tmp_path / "labels.csv").write_text("0.png,1\n9.png,1\n")
    with pytest.raises(SettingsError, match=r"labels\.csv:2: there is no file 9\.png"):
        load(tmp_path, PHOTO, accepts=ACCEPTS)


def test_images_without_classes_have_no_labels(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 3)
    assert load(tmp_path, PHOTO, accepts=ACCEPTS).labels is None
    assert len(load(tmp_path / "a.png", PHOTO, accepts=ACCEPTS)) == 1


def test_files_that_nobody_can_read_are_told(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 3)
    with pytest.raises(SettingsError, match="does not say with `accepts`"):
        load(tmp_path, PHOTO)
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(SettingsError, match=r"b\.png: "):
        load(tmp_path, PHOTO, accepts=ACCEPTS)
    with pytest.raises(SettingsError, match="it wants n too"):
        load(tmp_path, PHOTO, N, accepts=ACCEPTS)


def test_of_more_images_than_there_is_room_for_some_are_taken_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        photo(tmp_path / str(number // 10) / f"{number:02}.png", number)
    one_bytes = 3 * 4 * 4 * 4
    monkeypatch.setattr(data_module, "_MOST_BYTES", 7 * one_bytes + 1)
    found = load(tmp_path, PHOTO, accepts=ACCEPTS)
    assert len(found) == 7
    assert found.labels is not None
    assert set(found.labels.tolist()) == {0, 1}
    assert found.origin == f"7 of 20 samples of {tmp_path}, with labels"
    assert len(load(tmp_path, PHOTO, accepts=ACCEPTS, rows=5)) == 5


def test_of_larger_arrays_than_there_is_room_for_some_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    np.savez(tmp_path / "x.npz", x=x, labels=np.arange(100))
    monkeypatch.setattr(data_module, "_MOST_BYTES", 30 * 8)
    found = load(tmp_path / "x.npz")
    assert found.labels is not None
    np.testing.assert_array_equal(found.inputs["x"], x[found.labels])
    assert found.origin == f"30 of 100 samples of {tmp_path / 'x.npz'}, with labels"


def test_one_file_is_in_memory_once(tmp_path: Path) -> None:
    x = np.ones((2**18, 2), np.float32)
    np.save(tmp_path / "x.npy", x)
    tracemalloc.start()
    load(tmp_path / "x.npy", rows=len(x))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert x.nbytes < peak_bytes < 1.5 * x.nbytes


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (2.0**20, "take 2 MiB, at most 1 MiB of memory are free for them: give fewer samples"),
        (float("inf"), "take 2 MiB, at most 1 MiB are read: give fewer samples"),
    ],
)
def test_more_than_there_is_memory_for_is_not_read_however_small_its_file_is(
    room: float, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_module, "room_bytes", lambda _: room)
    if room == float("inf"):
        monkeypatch.setattr(data_module, "_MOST_FILE_BYTES", 2**20)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((2**17 + 1, 2), np.float32))
    np.save(tmp_path / "x.npy", np.zeros((2**17 + 1, 2), np.float32))
    for name in ("x.npz", "x.npy"):
        with pytest.raises(SettingsError, match=words):
            load(tmp_path / name)


def test_images_of_different_sizes_are_told_what_to_do(tmp_path: Path) -> None:
    free = TensorSpec("photo", DType.FP32, (None, 3, "height", "width"))
    photo(tmp_path / "a.png", 3)
    Image.new("RGB", (8, 4)).save(tmp_path / "b.png")
    with pytest.raises(SettingsError, match="under `warm_shapes` in the card"):
        load(tmp_path, free, accepts=ACCEPTS)
    become = signature(PHOTO)
    assert load(tmp_path, free, accepts=ACCEPTS, become=become).inputs["photo"].shape[2:] == (4, 4)


def test_arrays_of_different_shapes_are_told_what_to_do(tmp_path: Path) -> None:
    free = TensorSpec("x", DType.FP32, (None, "length"))
    for size in (2, 3):
        np.save(tmp_path / f"{size}.npy", np.ones((1, size), np.float32))
    with pytest.raises(SettingsError, match="pad them to one, or give those of one"):
        load(tmp_path, free)


# -- made up ---------------------------------------------------------------------------------------


def test_without_data_samples_are_made_up_and_say_so() -> None:
    found, again = (load(None, X, N, rows=8) for _ in range(2))
    assert found.inputs["x"].shape == (8, 2)
    assert found.labels is None
    assert "8 made-up samples" in found.origin
    np.testing.assert_array_equal(found.inputs["x"], again.inputs["x"])
    fixed = TensorSpec("x", DType.FP32, (1, 2))
    assert load(None, fixed, rows=8, batched=False).inputs["x"].shape == (8, 1, 2)


def test_a_shape_that_nobody_knows_is_not_made_up() -> None:
    with pytest.raises(SettingsError, match="the input 'ids' may be of many shapes"):
        load(None, TensorSpec("ids", DType.INT64, (None, "length")))


def test_a_table_without_a_file_has_no_sample(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,class\n")
    with pytest.raises(SettingsError, match="there is no sample in it"):
        load(tmp_path, PHOTO, accepts=ACCEPTS)


def test_a_file_that_is_changed_in_place_is_noticed(tmp_path: Path) -> None:
    table, picture = tmp_path / "labels.csv", tmp_path / "deep" / "a.png"
    photo(picture, 1)
    table.write_text("deep/a.png,0\n")
    before = stamps(tmp_path)
    assert stamps(tmp_path) == before
    for file in (table, picture):
        seen = file.stat()
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns + 10**6))
        assert stamps(tmp_path) != before
        before = stamps(tmp_path)
    table.write_text("deep/a.png,10\n")
    os.utime(table, ns=(0, 0))
    assert stamps(tmp_path) != before
    assert stamps(table)[0][:2] == (str(table), 14)
