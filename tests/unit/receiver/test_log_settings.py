"""Log settings change what really is logged; what they take is tested with real clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from headrace.receiver.oip.log_settings import LogSettings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    log = structlog.get_logger("headrace.test")
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(f"{level}_happened")
    said = capsys.readouterr().err
    return [level for level in ("debug", "info", "warning", "error") if f"{level}_happened" in said]


def test_each_level_is_turned_on_and_off_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    settings = LogSettings("info", "json")
    settings.change({"log_info": False, "log_verbose_level": 1})
    assert _said(capsys) == ["debug", "warning", "error"]
    settings.change({"log_info": True, "log_verbose_level": 0, "log_warning": False})
    assert _said(capsys) == ["info", "error"]
    settings.change({"log_errors": False})
    assert _said(capsys) == ["info"]
