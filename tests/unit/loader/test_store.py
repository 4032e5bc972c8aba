from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.cores import usable_cores
from headrace.errors import ModelLoadError, OperatorError, SettingsError
from headrace.loader.store import FoundVersion, find, find_named
from headrace.server_settings import ServerSettings
from headrace.settings import ModelSettings, Settings

KNOWN = ".onnx, .xml, .tflite, .pt2, .pt, .py"
SAVED = "saved_model.pb"


def _make(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def _find(*entries: Path | ModelSettings, **others: Any) -> tuple[FoundVersion, ...]:
    models = tuple(
        entry if isinstance(entry, ModelSettings) else ModelSettings(path=entry)
        for entry in entries
    )
    return find(Settings(models=models, **others), cores=4)


def _shape(found: tuple[FoundVersion, ...]) -> list[tuple[str, int, str]]:
    return [(one.name, one.version, one.path.name) for one in found]


def _error(*entries: Path | ModelSettings, kind: type[OperatorError] = ModelLoadError) -> str:
    with pytest.raises(kind) as caught:
        _find(*entries)
    return caught.value.message


# -- what is found -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite", ".pt2", ".pt", ".py", ".fake"])
def test_a_file_is_version_1_under_its_own_name(tmp_path: Path, suffix: str) -> None:
    _make(tmp_path, f"digits{suffix}")
    (found,) = _find(tmp_path / f"digits{suffix}")
    assert (found.name, found.version, found.folder) == ("digits", 1, tmp_path)
    assert found.settings.name == "digits"
    assert found.settings.instances == 4


def test_a_versioned_folder_serves_every_number_ascending(tmp_path: Path) -> None:
    _make(
        tmp_path / "resnet",
        "10/model.onnx",
        "2/net.xml",
        "2/net.bin",
        "latest/model.onnx",
        ".git/model.onnx",
        "README.md",
    )
    found = _find(tmp_path / "resnet")
    assert _shape(found) == [("resnet", 2, "net.xml"), ("resnet", 10, "model.onnx")]
    assert {one.folder for one in found} == {tmp_path / "resnet"}


def test_a_model_of_a_folder_of_models_may_be_called_by_a_number(tmp_path: Path) -> None:
    _make(tmp_path, "7/1/net.onnx", "8/1/model.onnx", "8/2/model.onnx", "resnet/1/model.onnx")
    assert _shape(_find(tmp_path)) == [
        ("7", 1, "net.onnx"),
        ("8", 1, "model.onnx"),
        ("8", 2, "model.onnx"),
        ("resnet", 1, "model.onnx"),
    ]
    assert _shape(_find(tmp_path / "7")) == [("7", 1, "net.onnx")]


def test_a_version_may_have_numbered_folders_in_it(tmp_path: Path) -> None:
    _make(tmp_path / "m", "1/model.py", "1/2024/words.txt", "2/saved_model.pb", "2/0/more")
    assert _shape(_find(tmp_path / "m")) == [("m", 1, "model.py"), ("m", 2, "saved_model.pb")]


def test_a_pt_beside_another_model_is_taken_for_its_weights(tmp_path: Path) -> None:
    _make(tmp_path, "a.pt", "a.onnx", "b.pt", "b.py", "c/c.pt", "c/1/last.pt", "c/1/model.onnx")
    _make(tmp_path, "c/2/model.pt")
    assert _shape(_find(tmp_path)) == [
        ("a", 1, "a.onnx"),
        ("b", 1, "b.pt"),
        ("c", 1, "model.onnx"),
        ("c", 2, "model.pt"),
    ]
    assert _shape(_find(tmp_path / "a.pt")) == [("a", 1, "a.pt")]


def test_a_folder_of_models(tmp_path: Path) -> None:
    _make(tmp_path, "b/1/model.onnx", "a.fake", "docs/notes.txt", "labels.txt")
    assert _shape(_find(tmp_path)) == [("a", 1, "a.fake"), ("b", 1, "model.onnx")]


def test_a_file_whose_name_is_no_text_is_named_all_the_same(tmp_path: Path) -> None:
    _make(tmp_path, "a/1/model.onnx")
    (tmp_path / "a/1/model.onnx").rename(os.fsdecode(bytes(tmp_path) + b"/a/1/mod\xff.onnx"))
    assert "a/1/mod\\udcff.onnx: its name is not UTF-8 text" in _error(tmp_path / "a")


def test_a_name_of_its_own(tmp_path: Path) -> None:
    _make(tmp_path, "a/1/model.onnx", "a/2/model.onnx", "one/b.onnx")
    named = ModelSettings(path=tmp_path / "a", name="x")
    assert [one.name for one in _find(named)] == ["x", "x"]
    assert _shape(_find(ModelSettings(path=tmp_path / "one", name="y"))) == [("y", 1, "b.onnx")]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(tmp_path, "a.onnx", "m/1/model.onnx")
    monkeypatch.chdir(tmp_path / "m")
    assert _find(Path("../a.onnx"))[0].path.is_absolute()
    assert _shape(_find(Path()))[0] == ("m", 1, "model.onnx")
    monkeypatch.chdir(tmp_path / "m/1")
    assert _shape(_find(Path("..")))[0] == ("m", 1, "model.onnx")


def test_links_have_names_of_their_own_and_what_is_above_them_is_above_their_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path, "m/1/model.onnx", "n/1/model.onnx")
    (tmp_path / "n/link").symlink_to(tmp_path / "m")
    (tmp_path / "n/inner").symlink_to(tmp_path / "m/1")
    monkeypatch.chdir(tmp_path / "n")
    assert _shape(_find(Path("link"))) == [("link", 1, "model.onnx")]
    assert _shape(_find(Path("inner/.."))) == [("m", 1, "model.onnx")]


