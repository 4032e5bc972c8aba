"""Folders of what was built: one for each model as it is, its owner's alone, not too many."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.engine.built import built_of, owned
from headrace.settings import BackendName, ModelSettings

TENSORRT, INDUCTOR = BackendName.TENSORRT, BackendName.INDUCTOR


def built(folder: Path, backend: BackendName, **keys: Any) -> Path | None:
    model = folder / "model.pt2"
    if not model.exists():
        model.write_bytes(b"a program")
    return built_of(folder / "cache", model, ModelSettings(backend=backend, **keys))


def test_only_what_builds_has_one(tmp_path: Path) -> None:
    assert built(tmp_path, BackendName.TORCH) is None
    assert not (tmp_path / "cache").exists()


def test_without_a_cache_nothing_is_kept(tmp_path: Path) -> None:
    assert built(tmp_path, INDUCTOR, cache=False) is None
    assert built_of(None, tmp_path, ModelSettings(backend=INDUCTOR)) is None


def test_what_inductor_made_is_for_any_number_of_lanes_threads_and_rows(tmp_path: Path) -> None:
    first = built(tmp_path, INDUCTOR, threads=1, instances=2, max_batch=8)
    assert first is not None
    assert built(tmp_path, INDUCTOR, threads=2, instances=1, max_batch=64) == first
    assert built(tmp_path, INDUCTOR, precision="bf16") != first
    assert built(tmp_path, TENSORRT, max_batch=8) != built(tmp_path, TENSORRT, max_batch=64)


def test_a_model_finds_its_own_again_and_nobody_else_may_look(tmp_path: Path) -> None:
    place = owned(tmp_path / "cache" / "key")
    assert place is not None
    assert place.stat().st_mode & 0o777 == 0o700
    (place / "some.engine").write_bytes(b"built")
    assert owned(tmp_path / "cache" / "key") == place
    assert (place / "some.engine").exists()


def test_those_used_longest_ago_go(tmp_path: Path) -> None:
    for number in range(8):
        place = owned(tmp_path / f"key{number}")
        assert place is not None
        os.utime(place, (number, number))
    owned(tmp_path / "key0")  # used again
    owned(tmp_path / "more")
    left = {one.name for one in tmp_path.iterdir()}
    assert left == {"key0", "more", *(f"key{number}" for number in range(2, 8))}


def test_where_nothing_can_be_written_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "tensorrt").write_text("in the way")
    assert owned(tmp_path / "tensorrt" / "key") is None


@pytest.mark.parametrize("loose", ["kind", "kind/key"])
def test_where_others_may_write_nothing_is_kept_and_that_is_told(
    tmp_path: Path, loose: str
) -> None:
    owned(tmp_path / "kind" / "key")
    for mode in (0o770, 0o702):
        (tmp_path / loose).chmod(mode)
        with capture_logs() as logs:
            assert owned(tmp_path / "kind" / "key") is None
        assert [(one["event"], one["path"]) for one in logs] == [
            ("builds_not_kept", str(tmp_path / loose))
        ]
    (tmp_path / loose).chmod(0o700)
    assert owned(tmp_path / "kind" / "key") is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("foreign", ["kind", "kind/key", "kind/key/model.pt2"])
def test_what_is_anothers_is_not_used(tmp_path: Path, foreign: str) -> None:
    place = owned(tmp_path / "kind" / "key")
    assert place is not None
    (place / "model.pt2").write_bytes(b"a library")
    os.chown(tmp_path / foreign, 65534, 65534)
    assert owned(place) is None


@pytest.mark.parametrize("linked", ["kind/key", "kind/key/model.pt2"])
def test_a_link_to_elsewhere_is_not_used(tmp_path: Path, linked: str) -> None:
    place, elsewhere = tmp_path / "kind" / "key", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / linked).parent.mkdir(mode=0o700, parents=True)
    place.parent.chmod(0o700)
    (tmp_path / linked).symlink_to(elsewhere)
    assert owned(place) is None
