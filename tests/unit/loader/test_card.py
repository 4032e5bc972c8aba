"""Cards are parsed when they have changed, and then for certain."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from headrace.errors import ModelLoadError, SettingsError
from headrace.loader.card import read_card, read_configured, read_labels, read_said


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


def _configured(model: Path, labels: str = "labels.txt") -> Path:
    """A version folder of a model whose configuration names labels."""
    model.mkdir(parents=True, exist_ok=True)
    (model / "config.pbtxt").write_text(
        f"max_batch_size: 4 output {{ label_filename: '{labels}' }}"
    )
    (model / "1").mkdir()
    return model / "1"


@pytest.mark.parametrize("labels", ["labels.txt", "inner/labels.txt"])
def test_a_link_out_of_the_folder_is_no_labels_of_a_configuration(
    tmp_path: Path, labels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "m"
    version = _configured(model, labels)
    (tmp_path / "labels.txt").write_text("a secret")
    (model / labels).parent.mkdir(exist_ok=True)
    (model / labels).write_text("cat")
    _age(monkeypatch)
    assert read_said(version, model).card.labels == model / labels
    (model / labels).unlink()
    if labels == "labels.txt":
        (model / labels).symlink_to(tmp_path / labels)
    else:
        (model / "inner").rmdir()
        (model / "inner").symlink_to(tmp_path)
    card, remarks = read_said(version, model)
    assert card.labels is None
    assert card.model_fields_set == {"max_batch"}
    assert "label_filename: not mapped: a file outside of the model's folder" in remarks[0]


def test_links_of_labels_lead_where_those_of_a_model_may(tmp_path: Path) -> None:
    volume, blobs, copies = (tmp_path / name for name in ("volume", "cache/m", "view/m"))
    # A volume of Kubernetes: each name leads into a folder beside it.
    inside = volume / "..data"
    _configured(inside)
    (inside / "labels.txt").write_text("cat")
    for name in ("config.pbtxt", "labels.txt", "1"):
        (volume / name).symlink_to(Path("..data", name))
    # A cache of Hugging Face: all names lead to one folder.
    _configured(blobs)
    (tmp_path / "cache/blobs").mkdir()
    (tmp_path / "cache/blobs/0").write_text("cat")
    (blobs / "config.pbtxt").rename(tmp_path / "cache/blobs/1")
    (blobs / "labels.txt").symlink_to("../blobs/0")
    (blobs / "config.pbtxt").symlink_to("../blobs/1")
    # What was fetched from a store: a version is a copy of its own.
    _configured(copies, "1/labels.txt").rmdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/labels.txt").write_text("cat")
    (copies / "1").symlink_to(tmp_path / "copy")
    for model in (volume, blobs, copies):
        said = read_said(model / "1", model)
        assert said.remarks == ()
        assert read_labels(said.card.labels) == ("cat",)