# -- the card ------------------------------------------------------------------------------------


def test_the_card_lies_under_the_entry_and_over_the_defaults(tmp_path: Path) -> None:
    _make(tmp_path, "a/1/model.onnx")
    (tmp_path / "a" / "card.yaml").write_text("slo_ms: 20\nmax_batch: 8\nlabels: names.txt\n")
    (tmp_path / "a" / "names.txt").write_text("cat\n\ndog\r\n\n")
    (found,) = _find(
        ModelSettings(path=tmp_path / "a", max_batch=4),
        defaults=ModelSettings(slo_ms=50, threads=2),
    )
    settings = found.settings
    assert (settings.slo_ms, settings.max_batch, settings.threads) == (20, 4, 2)
    assert settings.instances == 2
    assert found.labels == ("cat", "", "dog")


def test_a_version_may_have_a_card_of_its_own(tmp_path: Path) -> None:
    _make(tmp_path, "a/1/model.onnx", "a/2/model.onnx")
    (tmp_path / "a" / "card.yaml").write_text("slo_ms: 1")
    (tmp_path / "a" / "2" / "card.yaml").write_text("slo_ms: 2")
    assert [one.settings.slo_ms for one in _find(tmp_path / "a")] == [1, 2]


def test_a_bad_card_names_file_line_and_key(tmp_path: Path) -> None:
    _make(tmp_path, "a.onnx")
    card = tmp_path / "card.yaml"
    card.write_text("slo_ms: 1\nmax_bach: 2\nbackend: openvino\n")
    message = _error(tmp_path / "a.onnx", kind=SettingsError)
    assert message.splitlines()[0] == f"{card}:2: max_bach: unknown key; did you mean `max_batch`?"
    assert message.splitlines()[1].startswith(f"{card}:3: backend: unknown key; known here: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b" \n", "is empty"), (b"\xff", "is not UTF-8")],
)
def test_a_bad_labels_file(tmp_path: Path, content: bytes | None, words: str) -> None:
    _make(tmp_path, "a.onnx")
    labels = tmp_path / "names.txt"
    if content is not None:
        labels.write_bytes(content)
    message = _error(ModelSettings(path=tmp_path / "a.onnx", labels=labels))
    assert message.startswith(f"model 'a': labels file {labels}: {words}")


# -- what is refused -----------------------------------------------------------------------------


def test_nothing_named() -> None:
    assert "nothing to serve" in _error(kind=SettingsError)
    assert "`path` must be given" in _error(ModelSettings(name="a"), kind=SettingsError)


def test_every_bad_model_is_named(tmp_path: Path) -> None:
    _make(tmp_path, "notes.txt")
    assert _error(tmp_path / "no.onnx", tmp_path / "notes.txt").splitlines() == [
        f"{tmp_path}/no.onnx: no such file or folder",
        f"{tmp_path}/notes.txt: not a model file; known are {KNOWN}, and folders with {SAVED}",
    ]


