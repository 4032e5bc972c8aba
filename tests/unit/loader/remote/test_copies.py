"""Copies are whole or not there, and views are links to them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from headrace.errors import ModelLoadError
from headrace.loader.remote.chosen import Part
from headrace.loader.remote.copies import Copies
from headrace.loader.remote.listing import RemoteFile
from headrace.loader.remote.views import show
from headrace.urls import Url

URL = Url.parse("s3://b/m")
KEPT = 2**20


def _part(edition: str = "1", folder: str = "m", name: str = "1/model.onnx") -> Part:
    return Part(folder, (RemoteFile(name, "", 5, edition),))


def _fill(folder: Path, text: str = "whole", name: str = "1/model.onnx") -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def _made(copies: Copies, part: Part, text: str = "whole") -> Path:
    return copies.make(URL, part, "u", lambda to: _fill(to, text, part.files[0].name))


def test_a_copy_is_found_again_by_whoever_shares_the_folder(tmp_path: Path) -> None:
    made = _made(Copies(tmp_path, KEPT), _part())
    assert (made / "1/model.onnx").read_text() == "whole"
    again = Copies(tmp_path, KEPT)
    assert again.find(URL, _part(), "u") == made
    assert again.find(URL, _part("2"), "u") is None
    assert again.find(Url.parse("s3://b/down/m"), _part(), "u") is None


def test_a_part_is_the_same_by_whatever_url_above_it(tmp_path: Path) -> None:
    copies = Copies(tmp_path, KEPT)
    made = _made(copies, _part(folder="m/resnet"))
    inner = Url.parse("s3://b/m/resnet")
    assert copies.find(inner, _part(folder="resnet"), "u") == made


def test_what_nobody_uses_goes_the_oldest_first(tmp_path: Path) -> None:
    copies = Copies(tmp_path, 2 * 5)  # two of them
    made = [_made(copies, _part(edition)) for edition in "12345"]
    for number, copy in enumerate(made):
        os.utime(copy, (number, number))
    copies.tidy([])
    assert all(copy.exists() for copy in made)
    copies.use("u", made[:1])
    copies.tidy([made[1] / "1/model.onnx"])
    assert [copy.exists() for copy in made] == [True, True, False, True, True]


def test_what_another_server_uses_stays_and_what_a_dead_one_left_goes(tmp_path: Path) -> None:
    other = Copies(tmp_path, 0)
    made = _made(other, _part())
    left = tmp_path / ".part-left"
    left.mkdir()
    (left / ".lock").touch()
    Copies(tmp_path, 0).tidy([])
    assert made.exists()
    assert not left.exists()
    other.use("u", [])
    other.tidy([])
    assert not made.exists()


def test_a_removal_that_was_killed_is_ended_by_the_next_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = Copies(tmp_path, 0)
    _made(copies, _part())
    copies.use("u", [])
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        copies.tidy([])
    assert [path.name[:6] for path in tmp_path.iterdir()] == [".part-"]
    Copies(tmp_path, 0).tidy([])
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_folder_without_a_lock_goes_when_it_is_old(tmp_path: Path) -> None:
    new, old = tmp_path / ".part-new", tmp_path / ".part-old"
    new.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    Copies(tmp_path, 0).tidy([])
    assert list(tmp_path.iterdir()) == [new]


def _fail(_: Path) -> None:
    raise OSError("the store went away")


@pytest.mark.parametrize("fetch", [_fail, lambda to: _fill(to, "half")])
def test_what_is_not_whole_leaves_nothing(tmp_path: Path, fetch: object) -> None:
    copies = Copies(tmp_path, KEPT)
    with pytest.raises((OSError, ModelLoadError)):
        copies.make(URL, _part(), "u", fetch)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    assert copies.find(URL, _part(), "u") is None


def test_a_damaged_copy_is_made_anew(tmp_path: Path) -> None:
    made = _made(Copies(tmp_path, KEPT), _part())
    (made / "1/model.onnx").write_text("cut")
    copies = Copies(tmp_path, KEPT)
    assert copies.find(URL, _part(), "u") is None
    assert _made(copies, _part()) == made
    assert (made / "1/model.onnx").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == [made.name]


def test_two_servers_that_fetch_the_same_have_the_same(tmp_path: Path) -> None:
    first, second = Copies(tmp_path, KEPT), Copies(tmp_path, KEPT)
    other: list[Path] = []

    def fetch(to: Path) -> None:
        other.append(_made(second, _part()))
        _fill(to)

    assert first.make(URL, _part(), "u", fetch) == other[0]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    made = _made(Copies(folder, KEPT), _part())
    made.chmod(0o777)
    assert Copies(folder, KEPT).find(URL, _part(), "u") is None
    folder.chmod(0o777)
    with pytest.raises(ModelLoadError, match="others may write there"):
        _made(Copies(folder, KEPT), _part("2"))


def test_what_has_no_room_is_not_begun(tmp_path: Path) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    part = Part("m", (RemoteFile("1/model.onnx", "", free_bytes, "e"),))
    with pytest.raises(ModelLoadError, match=r"s3://b/m: m has \d+ MiB, but .* has room for"):
        Copies(tmp_path / "kept", KEPT).make(URL, part, "u", _fill)


def test_a_view_has_what_is_shown_and_nothing_else(tmp_path: Path) -> None:
    copies, view = Copies(tmp_path / "kept", KEPT), tmp_path / "view"
    card = _part("1", "m", "card.yaml")
    shown = [(part, _made(copies, part)) for part in (_part(), card)]
    show(view, shown)
    assert (view / "m/1/model.onnx").read_text() == "whole"
    assert (view / "m/card.yaml").read_text() == "whole"
    newer = _part("2")
    show(view, [(newer, _made(copies, newer, "newer"))])
    assert (view / "m/1/model.onnx").read_text() == "newer"
    assert [path.name for path in (view / "m").iterdir()] == ["1"]
    file = Part("", (RemoteFile("m", "", 5, "1"),))
    show(view, [(file, _made(copies, file))])
    assert (view / "m").read_text() == "whole"
    show(view, shown)
    assert sorted(path.name for path in (view / "m").iterdir()) == ["1", "card.yaml"]
    show(view, [])
    assert list(view.iterdir()) == []
