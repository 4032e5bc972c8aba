"""Folders of engines: one for each model as it is, its owner's alone, and not too many."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.engine.tensorrt_engines import engines_of
from headrace.settings import BackendName, ModelSettings

TENSORRT = ModelSettings(backend=BackendName.TENSORRT, device="cuda")


def test_only_tensorrt_has_one(tmp_path: Path) -> None:
    assert engines_of(tmp_path, "key", ModelSettings()) is None
    assert not list(tmp_path.iterdir())


def test_a_model_finds_its_own_again_and_nobody_else_may_look(tmp_path: Path) -> None:
    place = engines_of(tmp_path / "cache", "key", TENSORRT)
    assert place is not None
    assert place.stat().st_mode & 0o777 == 0o700
    (place / "some.engine").write_bytes(b"built")
    assert engines_of(tmp_path / "cache", "key", TENSORRT) == place
    assert (place / "some.engine").exists()


def test_those_used_longest_ago_go(tmp_path: Path) -> None:
    for number in range(8):
        place = engines_of(tmp_path, f"key{number}", TENSORRT)
        assert place is not None
        os.utime(place, (number, number))
    engines_of(tmp_path, "key0", TENSORRT)  # used again
    engines_of(tmp_path, "more", TENSORRT)
    left = {one.name for one in (tmp_path / "tensorrt").iterdir()}
    assert left == {"key0", "more", *(f"key{number}" for number in range(2, 8))}


def test_where_nothing_can_be_written_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "tensorrt").write_text("in the way")
    assert engines_of(tmp_path, "key", TENSORRT) is None
