from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from headrace import cli
from headrace.errors import SettingsError
from headrace.importers.gather import gather
from headrace.importers.rules import Fate
from headrace.layers import load

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def keys(*paths: str) -> list[dict[str, object]]:
    found = gather(map(Path, paths))
    return [{k: v for k, v in one.keys.items() if k != "versions"} for one in found]


def test_it_writes_what_the_golden_file_has(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["import", "models", "models.config", "batching.config", "--out", "headrace.yaml"]
    assert cli.main([*words, "--force"]) == 0
    written = Path("headrace.yaml").read_text().splitlines()
    assert written == (GOLDEN / "headrace.yaml").read_text().splitlines()
    assert "3 of 4 models imported" in capsys.readouterr().out


def test_what_it_writes_are_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import", "models", "models.config", "batching.config"]) == 0
    printed = capsys.readouterr()
    Path("new.yaml").write_text(printed.out)
    settings = load(Path("new.yaml"), {}, {})
    assert [model.name for model in settings.models] == ["densenet", "vad", "half_plus_two"]
    assert settings.models[0].labels == Path.cwd() / "models/densenet/labels.txt"
    assert settings.defaults.max_queue == 12800
    assert "is now" in printed.err


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import", "models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in found["models"]] == ["densenet", "vad"]
    assert [one["name"] for one in found["left_out"]] == ["chain"]
    unknown = [note for note in found["notes"] if note["fate"] == "unknown"]
    assert [(note["place"], note["field"]) for note in unknown] == [
        ("models/densenet/config.pbtxt:27", "optimisation")
    ]


def test_it_replaces_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("there.yaml").write_text("mine")
    assert cli.main(["import", "models", "--out", "there.yaml"]) == 2
    assert "there.yaml: is there already; --force replaces it" in capsys.readouterr().err
    assert Path("there.yaml").read_text() == "mine"
    assert cli.main(["import", "models", "--out", "there.yaml", "--force"]) == 0
    assert yaml.safe_load(Path("there.yaml").read_text())["models"]
    assert cli.main(["import", "models", "--out", "nowhere/there.yaml"]) == 2


