"""Where a report goes is looked at before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import SettingsError
from headrace.load.command import written
from headrace.load.page.html import Page

pytest.importorskip("matplotlib")


def test_what_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        written.check(tmp_path / ("x" * 300))


def test_what_cannot_be_drawn_or_written_is_told_and_raises_nothing(tmp_path: Path) -> None:
    page = Page("title", "how", "well", failed=False, tables=(), drawings=(), document={})
    path = tmp_path / "page.html"
    assert written.try_write(path, lambda: page) is None
    assert "<html" in path.read_text()
    assert written.try_write(None, lambda: page) is None

    def fail() -> Page:
        raise ValueError("no such glyph")

    failed = written.try_write(path, fail)
    assert failed is not None
    assert "cannot be drawn: ValueError('no such glyph')" in failed.message
    failed = written.try_write(tmp_path / "gone" / "page.html", lambda: page)
    assert failed is not None
    assert "cannot be written: No such file" in failed.message


def test_a_report_that_is_there_stays_and_none_is_left(tmp_path: Path) -> None:
    before = tmp_path / "before.html"
    before.write_text("page")
    written.check(before)
    written.check(tmp_path / "next.html")
    assert [file.name for file in tmp_path.iterdir()] == ["before.html"]
    assert before.read_text() == "page"
