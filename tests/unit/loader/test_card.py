"""Cards are parsed when they have changed, and then for certain."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from headrace.errors import ModelLoadError, SettingsError
from headrace.loader.card import read_card, read_configured, read_labels


def _age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file have been written long ago."""
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + 10**10)


def test_a_card_that_has_not_changed_is_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.yaml").write_text("slo_ms: 1\n")
    (tmp_path / "config.pbtxt").write_text("max_batch_size: 4\n")
    assert read_card(tmp_path) is not read_card(tmp_path)  # too young to be sure
    _age(monkeypatch)
    first, configured = read_card(tmp_path), read_configured(tmp_path)
    assert read_card(tmp_path) is first
    assert read_configured(tmp_path) is configured


def test_a_card_of_the_same_size_and_time_is_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "card.yaml"
    path.write_text("slo_ms: 1\n")
    _age(monkeypatch)
    status = path.stat()
    assert read_card(tmp_path).slo_ms == 1
    while path.stat().st_ctime_ns == status.st_ctime_ns:
        path.write_text("slo_ms: 2\n")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_card(tmp_path).slo_ms == 2


def test_a_bad_card_is_told_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "card.yaml").write_text("slo_ms: x\n")
    _age(monkeypatch)
    for _ in range(2):
        with pytest.raises(SettingsError, match="slo_ms"):
            read_card(tmp_path)


def test_labels_longer_than_any_list_of_classes_are_not_read(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    with labels.open("wb") as out:
        out.truncate(2**40)
    with pytest.raises(ModelLoadError, match=r"labels.txt: is longer than 16777216 letters"):
        read_labels(labels)
