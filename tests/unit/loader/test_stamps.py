"""What counts as a change of a version's files, and what does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.errors import ModelLoadError
from headrace.loader import stamps
from headrace.loader.stamps import Stamp, own_bytes, stamp
from headrace.loader.store import find
from headrace.settings import ModelSettings, Settings
from tests.external import external


def _make(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _stamp(path: Path, name: str | None = None) -> Stamp:
    (found,) = find(Settings(models=(ModelSettings(path=path, name=name),)), cores=1)
    return stamp(found)


def _names(path: Path, name: str | None = None) -> list[str]:
    return [os.path.relpath(line[0], path.parent) for line in _stamp(path, name)]


def test_of_a_loose_file_it_and_those_named_like_it(tmp_path: Path) -> None:
    odd = _make(tmp_path / "x[1].fake")
    _make(tmp_path / "x[1].bin")
    _make(tmp_path / "x1.fake")
    _make(tmp_path / "other/x[1].vocab")
    assert _names(odd, "x") == ["x[1].bin", "x[1].fake"]


def test_of_a_loose_onnx_file_those_that_its_weights_are_in(tmp_path: Path) -> None:
    model, weights = tmp_path / "x.onnx", _make(tmp_path / "all/weights", "1")
    model.write_bytes(external("all/weights", "not-there-yet"))
    before = _stamp(model)
    assert _names(model) == ["all/weights", "x.onnx"]
    weights.write_text("22")
    assert _stamp(model) != before
    _make(tmp_path / "not-there-yet")
    assert _names(model) == ["all/weights", "not-there-yet", "x.onnx"]
    model.write_bytes(external("not-there-yet"))
    assert _names(model) == ["not-there-yet", "x.onnx"]


def test_of_an_onnx_model_in_a_folder_of_its_own_all_of_that(tmp_path: Path) -> None:
    _make(tmp_path / "m/1/model.onnx/model.onnx")
    weights = _make(tmp_path / "m/1/model.onnx/weights")
    before = _stamp(tmp_path / "m")
    weights.write_text("22")
    assert _stamp(tmp_path / "m") != before


def test_an_onnx_file_that_names_no_file_or_a_foreign_one(tmp_path: Path) -> None:
    for number, content in enumerate((b"", external("w", "/etc/passwd"))):
        model = tmp_path / f"x{number}.onnx"
        model.write_bytes(content)
        assert _names(model) == [model.name]


def test_a_file_that_is_gone_changes_it_and_is_no_error(tmp_path: Path) -> None:
    model = tmp_path / "x.onnx"
    model.write_bytes(external("w"))
    (found,) = find(Settings(models=(ModelSettings(path=model),)), cores=1)
    assert stamp(found)
    model.unlink()
    assert stamp(found) == ()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    _make(tmp_path / "store/v1/w.bin", "1")
    _make(tmp_path / "store/v2/w.bin", "2")
    _make(tmp_path / "m/1/model.fake")
    (tmp_path / "m/1/variables").symlink_to(tmp_path / "store/v1")
    (tmp_path / "m/1/ring").symlink_to(tmp_path / "m/1")
    return tmp_path / "m"


def _switch(model: Path) -> None:
    (model / "1/variables").unlink()
    (model / "1/variables").symlink_to(model.parent / "store/v2")


def _rewrite_below_a_link(model: Path) -> None:
    _make(model.parent / "store/v1/w.bin", "22")


def _rewrite_and_set_back(model: Path) -> None:
    file = model / "1/model.fake"
    status = file.stat()
    while file.stat().st_ctime_ns == status.st_ctime_ns:  # the clock of a file system is coarse
        file.write_text("y")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [_switch, _rewrite_below_a_link, _rewrite_and_set_back])
def test_a_change(model: Path, change: Callable[[Path], None]) -> None:
    before = _stamp(model)
    change(model)
    assert _stamp(model) != before


def test_hidden_files_are_not_of_it(model: Path) -> None:
    before = _stamp(model)
    _make(model / "1/.nfs0001")
    _make(model / "1/.cache/file")
    assert _stamp(model) == before


@pytest.mark.parametrize("name", ["m.log", "m.fake.prof", "m.tmp"])
@pytest.mark.parametrize("version", ["", "m/1/"])
def test_what_runs_leave_beside_it_is_not_of_it(name: str, version: str, tmp_path: Path) -> None:
    file = _make(tmp_path / f"{version}m.fake")
    model = tmp_path / "m" if version else file
    before = _stamp(model)
    _make(file.with_name(name))
    assert _stamp(model) == before


def test_each_folder_counts_once(model: Path) -> None:
    assert sorted(_names(model)) == ["m/1/model.fake", "m/1/variables/w.bin"]


def test_more_files_than_a_model_has(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_MOST_FILES", 1)
    with pytest.raises(ModelLoadError, match="more than 1 files"):
        _stamp(model)


@pytest.mark.parametrize(
    "own",
    [
        {"model.xml": b"1", "model.bin": b"22"},
        {"model.onnx": external("weights"), "weights": b"22"},
        {"saved_model.pb": b"1", "variables/variables.data": b"22"},
    ],
    ids=["openvino", "onnx", "saved model"],
)
def test_a_checkpoint_beside_a_model_is_not_it_and_its_weights_are(
    tmp_path: Path, own: dict[str, bytes]
) -> None:
    for name, content in {**own, "model.ckpt": b"4444", "assets.extra/checkpoint": b"4"}.items():
        file = tmp_path / "m/1" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (found,) = find(Settings(models=(ModelSettings(path=tmp_path / "m"),)), cores=1)
    assert own_bytes(found, stamp(found)) == sum(map(len, own.values()))


def test_the_tokenizers_of_a_card_count_wherever_they_lie(tmp_path: Path) -> None:
    model, file = _make(tmp_path / "m/1/model.fake"), _make(tmp_path / "t.json")
    card = "accepts: [{kind: text, tokenizer: ../t.json}]\n"
    _make(tmp_path / "m/card.yaml", card)
    before = _stamp(tmp_path / "m")
    assert {Path(line[0]).name for line in before} == {"model.fake", "t.json"}
    file.write_text("22")
    assert _stamp(tmp_path / "m") != before
    inside = _make(model.parent / "t.json")
    _make(tmp_path / "m/card.yaml", card.replace("../t", "1/t"))
    assert [line[0] for line in _stamp(tmp_path / "m")] == [str(model), str(inside)]
