from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import headrace
from headrace import cli
from headrace.errors import ModelLoadError, StartError
from headrace.settings import BackendName, ModelSettings, Precision, Settings
from headrace.statuses import STATUSES
from tests.unit.tuned.cards import put

SOURCE = Path(headrace.__file__).resolve().parents[1]
Serve = Callable[..., int]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables of ours, and a working directory without a settings file."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("HEADRACE_"):
            monkeypatch.delenv(name)


def _served(monkeypatch: pytest.MonkeyPatch, serve: Serve | None = None) -> list[Settings]:
    """Put a recorder where the server is composed, and return what it is called with."""
    seen: list[Settings] = []

    def record(settings: Settings, console: object, beginning: object) -> int:
        seen.append(settings)
        return 0

    app = ModuleType("headrace.app")
    vars(app)["serve"] = serve or record
    monkeypatch.setitem(sys.modules, "headrace.app", app)
    return seen


# -- serve ---------------------------------------------------------------------------------------


def test_serve_hands_the_flags_over(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _served(monkeypatch)
    words = (
        "serve --listen 0.0.0.0:8500 a.onnx --listen 0.0.0.0:8501 --port 0 --host ::1 "
        "--name digits --slo-ms 20 --backend onnxruntime --precision bf16 --instances 2 "
        "--threads 3 --max-batch 8 --default-model digits --log-level debug"
    )
    assert cli.main(words.split()) == 0
    (settings,) = seen
    assert settings.server.port == 0
    assert settings.server.host == "::1"
    assert settings.server.listen == ("0.0.0.0:8500", "0.0.0.0:8501")
    assert (settings.server.default_model, settings.server.log_level) == ("digits", "debug")
    assert settings.models == (
        ModelSettings(
            path=Path("a.onnx"),
            name="digits",
            slo_ms=20,
            backend=BackendName.ONNXRUNTIME,
            precision=Precision.BF16,
            instances=2,
            threads=3,
            max_batch=8,
        ),
    )


@pytest.mark.parametrize(
    "words", ["a.onnx --slo-ms 50 b.onnx", "a.onnx b.onnx --slo-ms 50", "--slo-ms 50 a.onnx b.onnx"]
)
def test_paths_may_stand_between_flags(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    seen = _served(monkeypatch)
    assert cli.main(["serve", *words.split()]) == 0
    assert [str(model.path) for model in seen[0].models] == ["a.onnx", "b.onnx"]


def test_behind_two_dashes_a_path_may_begin_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _served(monkeypatch)
    assert cli.main(["serve", "a.onnx", "--slo-ms", "50", "--", "-b.onnx"]) == 0
    assert [str(model.path) for model in seen[0].models] == ["a.onnx", "-b.onnx"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serve a.onnx --slo-ms 50 b.onnx --slo", "--slo; did you mean --slo-ms?"),
        ("serve a.onnx --slo_ms=50", "--slo_ms=50; did you mean --slo-ms?"),
        ("serve a.onnx --nothing=1", "--nothing=1"),
        ("serve a.onnx -p 1", "-p"),
        ("tune a.onnx --slo-ms 50", "--slo-ms; did you mean --slo?"),
        ("models load --ur x a", "--ur; did you mean --url?"),
        ("models --urll x", "--urll; did you mean --url?"),
        ("version now", "now"),
    ],
)
def test_what_no_command_knows_is_named_and_what_was_meant(
    capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words.split())
    told = capsys.readouterr().err
    assert told.startswith(f"usage: headrace {words.split(maxsplit=1)[0]} ")
    assert told.endswith(f"unrecognized arguments: {said}\n")


def test_help_is_given_beside_a_flag_that_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["version", "--nothing", "--help"])
    assert capsys.readouterr().out.startswith("usage: headrace version ")


def test_every_flag_of_the_tables_is_one_of_serve() -> None:
    names = {*cli.SERVER_FLAGS, *cli.MODEL_FLAGS}
    given = vars(cli.parser().parse_args(["serve"]))
    assert names < set(given)
    assert all(given[name] is None for name in names)


