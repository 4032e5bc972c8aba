"""What of a place is fetched."""

from __future__ import annotations

import pytest

from headrace.errors import ModelLoadError
from headrace.loader.remote.chosen import choose
from headrace.loader.remote.listing import MOST_FILES, RemoteFile, check
from headrace.order import VersionPolicy
from headrace.urls import Url

ALL = VersionPolicy()
LATEST = VersionPolicy(latest=1)
URL = Url.parse("s3://b/m")


def _files(*names: str, size_bytes: int | None = 1) -> list[RemoteFile]:
    return [RemoteFile(name, name, size_bytes, "e") for name in names]


def _chosen(root: str, *names: str, policy: VersionPolicy = ALL) -> list[tuple[str, list[str]]]:
    parts = choose(root, _files(*names), policy)
    return [(part.folder, [file.name for file in part.files]) for part in parts]


def test_a_file_comes_with_those_named_like_it_and_its_card() -> None:
    names = ("n.bin", "n.xml", "n2.xml", "card.yaml", "labels.txt", "photo.jpg", "sub/n.bin")
    assert _chosen("n.xml", *names) == [("", ["card.yaml", "labels.txt", "n.bin", "n.xml"])]


def test_a_saved_model_is_whole() -> None:
    names = ("m/saved_model.pb", "m/variables/variables.index")
    assert _chosen("m", *names) == [("", list(names))]


def test_an_onnx_model_in_a_folder_of_its_own_comes_with_its_weights() -> None:
    names = ("m/1/model.onnx/model.onnx", "m/1/model.onnx/weights", "m/2/notes.md")
    inner = [name.removeprefix("m/") for name in names[:2]]
    assert _chosen("m", *names, policy=LATEST) == [("m", inner)]


def test_versions_come_each_alone_and_with_what_is_beside_them() -> None:
    names = ("m/1/model.onnx", "m/1/deep/x", "m/2/model.onnx", "m/card.yaml", "m/old/model.onnx")
    assert _chosen("m", *names) == [
        ("m", ["1/model.onnx", "1/deep/x"]),
        ("m", ["2/model.onnx"]),
        ("m", ["card.yaml"]),
    ]


def test_a_folder_of_models_is_searched_one_level_deep() -> None:
    names = (
        "r/a/1/model.onnx",
        "r/a/2/model.onnx",
        "r/a/config.pbtxt",
        "r/saved/saved_model.pb",
        "r/saved/variables/v",
        "r/b.xml",
        "r/b.bin",
        "r/card.yaml",
        "r/archive.tar",
        "r/ensemble/config.pbtxt",
        "r/deeper/down/1/model.onnx",
    )
    assert _chosen("r", *names, policy=LATEST) == [
        ("r/a", ["2/model.onnx"]),
        ("r/a", ["config.pbtxt"]),
        ("r", ["saved/saved_model.pb", "saved/variables/v"]),
        ("r/ensemble", ["config.pbtxt"]),
        ("r", ["b.xml", "b.bin"]),
        ("r", ["card.yaml"]),
    ]


def test_a_file_belongs_to_the_model_with_the_longest_name_that_fits() -> None:
    names = ("r/m.bin", "r/m.int8.bin", "r/m.int8.xml", "r/m.txt", "r/m.xml")
    assert _chosen("r", *names) == [
        ("r", ["m.int8.bin", "m.int8.xml"]),
        ("r", ["m.bin", "m.txt", "m.xml"]),
    ]


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (ALL, ["1", "2", "10"]),
        (LATEST, ["10"]),
        (VersionPolicy(latest=2), ["2", "10"]),
        (VersionPolicy(specific=(1, 11)), ["1", "11"]),
    ],
)
def test_a_version_without_a_model_yet_takes_nobodys_place(
    policy: VersionPolicy, versions: list[str]
) -> None:
    names = ("m/1/model.onnx", "m/2/model.onnx", "m/10/model.onnx", "m/11/README.md")
    chosen = _chosen("m", *names, policy=policy)
    assert [files[0].partition("/")[0] for _, files in chosen] == versions


def test_what_is_too_large_to_be_a_label_stays_where_it_is() -> None:
    files = [
        RemoteFile("m/1/model.onnx", "", 2**40, "e"),
        RemoteFile("m/labels.txt", "", 2**10, "e"),
        RemoteFile("m/dump.json", "", 2**30, "e"),
    ]
    parts = choose("m", files, ALL)
    assert [part.tops for part in parts] == [["1"], ["labels.txt"]]
    assert parts[0].size_bytes == 2**40


@pytest.mark.parametrize(
    "name",
    ["m/../../etc/passwd", "/etc/passwd", "m//x", "m/./x", "..", "m/a\0b", f"m/{'x' * 256}"],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ModelLoadError, match=r"s3://b/m: has a file .* rename or remove it"):
        check(URL, _files("m/ok", name))


def test_hidden_files_are_no_files() -> None:
    listed = check(URL, _files("m/.git/config", "m/1/.DS_Store", "m/1/model.onnx"))
    assert [file.name for file in listed] == ["m/1/model.onnx"]


@pytest.mark.slow
def test_a_listing_has_a_bound() -> None:
    many = (RemoteFile(f"m/{number}", "", 1, "e") for number in range(MOST_FILES + 1))
    with pytest.raises(ModelLoadError, match="more than 100000 files"):
        check(URL, many)