def test_a_file_of_weights_is_answered_with_what_to_write_instead(tmp_path: Path) -> None:
    _make(tmp_path, "net.pth")
    said = _error(tmp_path / "net.pth")
    assert said.endswith("saved_model.pb; PyTorch's are to be written as .pt2: see docs/models.md")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            (),
            f"looked for a model file ({KNOWN}), version folders (1/model.onnx, 1/{SAVED}), or ",
        ),
        (("x/notes.txt", "b.pth"), "; found b.pth, x/"),
        (
            tuple(f"{n}.txt" for n in "abcdefghij"),
            "; found a.txt, b.txt, c.txt, d.txt, e.txt, f.txt",
        ),
        (
            ("1/model.pth",),
            f"/1: no model file ({KNOWN}, {SAVED}) here; found model.pth",
        ),
        (("1/a.onnx", "1/b.onnx"), "/1: has 2 model files (a.onnx, b.onnx); keep one a version"),
        (("1/a.onnx", "b.onnx"), "has version folders and model files (b.onnx); keep one kind"),
        (("1/a.onnx", "01/a.onnx"), "version 1 is there twice: 01/ and 1/"),
        (("m/1/notes.txt",), "/m/1: no model file"),
        (("a b.onnx",), "'a b' cannot be a model's name"),
        (("a.onnx", "a.fake"), "two models are called 'a'"),
    ],
)
def test_folders_that_cannot_be_served(tmp_path: Path, files: tuple[str, ...], words: str) -> None:
    assert words in _error(_make(tmp_path, *files))


def test_all_that_is_wrong_in_a_folder_of_models_is_told_at_once(tmp_path: Path) -> None:
    files = ("a b/1/m.onnx", "two words.onnx", "good/1/m.onnx", "m/1/notes.txt", "ö/1/m.onnx")
    told = _error(_make(tmp_path, *files)).splitlines()
    named = [
        f"{tmp_path}/{name}" for name in ("m/1", "a b/1/m.onnx", "two words.onnx", "ö/1/m.onnx")
    ]
    assert [line.split(": ")[0] for line in told] == named


def test_one_name_for_several_models_of_a_folder(tmp_path: Path) -> None:
    _make(tmp_path, "a.onnx", "b.onnx")
    message = _error(ModelSettings(path=tmp_path, name="x"))
    assert "cannot all be called 'x'" in message


def test_two_models_of_one_name(tmp_path: Path) -> None:
    _make(tmp_path, "x/a/1/m.onnx", "x/a/2/m.onnx", "y/a/3/m.onnx", "y/a/4/m.onnx")
    message = _error(tmp_path / "x" / "a", tmp_path / "y" / "a")
    assert message.count("two models are called 'a'") == 1
    assert f"{tmp_path}/x/a/1/m.onnx and {tmp_path}/y/a/" in message
    assert "two models" in _error(tmp_path / "x" / "a", tmp_path / "x" / "a")


