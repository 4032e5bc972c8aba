"""Where a report goes is looked at before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import SettingsError
from headrace.load.command import written

pytest.importorskip("matplotlib")


def test_what_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        written.check(tmp_path / ("x" * 300))


def test_a_report_that_is_there_stays_and_none_is_left(tmp_path: Path) -> None:
    before = tmp_path / "before.html"
    before.write_text("page")
    written.check(before)
    written.check(tmp_path / "next.html")
    assert [file.name for file in tmp_path.iterdir()] == ["before.html"]
    assert before.read_text() == "page"
