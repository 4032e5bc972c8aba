from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import MalformedAnswer, SettingsError
from headrace.plan.profile import read_answer, read_file, save
from tests.unit.plan.profiles import profile


def said(**changed: Any) -> dict[str, Any]:
    return profile().model_dump(mode="json") | changed


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    save(profile(), tmp_path / "digits.json")
    assert read_file(tmp_path / "digits.json") == profile()


def test_what_a_newer_server_says_besides_is_left_out() -> None:
    assert read_answer(said(colour="blue"), "here") == profile()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"instances": 0}, "instances: 0 should be a whole number"),
        ({"batch_sizes": []}, "batch_sizes"),
        ({"slo_ms": -5}, "slo_ms: -5 should be"),
        ({"measurements": [{"rows": 1}]}, r"elements: must be given"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(MalformedAnswer, match=f"http://here .*{words}"):
        read_answer(said(**changed), "http://here")
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(said(**changed)))
    with pytest.raises(SettingsError, match=f"--profile .*bad.json is no profile: .*{words}"):
        read_file(path)


def test_an_answer_that_is_no_object_is_told() -> None:
    with pytest.raises(MalformedAnswer, match="http://here"):
        read_answer([1], "http://here")


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"{", "is no JSON"), (b"\xff", "is no JSON")]
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "digits.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"digits\.json.*{words}"):
        read_file(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--save .*No such file"):
        save(profile(), tmp_path / "nowhere" / "digits.json")


def test_a_model_that_started_cold_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match="warm_shapes"):
        read_answer(said(measurements=[]), "here")
