"""What a mirror takes of a store, and keeps."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headrace.errors import ModelLoadError
from headrace.loader.remote import mirror as mirrors
from headrace.loader.remote.copies import Copies
from headrace.loader.remote.listing import RemoteFile
from headrace.loader.remote.mirror import Mirror
from headrace.order import VersionPolicy
from headrace.urls import Url


class _Store:
    """Files by their names; of those that are None only the name is there."""

    def __init__(self, files: dict[str, str | None]) -> None:
        self.contents = files
        self.has_editions = True
        self.listed: list[str] = []
        self.fetched: list[str] = []
        self.pause_s = 0.0

    def files(self, _: Url) -> Iterator[RemoteFile]:
        self.listed.append("everything")
        yield from (RemoteFile(name, name) for name in list(self.contents))

    def inside(self, folder: str, name: str) -> Iterator[RemoteFile]:
        self.listed.append(f"in {folder}")
        for one in list(self.contents):
            above, _, last = one.rpartition("/")
            if above == folder:
                yield RemoteFile(f"{name}/{last}", one)

    def below(self, folder: str, name: str) -> Iterator[RemoteFile]:
        self.listed.append(f"below {folder}")
        for one in list(self.contents):
            if one.startswith(f"{folder}/"):
                yield RemoteFile(name + one.removeprefix(folder), one)

    def whole(self, file: RemoteFile) -> RemoteFile:
        content = self.contents[file.name]
        if content is None:
            raise FileNotFoundError(file.name)
        return file._replace(size_bytes=len(content), edition=content if self.has_editions else "")

    def fetch(self, file: RemoteFile, to: Path, _: Callable[[int], None]) -> None:
        self.fetched.append(file.source)
        time.sleep(self.pause_s)
        to.write_text(self.contents[file.source] or "")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> _Store:
    made = _Store({})
    monkeypatch.setattr(mirrors, "open_store", lambda _: made)
    return made


def _mirror(tmp_path: Path, *, settle_s: float = 0.0) -> Mirror:
    copies = Copies(tmp_path / "kept", 2**20)
    url = Url.parse("http://h/m")
    return Mirror(url, VersionPolicy(), tmp_path / "view", copies, settle_s=settle_s)


def test_an_order_takes_the_new_file_of_a_name_with_a_dot(store: _Store, tmp_path: Path) -> None:
    store.contents |= {"m/a.onnx": "old", "m/a.int8.txt": "old"}
    mirror = _mirror(tmp_path)
    mirror.sync()
    store.contents |= {"m/a.int8.onnx": "new", "m/a.int8.txt": "new"}
    mirror.sync(only="a.int8")
    assert (mirror.path / "a.int8.onnx").read_text() == "new"
    assert (mirror.path / "a.int8.txt").read_text() == "new"
    store.contents |= {"m/a.int8.onnx": "newer"}
    mirror.sync(only="a.int8")
    assert (mirror.path / "a.int8.onnx").read_text() == "newer"
    assert (mirror.path / "a.onnx").read_text() == "old"


def test_a_note_that_is_listed_and_not_given_is_left_out(store: _Store, tmp_path: Path) -> None:
    store.contents |= {"m/a/1/model.onnx": "x", "m/notes.txt": None, "m/a/labels.txt": None}
    mirror = _mirror(tmp_path)
    with capture_logs() as logs:
        mirror.sync()
        mirror.sync()
    assert [path.name for path in (mirror.path / "a").iterdir()] == ["1"]
    assert [path.name for path in mirror.path.iterdir()] == ["a"]
    assert sorted(one["file"] for one in logs if one["event"] == "file_left_out") == [
        "m/a/labels.txt",
        "m/notes.txt",
    ]


@pytest.mark.parametrize("name", ["m/a/1/model.onnx", "m/a/card.yaml", "m/a/1/weights.bin"])
def test_a_file_that_counts_is_not_left_out(store: _Store, tmp_path: Path, name: str) -> None:
    store.contents |= {"m/a/1/model.onnx": "x", name: None}
    with pytest.raises(ModelLoadError, match="no such file"):
        _mirror(tmp_path).sync()


def test_what_has_no_edition_is_fetched_at_every_start_and_order(
    store: _Store, tmp_path: Path
) -> None:
    store.contents["m/a/1/model.onnx"] = "old"
    store.has_editions = False
    mirror = _mirror(tmp_path)
    mirror.sync()
    store.contents["m/a/1/model.onnx"] = "new"
    with capture_logs() as logs:
        mirror.sync()
    assert (mirror.path / "a/1/model.onnx").read_text() == "new"
    assert [one["event"] for one in logs].count("no_edition") == 0  # it has been said
    store.contents["m/a/1/model.onnx"] = "xxx"
    with capture_logs() as logs:
        _mirror(tmp_path).sync()
    assert (mirror.path / "a/1/model.onnx").read_text() == "xxx"
    assert [one["event"] for one in logs].count("no_edition") == 1


def test_what_has_no_edition_is_not_fetched_at_every_look(store: _Store, tmp_path: Path) -> None:
    store.contents["m/a/1/model.onnx"] = "old"
    store.has_editions = False
    mirror = _mirror(tmp_path, settle_s=1.0)
    mirror.sync()
    mirror.sync()
    assert store.fetched == ["m/a/1/model.onnx"]


def test_what_several_entries_name_is_fetched_once(store: _Store, tmp_path: Path) -> None:
    store.contents["m/a/1/model.onnx"] = "x"
    store.pause_s = 0.1
    url, copies = Url.parse("http://h/m"), Copies(tmp_path / "kept", 2**20)
    several = [Mirror(url, VersionPolicy(), tmp_path / f"{n}", copies) for n in range(3)]
    with ThreadPoolExecutor() as threads:
        list(threads.map(Mirror.sync, several))
    assert store.fetched == ["m/a/1/model.onnx"]
    assert [(one.path / "a/1/model.onnx").read_text() for one in several] == ["x"] * 3


def test_what_comes_to_an_empty_place_waits_until_it_is_whole(
    store: _Store, tmp_path: Path
) -> None:
    mirror = _mirror(tmp_path, settle_s=60.0)
    with pytest.raises(ModelLoadError, match="nothing is there"):
        mirror.sync()
    store.contents["m/a/1/model.onnx"] = "half of it"
    mirror.sync()
    assert store.fetched == []


def test_trouble_with_our_own_disk_is_not_told_as_the_stores(
    store: _Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.contents["m/a.onnx"] = "model"
    mirror = _mirror(tmp_path)
    kept = tmp_path / "kept"

    def fail(code: int, path: Path | None) -> Callable[..., None]:
        def fetch(*_: object) -> None:
            raise OSError(code, os.strerror(code), None if path is None else str(path))

        return fetch

    for code, path, said in (
        (errno.EACCES, kept / "x", f"cannot write {kept / 'x'}: Permission denied; see server.cac"),
        (errno.ENOSPC, None, f"cannot write {kept}: No space left on device"),
        (errno.EACCES, None, "access is denied"),
        (errno.EACCES, tmp_path / "elsewhere", "access is denied"),
    ):
        monkeypatch.setattr(store, "fetch", fail(code, path))
        with pytest.raises(ModelLoadError, match=re.escape(said)):
            mirror.sync()


def test_names_may_be_as_long_as_the_disk_takes_them(store: _Store, tmp_path: Path) -> None:
    name = "模" * 83 + ".onnx"
    assert len(name.encode()) == 254
    store.contents[f"m/{name}"] = "model"
    mirror = _mirror(tmp_path)
    mirror.sync()
    assert (mirror.path / name).read_text() == "model"


MANY = {
    "m/a.onnx": "a",
    "m/a.onnx_data": "weights",
    "m/labels.txt": "labels",
    "m/b/1/model.onnx": "old",
    "m/b/2/model.onnx": "new",
    "m/b/2/model.onnx_data": "weights",
    "m/b/card.yaml": "{}",
    "m/c/saved_model.pb": "graph",
    "m/c/variables/variables.index": "index",
}


def test_a_place_is_listed_once_and_then_what_is_fetched_of_it(
    store: _Store, tmp_path: Path
) -> None:
    """A server with hundreds of models would be asked for each of them after each of them."""
    store.contents |= MANY
    _mirror(tmp_path).sync()
    assert sorted(store.fetched) == sorted(MANY)
    first, *again = store.listed
    assert first == "everything"
    assert sorted(again) == ["below m/b/1", "below m/b/2", "below m/c", "in m", "in m", "in m/b"]


@pytest.mark.parametrize("name", sorted(MANY))
@pytest.mark.parametrize("then", ["other", None])
def test_what_changes_while_it_is_fetched_is_refused(
    store: _Store, tmp_path: Path, name: str, then: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.contents |= MANY
    fetches = store.fetch

    def fetch(file: RemoteFile, to: Path, on_bytes: Callable[[int], None]) -> None:
        fetches(file, to, on_bytes)
        if file.source == name:
            if then is None:
                del store.contents[name]
            else:
                store.contents[name] = then

    mirror = _mirror(tmp_path)
    monkeypatch.setattr(store, "fetch", fetch)
    with pytest.raises(ModelLoadError, match="has changed while it was fetched"):
        mirror.sync()


def test_a_file_that_comes_to_a_version_while_it_is_fetched_is_seen(
    store: _Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.contents |= {"m/b/2/model.onnx": "half", "m/notes.txt": "x"}
    fetches = store.fetch

    def fetch(file: RemoteFile, to: Path, on_bytes: Callable[[int], None]) -> None:
        fetches(file, to, on_bytes)
        store.contents["m/b/2/model.onnx_data"] = "the other half"

    mirror = _mirror(tmp_path)
    monkeypatch.setattr(store, "fetch", fetch)
    with pytest.raises(ModelLoadError, match="has changed while it was fetched"):
        mirror.sync()
    monkeypatch.setattr(store, "fetch", fetches)
    mirror.sync()
    assert (mirror.path / "b/2/model.onnx_data").read_text() == "the other half"