def test_a_broken_link_and_a_folder_called_like_a_model(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").symlink_to(tmp_path / "gone")
    message = _error(tmp_path)
    assert message == f"{tmp_path}/1/model.onnx: cannot be read: No such file or directory"
    (tmp_path / "odd.onnx").mkdir()
    assert "nothing to serve here" in _error(tmp_path / "odd.onnx")


def test_what_is_lost_and_found_on_a_disk_is_passed_over(tmp_path: Path) -> None:
    _make(tmp_path, "m/1/a.onnx", "lost+found/1/a.onnx")
    assert [one.name for one in find(Settings(models=(ModelSettings(path=tmp_path),)))] == ["m"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_and_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    _make(tmp_path, "a.onnx", "m/1/a.onnx")
    (tmp_path / "a.onnx").chmod(0)
    (tmp_path / "m").chmod(0)
    assert "Permission denied" in _error(tmp_path / "a.onnx")
    assert "Permission denied" in _error(tmp_path / "m")
    (tmp_path / "m").chmod(0o700)


def test_version_labels_stand_for_versions_that_are_there(tmp_path: Path) -> None:
    _make(tmp_path / "m", "1/model.onnx", "3/model.onnx")
    labels = {"stable": 1, "canary": 3}
    found = _find(ModelSettings(path=tmp_path / "m", version_labels=labels))
    assert [one.settings.version_labels for one in found] == [labels, labels]
    entry = ModelSettings(path=tmp_path / "m", version_labels={"stable": 1, "canary": 2})
    assert _error(entry, kind=SettingsError) == (
        "model 'm': version_labels: 'canary' stands for version 2, which is not served; "
        "versions: 1, 3"
    )


def test_the_default_model_must_be_there(tmp_path: Path) -> None:
    _make(tmp_path, "a.onnx")
    with pytest.raises(SettingsError, match="there is no model 'b'; models: a"):
        _find(tmp_path / "a.onnx", server=ServerSettings(default_model="b"))
    assert _find(tmp_path / "a.onnx", server=ServerSettings(default_model="a"))


# -- cores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quota", "expected"), [("50000 100000", 1), ("100000 100000", 1)])
def test_a_quota_bounds_the_cores(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path / "cpu.max") == expected


@pytest.mark.parametrize("quota", ["max 100000\n", "", None])
def test_without_a_quota_the_affinity_counts(tmp_path: Path, quota: str | None) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path / "cpu.max") == len(os.sched_getaffinity(0))


def test_a_folder_with_a_saved_model_is_one(tmp_path: Path) -> None:
    for place in ("plain/1", "nested/1/model.savedmodel", "flat"):
        _make(tmp_path, f"{place}/saved_model.pb", f"{place}/variables/variables.index")
    found = _find(tmp_path)
    assert {one.name: one.path.relative_to(tmp_path).as_posix() for one in found} == {
        "flat": "flat/saved_model.pb",
        "nested": "nested/1/model.savedmodel/saved_model.pb",
        "plain": "plain/1/saved_model.pb",
    }
    assert [one.name for one in _find(tmp_path / "flat")] == ["flat"]


@pytest.mark.parametrize("place", ["m/1/model.savedmodel", "m/1", "m"])
def test_a_card_lies_in_any_folder_around_a_saved_model(tmp_path: Path, place: str) -> None:
    _make(tmp_path, "m/1/model.savedmodel/saved_model.pb")
    (tmp_path / place / "card.yaml").write_text("slo_ms: 77\n")
    (tmp_path / "m/config.pbtxt").write_text("max_batch_size: 3")
    (found,) = _find(tmp_path)
    assert (found.settings.slo_ms, found.settings.max_batch) == (77, ModelSettings().max_batch)


def test_an_onnx_model_of_several_files_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    """As Triton has one above 2 GB; what else the folder is called, its file is ``model.onnx``."""
    _make(tmp_path, "m/1/model.onnx/model.onnx", "m/1/model.onnx/weights", "n/1/net.onnx/net.onnx")
    (found,) = _find(tmp_path / "m")
    assert (found.path, found.folder) == (tmp_path / "m/1/model.onnx/model.onnx", tmp_path / "m")
    assert "no model file" in _error(tmp_path / "n")
    _make(tmp_path, "m/1/large.onnx/model.onnx")
    assert "has 2 model files (large.onnx/, model.onnx/); keep one" in _error(tmp_path / "m")
    for name in ("large.onnx", "model.onnx"):
        (tmp_path / "m/config.pbtxt").write_text(f"default_model_filename: '{name}'")
        assert [one.path.parent.name for one in _find(tmp_path / "m")] == [name]


def test_triton_may_name_the_folder_of_a_saved_model(tmp_path: Path) -> None:
    _make(tmp_path, "m/1/model.onnx", "m/1/model.savedmodel/saved_model.pb", "m/config.pbtxt")
    for name, file in (("model.savedmodel", "saved_model.pb"), ("model.onnx", "model.onnx")):
        (tmp_path / "m/config.pbtxt").write_text(f"default_model_filename: '{name}'")
        assert _shape(_find(tmp_path)) == [("m", 1, file)]


def test_a_card_takes_the_place_of_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    _make(tmp_path, "m/1/model.onnx", "m/1/model.pt")
    (tmp_path / "m/config.pbtxt").write_text("default_model_filename: 5")
    assert "should be text in quotes" in _error(tmp_path / "m", kind=SettingsError)
    (tmp_path / "m/card.yaml").write_text("max_batch: 4")
    assert [one.path.name for one in _find(tmp_path / "m")] == ["model.onnx"]


def test_a_script_beside_models_is_none_but_model_py_is_in_a_version(tmp_path: Path) -> None:
    _make(tmp_path, "train.py", "a.onnx", "code/1/model.py", "code/1/weights.onnx", "code/make.py")
    found = _find(tmp_path)
    assert [one.path.name for one in found] == ["a.onnx", "model.py"]
    named = _find(tmp_path / "train.py")
    assert [one.name for one in named] == ["train"]


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ("default_model_filename: 'model.onnx'", "model.onnx"),
        ("backend: 'onnxruntime'", "model.onnx"),
        ("platform: 'onnxruntime_onnx'", "model.onnx"),
        ("backend: 'onnxruntime' default_model_filename: 'model.py'", "model.py"),
        ("max_batch_size: 4", "model.py"),
    ],
)
def test_a_script_is_not_run_where_triton_s_configuration_names_another_model(
    tmp_path: Path, said: str, file: str
) -> None:
    _make(tmp_path, "m/1/model.onnx", "m/1/model.py", "m/config.pbtxt")
    (tmp_path / "m/config.pbtxt").write_text(said)
    assert _shape(_find(tmp_path)) == [("m", 1, file)]
    (tmp_path / "m/card.yaml").write_text("max_batch: 4")  # takes the place of all that
    assert _shape(_find(tmp_path)) == [("m", 1, "model.py")]


