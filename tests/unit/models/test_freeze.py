"""What a server has learnt becomes a tuned card, or it is said why it cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from headrace.cores import usable_cores
from headrace.errors import HeadraceError, MalformedAnswer, SettingsError
from headrace.loader.store import find
from headrace.models.freeze import freeze
from headrace.settings import BackendName, ModelSettings, Settings
from headrace.tuned import edition, place, read


def loaded(*names: str) -> list[dict[str, Any]]:
    """Version 1 of each, as the server tells of it."""
    return [{"name": name, "version": 1} for name in names]


SERVED = loaded("digits", "letters")


def said(model: Path, **changes: Any) -> dict[str, Any]:
    """What the server tells of a model that it has loaded from these files."""
    control = {
        "steered": True,
        "lanes": 1,
        "kept_lanes": 1,
        "batch_cap": 4,
        "longest_s": 0.02,
        "highest_rps": 180.0,
        "p99_s": 0.056,
        "worth": {},
        "changes": [],
    }
    return {
        "name": "digits",
        "version": 1,
        "edition": edition(model),
        "backend": "onnxruntime",
        "precision": "f32",
        "cores": usable_cores(),
        "threads": 1,
        "slo_ms": 50.0,
        "linger_ms": 0.0,
        "f32_layers": 2,
        "control": control,
        **changes,
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "digits.onnx"
    file.write_bytes(b"weights")
    return file


def test_the_card_that_is_written_is_taken_by_the_next_start(model: Path) -> None:
    file, tuned = freeze(said(model), SERVED, model)
    assert file == place(model)
    assert read(file) == tuned
    assert tuned.evidence.highest_rate_rps == 180.0
    assert tuned.evidence.forecast_rate_rps == pytest.approx(200.0)
    (found,) = find(Settings(models=(ModelSettings(path=model),)))
    assert found.settings.backend is BackendName.ONNXRUNTIME
    assert (found.settings.instances, found.settings.max_batch) == (1, 4)


def test_lanes_that_are_only_tried_are_not_written(model: Path) -> None:
    trying = said(model)["control"] | {"lanes": 1, "kept_lanes": 2}
    _, tuned = freeze(said(model, control=trying), SERVED, model)
    assert tuned.settings.instances == 2
    assert tuned.evidence.forecast_rate_rps == pytest.approx(400.0)


def test_it_may_be_written_elsewhere(model: Path, tmp_path: Path) -> None:
    file, _ = freeze(said(model), SERVED, model, tmp_path / "other.yaml")
    assert file == tmp_path / "other.yaml"
    assert not place(model).exists()


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"control": {}}, MalformedAnswer, "an older Headrace"),
        ({"slo_ms": None}, SettingsError, "without an objective"),
        ({"cores": 4096}, SettingsError, "on the server's machine"),
        ({"version": 7}, SettingsError, "version 7 of model 'digits' does not lie there"),
        ({"backend": "other"}, MalformedAnswer, "as this version does"),
        (
            {"control": {"kept_lanes": 1, "highest_rps": 0.0, "p99_s": None}},
            SettingsError,
            "has answered nothing in time",
        ),
        (
            {"control": {"steered": False, "kept_lanes": 1, "highest_rps": 0.0, "p99_s": 0.01}},
            SettingsError,
            "is not steered",
        ),
    ],
)
def test_what_cannot_be_frozen_is_told(
    model: Path, changes: dict[str, Any], kind: type[HeadraceError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        freeze(said(model, **changes), SERVED, model)
    assert not place(model).exists()


def test_another_model_of_the_server_gets_no_card_of_this_one(tmp_path: Path) -> None:
    for file in (tmp_path / "digits/1/model.onnx", tmp_path / "letters/1/model.onnx"):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
    digits = said(tmp_path / "digits/1/model.onnx")
    with pytest.raises(SettingsError, match="version 1 of model 'digits' does not lie there"):
        freeze(digits, SERVED, tmp_path / "letters")
    assert not list(tmp_path.rglob("*.yaml"))
    file, _ = freeze(digits, SERVED, tmp_path)  # a folder of both
    assert file == place(tmp_path / "digits/1/model.onnx")


def test_a_model_that_is_served_under_another_name_gets_its_card(model: Path) -> None:
    file, _ = freeze(said(model, name="numbers"), loaded("numbers", "letters"), model)
    assert file == place(model)


def test_an_older_server_that_does_not_tell_which_files_it_has_loaded_gets_no_card(
    model: Path,
) -> None:
    older = said(model)
    del older["edition"]
    with pytest.raises(MalformedAnswer, match="an older Headrace"):
        freeze(older, SERVED, model)
    assert not place(model).exists()


def test_files_that_the_server_has_not_loaded_get_no_card(model: Path, tmp_path: Path) -> None:
    before = said(model)
    other = tmp_path / "other"
    other.write_bytes(b"others")
    os.utime(other, (1e9, 1e9))  # made long ago, and put there only now
    other.replace(model)
    with pytest.raises(SettingsError, match=r"changed since .*headrace models load digits"):
        freeze(before, SERVED, model)
    assert not place(model).exists()
    now = said(model)
    file, _ = freeze(now, SERVED, model)
    assert freeze(now, SERVED, model)[0] == file


@pytest.mark.parametrize("moved", ["digits/1", "digits"])
def test_a_folder_moved_into_place_holds_files_that_the_server_has_not_loaded(
    tmp_path: Path, moved: str
) -> None:
    # All of them lie in their folders before the server loads any.
    for name in ("digits/1/model.onnx", "new/digits/1/model.onnx"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    model = tmp_path / "digits/1/model.onnx"
    before = said(model)
    (tmp_path / moved).rename(tmp_path / "old")
    (tmp_path / "new" / moved).rename(tmp_path / moved)
    with pytest.raises(SettingsError, match=r"changed since .*headrace models load digits"):
        freeze(before, SERVED, tmp_path / "digits")
    assert not place(model).exists()
    (tmp_path / moved).rename(tmp_path / "new" / moved)
    (tmp_path / "old").rename(tmp_path / moved)
    file, _ = freeze(before, SERVED, tmp_path / "digits")
    assert file == place(model)
