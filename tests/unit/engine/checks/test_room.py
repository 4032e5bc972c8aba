from __future__ import annotations

from pathlib import Path

import pytest

from headrace.engine.checks import room
from headrace.errors import ModelLoadError


def test_what_does_not_fit_is_refused_with_both_sizes() -> None:
    with pytest.raises(ModelLoadError, match=r"declares 3\.0 GiB of weights, and 2\.0 GiB of mem"):
        room.check(3 * 2**30, 2 * 2**30)
    room.check(2 * 2**30, 2 * 2**30)
    room.check(2**60, None)


def test_there_is_memory_on_this_machine() -> None:
    assert (room.free_bytes() or 0) > 2**20


def _group(folder: Path, limit: str, used: int, cached: int = 0) -> Path:
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\nactive_file {cached}\ninactive_file 1\n")
    return folder


def test_the_tightest_group_around_a_process_counts(tmp_path: Path) -> None:
    outer = _group(tmp_path / "pods", "1000", 400, cached=100)
    _group(tmp_path / "pods/own", "max", 300)
    meminfo = "MemTotal: 100 kB\nMemAvailable:      5 kB\nSwapFree: 1 kB\n"
    left = room.left(meminfo, "1:name=x:/\n0::/pods/own\n", tmp_path)
    assert left == 1000 - 400 + 101
    (outer / "memory.max").write_text("max\n")
    assert room.left(meminfo, "0::/pods/own\n", tmp_path) == 6 * 1024
    (outer / "memory.max").write_text("10\n")
    assert room.left(meminfo, "0::/pods/own\n", tmp_path) == 1
    assert room.left(meminfo, "", tmp_path) == 6 * 1024
    assert room.left("", "0::/pods/own\n", tmp_path) is None
