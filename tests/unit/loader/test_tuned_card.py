"""A tuned card is taken where it holds; where it does not, it is left aside and that is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from headrace.loader.store import FoundVersion, find
from headrace.server_settings import ServerSettings
from headrace.settings import BackendName, Card, ModelSettings, Precision, Settings
from headrace.tuned import fingerprint, place
from tests.unit.tuned.cards import put


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "resnet" / "1"
    folder.mkdir(parents=True)
    file = folder / "model.onnx"
    file.write_bytes(b"weights")
    return file


def found(model: Path, *, server: ServerSettings | None = None, **said: Any) -> FoundVersion:
    entry = ModelSettings(path=model.parent.parent, **said)
    (one,) = find(Settings(models=(entry,), server=server or ServerSettings()), cores=4)
    return one


def test_a_tuned_card_that_holds_is_taken(model: Path) -> None:
    put(model)
    one = found(model, slo_ms=50)
    settings = one.settings
    assert (settings.backend, settings.precision) == (BackendName.OPENVINO, Precision.BF16)
    assert (settings.instances, settings.threads, settings.max_batch) == (2, 1, 8)
    assert one.tuned is not None
    assert one.tuned.file == str(place(model))
    assert one.tuned.note == ""
    assert one.origins["precision"] == "tuned card"
    assert one.origins["slo_ms"] == "settings"
    assert not one.aside


def test_what_the_card_and_the_settings_say_wins(model: Path) -> None:
    put(model)
    (model.parent / "card.yaml").write_text("max_batch: 16\n")
    one = found(model, threads=4)
    assert one.settings.max_batch == 16
    assert (one.settings.threads, one.settings.instances) == (4, 1)
    assert (one.origins["max_batch"], one.origins["threads"]) == ("card", "settings")
    assert one.settings.precision is Precision.BF16


def test_a_single_file_has_its_own(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(name.encode())
    put(tmp_path / "a.onnx")
    one, other = find(Settings(models=(ModelSettings(path=tmp_path),)), cores=4)
    assert (one.settings.max_batch, other.settings.max_batch) == (8, Card().max_batch)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_digest": "sha256:0"}, "the model's files have changed"),
        (
            {"fingerprint": fingerprint().model_copy(update={"processor": "Other"})},
            "and was Other",
        ),
    ],
)
def test_for_another_model_or_machine_it_is_left_aside_and_says_what_to_do(
    model: Path, change: dict[str, Any], words: str
) -> None:
    put(model, **change)
    one = found(model)
    assert one.settings.precision is Precision.F32
    assert one.tuned is None
    assert words in one.aside
    assert f"headrace tune {model}" in one.aside


def test_a_model_that_has_changed_since_is_noticed(model: Path) -> None:
    put(model)
    assert found(model).tuned is not None
    model.write_bytes(b"other weights")
    assert found(model).tuned is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_batch", 8192),
        ("instances", 384),
        ("threads", 384),
        ("linger_ms", 20_000),
        ("f32_layers", 20_000),
    ],
)
def test_one_beyond_what_settings_take_is_left_aside(model: Path, key: str, value: int) -> None:
    card = put(model)
    card.write_text(re.sub(rf"{key}: .*", f"{key}: {value}", card.read_text()))
    aside = found(model).aside
    assert f"settings.{key}: {value} should be a" in aside
    assert "the model is served untuned" in aside


def test_a_broken_one_is_left_aside_too(model: Path) -> None:
    put(model).write_text("settings: {threads: 0}\n")
    assert "the model is served untuned" in found(model).aside
    assert found(model).settings.threads == 1


def test_it_can_be_switched_off(model: Path) -> None:
    put(model)
    one = found(model, server=ServerSettings(tuned=False))
    assert (one.tuned, one.aside) == (None, "")
    assert one.settings.precision is Precision.F32


def test_an_error_that_nobody_has_foreseen_leaves_it_aside(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(model)

    def spoiled(_: Path) -> Any:
        raise KeyError("never thought of")

    monkeypatch.setattr("headrace.loader.tuned_card.digest", spoiled)
    assert found(model).aside.startswith(f"{place(model)}: KeyError('never thought of'); ")