def test_a_script_alone_is_not_the_model_of_a_framework(tmp_path: Path) -> None:
    _make(tmp_path, "m/1/model.py", "m/config.pbtxt")
    (tmp_path / "m/config.pbtxt").write_text("backend: 'pytorch'")
    assert "no model file" in _error(tmp_path / "m")


# -- which versions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "served"),
    [
        ("all", [1, 2, 10]),
        ("latest", [10]),
        ("latest:2", [2, 10]),
        ({"latest": 9}, [1, 2, 10]),
        ("specific:1,10", [1, 10]),
        ({"specific": [2]}, [2]),
    ],
)
def test_versions_says_which_are_served(tmp_path: Path, said: Any, served: list[int]) -> None:
    _make(tmp_path, "a/1/model.onnx", "a/2/model.onnx", "a/10/model.onnx")
    path = tmp_path / "a"
    entry = ModelSettings.model_validate({"path": path, "versions": said})
    assert [one.version for one in _find(entry)] == served
    defaults = ModelSettings.model_validate({"versions": said})
    assert [one.version for one in _find(path, defaults=defaults)] == served


def test_a_specific_version_that_is_not_there_is_named(tmp_path: Path) -> None:
    _make(tmp_path, "a/1/model.onnx", "a/2/model.onnx")
    entry = ModelSettings.model_validate({"path": tmp_path / "a", "versions": "specific:1,3"})
    assert "model 'a' has no version 3, which `versions` names; it has 1, 2" in _error(entry)


@pytest.mark.parametrize(
    "said",
    [
        *("", "newest", "all:1", "latest:", "latest:0", "latest:1,2", "latest:x", "specific:"),
        *("specific:1,,2", "specific:1,x", {"latest": 1, "specific": [1]}, {"specific": []}, 3),
    ],
)
def test_a_bad_version_policy_is_refused(said: Any) -> None:
    with pytest.raises(ValidationError):
        ModelSettings.model_validate({"versions": said})


def test_a_comment_in_a_configuration_is_no_change(tmp_path: Path) -> None:
    _make(tmp_path / "m", "1/model.onnx")
    config = tmp_path / "m/config.pbtxt"
    config.write_text("response_cache { enable: true }\n")
    before = _find(tmp_path / "m")
    config.write_text(f"# said again\n{config.read_text()}")
    after = _find(tmp_path / "m")
    assert before == after
    assert before[0].remarks != after[0].remarks


def test_flags_of_every_model_hold_for_one_that_no_entry_names(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    model = tmp_path / "other" / "m.fake"
    model.write_text("{}")
    (tmp_path / "other" / "m.card.yaml").write_text("slo_ms: 3")
    named = Settings(models=(ModelSettings(path=tmp_path / "a.fake"),))
    settings = named.with_every_model({"slo_ms": 7, "instances": 1})
    (found,) = find_named(settings, "new", folder=model)
    assert (found.name, found.settings.slo_ms, found.settings.instances) == ("new", 7, 1)