def test_a_link_stays_one_and_no_device_becomes_a_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("inner").mkdir()
    for target in ("there.yaml", "inner/new.yaml"):
        Path("there.yaml").write_text("mine")
        Path("link.yaml").unlink(missing_ok=True)
        Path("link.yaml").symlink_to(target)
        assert cli.main(["import", "models", "--out", "link.yaml", "--force"]) == 0
        assert Path("link.yaml").is_symlink()
        assert load(Path(target), {}, {}).models[0].path == Path.cwd() / "models/densenet"
    os.mkfifo("pipe")
    Path("to-pipe").symlink_to("pipe")
    for irregular in ("pipe", "to-pipe"):  # as root, without the check, a device would be gone
        capsys.readouterr()
        assert cli.main(["import", "models", "--out", irregular, "--force"]) == 2
        assert f"{irregular}: is not a regular file; without --out" in capsys.readouterr().err
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("models.config/x.yaml", "cannot be written: Not a directory"),
        ("nowhere/x.yaml", "cannot be written: No such file or directory"),
        (".", "is a folder; name a file in it"),
        ("models", "is a folder; name a file in it"),
        ("a" * 300, "cannot be written: File name too long"),
        ("a" * 253, "cannot be written: File name too long"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_told(
    capsys: pytest.CaptureFixture[str], out: str, said: str, force: list[str]
) -> None:
    before = sorted(Path().rglob("*"))
    assert cli.main(["import", "models", "--out", out, *force]) == 2
    assert f"{out}: {said}" in capsys.readouterr().err
    assert sorted(Path().rglob("*")) == before


def test_one_model_or_one_file_is_enough() -> None:
    (folder,) = keys("models/vad")
    (file,) = keys("models/vad/config.pbtxt")
    assert folder == file
    assert file["path"] == str(Path.cwd() / "models/vad")


def test_a_folder_above_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("models/plain").absolute()
    (folder / "1").mkdir(parents=True)
    monkeypatch.chdir(folder / "1")
    assert keys("..") == [{"name": "plain", "path": str(folder)}]


@pytest.mark.parametrize("name", ["~nobody", "~root", "~"])
def test_a_folder_named_like_a_home_is_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("models/vad", name)
    assert cli.main(["import", f"./{name}", "--out", "new.yaml"]) == 0
    (model,) = load(Path("new.yaml"), {}, {}).models
    assert model.path == Path.cwd() / name
    assert "1 of 1 models imported" in capsys.readouterr().out


def test_a_home_that_there_is_not_is_a_name_as_in_a_shell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("new.yaml").write_text("models: [{path: ~nobody-of-that-name}]")
    (model,) = load(Path("new.yaml"), {}, {}).models
    assert model.path is not None
    assert Path(model.path).absolute() == Path.cwd() / "~nobody-of-that-name"
    assert cli.main(["check", "new.yaml"]) == 2
    assert "~nobody-of-that-name: no such file or folder" in capsys.readouterr().err
    assert cli.main(["import", "~nobody-of-that-name"]) == 2
    assert "~nobody-of-that-name: cannot be read" in capsys.readouterr().err


def test_a_model_without_a_configuration_is_one_all_the_same() -> None:
    Path("models/plain/1").mkdir(parents=True)
    (found,) = keys("models/plain")
    assert found == {"name": "plain", "path": str(Path.cwd() / "models/plain")}


def test_a_model_with_a_card_is_imported_to_be_served_by_that() -> None:
    net = Path("cards/net")
    (net / "1").mkdir(parents=True)
    (net / "config.pbtxt").write_text(
        'name: "other" backend: "python" max_batch_size: 4 version_policy { latest {} }'
    )
    for place in (net, net / "1"):
        (place / "card.yaml").write_text("max_batch: 32\n")
        (read,) = gather([Path("cards")])
        assert read.left_out is None
        path = str(net.absolute())
        assert read.keys == {"name": "other", "path": path, "versions": {"latest": 1}}
        assert {note.field for note in read.notes if note.fate is Fate.NOT_NEEDED} == {
            "backend",
            "max_batch_size",
        }
        (place / "card.yaml").unlink()
    (read,) = gather([Path("cards")])
    assert read.left_out is not None


def test_a_model_may_be_called_by_a_number() -> None:
    for file in ("7/1/model.onnx", "7/config.pbtxt", "8/1/net.onnx", "resnet/1/model.onnx"):
        path = Path("numbers", file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [one["name"] for one in keys("numbers")] == ["7", "8", "resnet"]
    assert [one["name"] for one in keys("numbers/7")] == ["7"]


def test_a_file_is_known_by_what_is_in_it() -> None:
    shutil.copy("models/vad/config.pbtxt", "models/vad/copy.txt")
    assert keys("models/vad/copy.txt")[0]["name"] == "vad"
    Path("sizes.txt").write_text("allowed_batch_sizes: 4")
    assert gather([Path("sizes.txt")])[0].shared


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("none", "none: cannot be read: No such file"),
        ("empty", "empty: no config.pbtxt and no models in folders here"),
        ("words.txt", "words.txt:1: none of Triton's config.pbtxt"),
        ("broken.txt", "broken.txt:2: the file ends where a } is missing"),
        ("binary.txt", "binary.txt:2: is not UTF-8 text"),
    ],
)
def test_what_cannot_be_read_ends_with_status_2(
    path: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    Path("words.txt").write_text("hello: 'there'")
    Path("broken.txt").write_text("input {\n")
    Path("binary.txt").write_bytes(b"a: 1\n\xff")
    assert cli.main(["import", "models", path]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.out == ""
    assert cli.main(["import", path, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert says in answer["problems"][0]
    assert not answer["ok"]


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        gather([Path("none"), Path("models/vad"), Path("models"), Path("neither")])
    lines = caught.value.message.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "none",
        "neither",
        "models/vad/config.pbtxt",
    ]
    assert "also in models/vad/config.pbtxt; import one of them" in lines[2]


def test_a_file_larger_than_any_configuration_is_refused() -> None:
    Path("large.txt").write_bytes(b"#" * (256 * 2**10 + 1))
    with pytest.raises(SettingsError, match="is larger than"):
        gather([Path("large.txt")])


def test_labels_are_taken_from_the_model_s_folder_only() -> None:
    labels = Path("models/densenet/labels.txt")
    for target in ("real.txt", "../../elsewhere.txt"):
        labels.unlink(missing_ok=True)
        Path("elsewhere.txt").write_text("a secret")
        Path("models/densenet/real.txt").write_text("cat")
        labels.symlink_to(target)
        (read,) = gather([Path("models/densenet")])
        (note,) = [note for note in read.notes if note.field == "output.label_filename"]
        if target == "real.txt":
            assert read.keys["labels"] == str(labels.absolute())
        else:
            assert "labels" not in read.keys
            assert note.fate is Fate.NOT_MAPPED
            assert "outside of the model's folder" in note.words