def test_a_settings_file_as_path_as_option_and_by_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = _served(monkeypatch)
    (tmp_path / "headrace.yaml").write_text("models: [{path: a.onnx}]")
    for words in ("serve headrace.yaml", "serve --config headrace.yaml", "serve"):
        assert cli.main(words.split()) == 0
    assert cli.main(["serve", "b.onnx", "--config", "headrace.yaml"]) == 0
    assert [settings.models[0].path for settings in seen] == [*[Path("a.onnx")] * 3, Path("b.onnx")]


def test_variables_lie_under_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _served(monkeypatch)
    monkeypatch.setenv("HEADRACE_SERVER__PORT", "1")
    cli.main(["serve", "a.onnx"])
    cli.main(["serve", "a.onnx", "--port", "2"])
    assert [settings.server.port for settings in seen] == [1, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serve a.onnx --port x", "flag --port: server.port: 'x' should be a whole number from 0"),
        ("serve a.onnx b.onnx --name x", "--name is for one model: give exactly one PATH with it"),
        ("serve a.onnx --name=", "flag --name: models[0].name: '' should be text"),
        ("serve a.yaml b.yml", "one settings file at a time, not a.yaml, b.yml"),
        ("serve no.yaml", "no.yaml: cannot be read: No such file or directory"),
        ("check no.onnx", "no.onnx: no such file or folder"),
        ("models --watch --json", "--watch keeps a table current, --json prints one object"),
        ("check", "nothing to serve: give a PATH"),
        (
            "serve a.onnx --versions latest:0",
            "'latest:0' should be all, latest, latest:2 (from 1 on)",
        ),
    ],
)
def test_a_mistake_of_the_operator_is_a_line_and_status_2(
    words: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _served(monkeypatch)
    assert cli.main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("headrace: ")
    assert said in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "words", ["models --url localhost:1", "plan localhost:1", "load localhost:1 --model m --rate 1"]
)
def test_every_command_tells_programs_of_an_error_in_the_same_words(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody listens on port 1."""
    assert cli.main([*words.split(), "--json"]) != 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert ":1" in told["error"]
    assert told["code"] in STATUSES


def test_loads_of_a_plan_are_percents(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("0,50", "50,201", "nan"):
        with pytest.raises(SystemExit):
            cli.main(["plan", "--loads", text])
        assert (
            f"'{text}' should be percents, each over 0 and at most 200" in capsys.readouterr().err
        )


def test_errors_out_of_task_groups_and_interrupts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(error: BaseException) -> Serve:
        def serve(settings: Settings, console: object, beginning: object) -> int:
            raise error

        return serve

    group = ExceptionGroup("", [ExceptionGroup("", [StartError("one")]), ModelLoadError("two")])
    _served(monkeypatch, fail(group))
    assert cli.main(["serve", "a.onnx"]) == 2
    assert capsys.readouterr().err.splitlines() == ["headrace: one", "headrace: two"]
    _served(monkeypatch, fail(KeyboardInterrupt()))
    assert cli.main(["serve", "a.onnx"]) == 130
    _served(monkeypatch, fail(ExceptionGroup("", [StartError("one"), ValueError("bug")])))
    with pytest.raises(ExceptionGroup):
        cli.main(["serve", "a.onnx"])


# -- check and version ---------------------------------------------------------------------------


def test_check_lists_the_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").touch()
    file = tmp_path / "h.yaml"
    file.write_text("models: [{path: a.onnx, slo_ms: 5, instances: 2, name: digits}]")
    assert cli.main(["check", str(file)]) == 0
    out = capsys.readouterr().out
    assert "digits" in out
    assert out.endswith("ok\n")
    assert cli.main(["check", str(file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "ok": True,
        "problems": [],
        "models": [
            {
                "model": "digits",
                "version": 1,
                "file": str(tmp_path / "a.onnx"),
                "backend": "auto",
                "precision": "f32",
                "slo_ms": 5.0,
                "instances": 2,
                "threads": 1,
            }
        ],
        "left_out": {},
        "untuned": {},
    }


def test_check_tells_of_a_tuned_card_that_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "a.onnx"
    model.write_bytes(b"")
    put(model, model_digest="sha256:0")
    assert cli.main(["check", str(model)]) == 0
    assert "tuned card left aside: " in capsys.readouterr().out
    assert cli.main(["check", str(model), "--json"]) == 0
    assert "files have changed" in json.loads(capsys.readouterr().out)["untuned"]["a"]


def test_check_names_each_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "h.yaml"
    file.write_text("server:\n  prot: 1\nmodels:\n  - path: a.onnx\n    threads: 0\n")
    problems = [
        f"{file}:2: server.prot: unknown key; did you mean `port`?",
        f"{file}:5: models[0].threads: 0 should be a whole number from 1 to 256",
    ]
    assert cli.main(["check", str(file)]) == 2
    assert capsys.readouterr().err.splitlines() == [f"headrace: {one}" for one in problems]
    assert cli.main(["check", "--json", str(file)]) == 2
    assert json.loads(capsys.readouterr().out) == {"ok": False, "problems": problems, "models": []}


def test_check_names_the_entry_of_a_model_that_cannot_be_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.onnx", "two words.onnx", "b/1/model.onnx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    file = tmp_path / "h.yaml"
    file.write_text(
        "models:\n"
        "  - path: gone.onnx\n"
        "  - {path: a.onnx, labels: gone.txt}\n"
        "  - path: two words.onnx\n"
        "  - {path: b, version_labels: {stable: 7}}\n"
        "  - {path: a.onnx, name: c}\n"
        "  - path: b/1/model.onnx\n"
        "    name: c\n"
    )
    assert cli.main(["check", str(file)]) == 2
    told = [line.removeprefix(f"headrace: {file}:") for line in _lines(capsys)]
    for line, beginning in zip(
        told,
        (
            f"2: models[0]: {tmp_path}/gone.onnx: no such file or folder",
            f"3: models[1]: model 'a': labels file {tmp_path}/gone.txt: cannot be read: ",
            f"4: models[2]: {tmp_path}/two words.onnx: 'two words' cannot be a model's name, ",
            "7: models[5]: two models are called 'c': ",
            "5: models[3]: model 'b': version_labels: 'stable' stands for version 7, ",
        ),
        strict=True,
    ):
        assert line.startswith(beginning)
    assert cli.main(["check", str(tmp_path / "gone.onnx")]) == 2
    assert _lines(capsys) == [f"headrace: {tmp_path}/gone.onnx: no such file or folder"]


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"headrace {headrace.__version__}\n"


def test_the_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert f'version = "{headrace.__version__}"' in project.read_text().splitlines()


@pytest.mark.parametrize(
    ("imports", "unwanted"),
    [
        ("headrace.loader.nursery", {"numpy", "pydantic", "structlog", "yaml"}),
        ("headrace.app", {"numpy", "ml_dtypes", "openvino", "onnxruntime"}),
    ],
)
def test_a_start_imports_only_what_it_needs(imports: str, unwanted: set[str]) -> None:
    assert _imported(f"import {imports}") & unwanted == set()


def test_help_imports_no_numerical_library() -> None:
    unwanted = {"numpy", "openvino", "onnxruntime", "rich", "asyncio"}
    imported = _imported("from headrace.cli import parser; parser().format_help()")
    assert imported & unwanted == set()


def _imported(code: str) -> set[str]:
    """The modules that are there after this code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=SOURCE,
    )
    return set(done.stdout.split())


def test_check_tells_weights_from_torchscript(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {
        "weights": ["weights/data.pkl", "weights/data/0"],
        "script": ["script/data.pkl", "script/code/__torch__.py", "script/constants.pkl"],
    }
    for model, inside in names.items():
        with zipfile.ZipFile(tmp_path / f"{model}.pt", "w") as archive:
            for name in inside:
                archive.writestr(name, b"")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "script.pt").read_bytes()[:100])
    (tmp_path / "old.pt").write_bytes(b"\x80\x02")
    assert cli.main(["check", str(tmp_path / "script.pt")]) == 0
    assert cli.main(["check", str(tmp_path / "cut.pt")]) == 0  # which the engine tells
    for model in ("weights", "old"):
        assert cli.main(["check", str(tmp_path / f"{model}.pt")]) == 2
        told = capsys.readouterr().err
        assert f"{model}.pt: it is no TorchScript. Weights or a module of torch.save" in told
