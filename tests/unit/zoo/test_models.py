"""Making folders, with the models that need no download."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from headrace.loader.card import read_card
from headrace.loader.store import find
from headrace.settings import ModelSettings, Settings
from zoo import models, networks
from zoo.__main__ import main
from zoo.download import Shelf
from zoo.errors import UnknownModel
from zoo.models import MODELS, fetch

CARDS = Path(models.__file__).parent / "cards"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "cache")


def test_a_folder_is_what_the_server_takes(shelf: Shelf) -> None:
    (folder,) = fetch(["mlp"], shelf)
    (found,) = find(Settings(models=(ModelSettings(path=folder),)))
    assert (found.name, found.version) == ("mlp", 1)
    assert found.settings.max_batch == 256


def test_what_was_made_is_left_as_it_is(shelf: Shelf) -> None:
    (folder,) = fetch(["mlp"], shelf)
    made = (folder / "1/model.onnx").stat()
    assert fetch(["mlp"], shelf) == [folder]
    assert (folder / "1/model.onnx").stat() == made


def test_what_another_version_of_the_zoo_made_is_made_anew(shelf: Shelf) -> None:
    (folder,) = fetch(["mlp"], shelf)
    (folder / ".fingerprint").write_text("of another version")
    (folder / "left over").touch()
    fetch(["mlp"], shelf)
    assert sorted(entry.name for entry in folder.iterdir()) == [".fingerprint", "1", "card.yaml"]


def test_an_unknown_name_is_refused_before_anything_is_made(shelf: Shelf) -> None:
    with pytest.raises(UnknownModel, match="no 'bert'; it has pp-ocr-rec"):
        fetch(["mlp", "bert"], shelf)
    assert not shelf.folder.exists()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_card_that_the_server_can_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text((CARDS / f"{name}.yaml").read_text())
    assert read_card(tmp_path).model_fields_set


def test_every_card_belongs_to_a_model() -> None:
    assert {card.stem for card in CARDS.iterdir()} == set(MODELS)


def test_random_weights_are_the_same_each_time(tmp_path: Path) -> None:
    networks.mlp(tmp_path / "a.onnx")
    networks.mlp(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_the_small_network_has_the_shapes_it_is_named_for(shelf: Shelf) -> None:
    (folder,) = fetch(["mlp"], shelf)
    session = onnxruntime.InferenceSession(str(folder / "1/model.onnx"))
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("x", ["N", 784])]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("logits", ["N", 10])]


# -- the command -----------------------------------------------------------------------------------


def test_fetch_prints_the_folders_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["fetch", "mlp"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/headrace/models/mlp\n"
    assert main(["fetch", "mlp", "--to", str(tmp_path / "here")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/here/mlp\n"
    assert (tmp_path / "here/mlp/1/model.onnx").exists()


def test_what_went_wrong_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "bert"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("zoo: the zoo has no 'bert'")


def test_without_a_command_the_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in MODELS)
