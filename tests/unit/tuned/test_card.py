"""The tuned card: what is written is read, where it lies, and what is wrong is told by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import SettingsError
from headrace.tuned import FILE_NAME, is_tuned_card, place, read, write
from tests.unit.tuned.cards import tuned


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    write(path, tuned())
    assert read(path) == tuned()
    write(path, tuned(accuracy=None))
    assert read(path).accuracy is None
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    ("model", "card"),
    [
        ("digits.onnx", "digits.tuned.yaml"),
        ("resnet/3/model.onnx", "resnet/3/tuned.yaml"),
        ("saved/saved_model.pb", "saved/tuned.yaml"),
        ("a.b.onnx", "a.b.tuned.yaml"),
    ],
)
def test_it_lies_beside_its_model(model: str, card: str) -> None:
    assert place(Path(model)) == Path(card)
    assert is_tuned_card(Path(card))
    assert not is_tuned_card(Path(model))
    assert not is_tuned_card(Path("attuned.yaml"))


@pytest.mark.parametrize(
    ("model", "beside", "card"),
    [
        ("7/a.onnx", ["b.onnx"], "a.tuned.yaml"),
        ("7/a.onnx", ["b.xml", "b.bin"], "a.tuned.yaml"),
        ("7/a.onnx", ["a.pt", "export.py", "a.onnx.data", ".b.onnx"], FILE_NAME),
        ("7/model.py", ["weights.onnx"], FILE_NAME),
        ("7/a.py", ["b.py"], "a.tuned.yaml"),
        ("x/a.onnx", [], "a.tuned.yaml"),
    ],
)
def test_a_folder_of_several_models_is_no_version_whatever_it_is_called(
    model: str, beside: list[str], card: str, tmp_path: Path
) -> None:
    path = tmp_path / model
    path.parent.mkdir()
    for name in (path.name, *beside):
        (path.parent / name).touch()
    assert place(path) == path.with_name(card)


def test_a_wrong_value_is_told_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    write(path, tuned())
    text = path.read_text()
    path.write_text(text.replace("threads: 1", "threads: 0"))
    line = next(n for n, said in enumerate(text.splitlines(), 1) if "threads" in said)
    with pytest.raises(SettingsError, match=rf"{FILE_NAME}:{line}: settings\.threads: "):
        read(path)


def test_a_card_of_another_schema_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text("schema_version: 7\nnews: [1]\n")
    with pytest.raises(SettingsError, match=r"schema version 7.*tune anew"):
        read(path)


def test_where_nothing_can_be_written_the_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere/tuned\.yaml: cannot be written"):
        write(tmp_path / "nowhere" / FILE_NAME, tuned())
