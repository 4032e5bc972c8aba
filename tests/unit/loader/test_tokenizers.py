"""Copies of tokenizers are as the files were, for as long as somebody has them."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from headrace.accepts import AcceptedImage, AcceptedText
from headrace.errors import ModelLoadError
from headrace.loader.store import find
from headrace.loader.tokenizers import check_tokenizers, copy_tokenizers
from headrace.settings import ModelSettings, Settings
from tests.unit.loader.fleets import fleet_of, version_of


def _text(file: Path) -> AcceptedText:
    return AcceptedText(kind="text", tokenizer=file)


def _read(path: str) -> str:
    return Path(path).read_text()


def test_a_copy_stays_as_it_was_and_goes_with_who_has_it(tmp_path: Path) -> None:
    file, folder = tmp_path / "t.json", tmp_path / "run"
    folder.mkdir()
    file.write_text("old")
    others = (AcceptedImage(kind="image", input="x"), AcceptedText(kind="text"))
    copies = copy_tokenizers((_text(file), _text(file), *others), folder)
    file.write_text("new")
    assert [(copy.of, copy.path.read_text()) for copy in copies] == [(file, "old")]
    del copies
    gc.collect()
    assert list(folder.iterdir()) == []


def test_what_cannot_be_read_has_no_copy(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("gone", "pipe", "folder"):
        with pytest.raises(OSError, match=name):
            copy_tokenizers([_text(tmp_path / name)], tmp_path)
        with pytest.raises(ModelLoadError, match=rf"tokenizer .*/{name}: cannot be read: "):
            check_tokenizers([_text(tmp_path / name)])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_version_whose_tokenizer_is_not_there_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "m.fake").touch()
    card = "accepts: [{kind: text, tokenizer: gone.json}]\n"
    (tmp_path / "card.yaml").write_text(card)
    with pytest.raises(ModelLoadError) as caught:
        find(Settings(models=(ModelSettings(path=tmp_path / "m.fake"),)), cores=1)
    told = f"model 'm': tokenizer {tmp_path}/gone.json: cannot be read: No such file or directory"
    assert caught.value.message == told


async def test_engines_and_receivers_are_told_of_the_copies(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text("old")
    found = version_of(tmp_path, accepts=(_text(file),))
    async with fleet_of(tmp_path, found) as (fleet, _):
        file.write_text("newer")
        await fleet.settle(fleet.posts()["m", 1])
        [(named, copy)] = fleet.serving["m", 1].tokenizers.items()
        assert (named, _read(copy)) == (str(file), "old")
        await fleet.load(found)
        [later] = fleet.serving["m", 1].tokenizers.values()
        assert _read(later) == "newer"
