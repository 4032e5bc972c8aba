from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.accepts import AcceptedText
from headrace.documents import Document, parse
from headrace.errors import SettingsError
from headrace.layers import listing, load, origins, resolve
from headrace.loader.card import read_card
from headrace.settings import BackendName, Card, ModelSettings, ResultStep, Settings
from headrace.verify import Verify
from headrace.versions import Versions


def _file(folder: Path, text: str) -> Path:
    path = folder / "headrace.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _problems(file: Path | None, environment: dict[str, str], flags: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(file, environment, flags)
    return caught.value.message.splitlines()


# -- the order -----------------------------------------------------------------------------------


def test_nothing_said_gives_the_defaults() -> None:
    assert load(None, {}, {}) == Settings()


@pytest.mark.parametrize(
    ("file", "variable", "flag", "expected"),
    [
        (None, None, None, 8000),
        (1, None, None, 1),
        (1, "2", None, 2),
        (1, "2", "3", 3),
        (None, "2", None, 2),
        (1, None, "3", 3),
        (1, "", None, 1),
    ],
)
def test_flag_over_environment_over_file_over_default(
    tmp_path: Path, file: int | None, variable: str | None, flag: str | None, expected: int
) -> None:
    path = None if file is None else _file(tmp_path, f"server: {{port: {file}}}")
    environment = {} if variable is None else {"HEADRACE_SERVER__PORT": variable}
    assert load(path, environment, {"server.port": flag}).server.port == expected


def test_layers_merge_within_a_section(tmp_path: Path) -> None:
    path = _file(tmp_path, "server: {port: 1, host: a}\ndefaults: {threads: 2}")
    settings = load(path, {"HEADRACE_DEFAULTS__SLO_MS": "20"}, {"server.host": "b"})
    assert (settings.server.port, settings.server.host) == (1, "b")
    assert (settings.defaults.threads, settings.defaults.slo_ms) == (2, 20.0)


def test_a_model_flag_holds_for_every_model_and_leaves_the_callers_entries(tmp_path: Path) -> None:
    path = _file(tmp_path, "models: [{path: a.onnx, slo_ms: 5}, {path: b.onnx}]")
    models = load(path, {}, {"models.*.slo_ms": 7}).models
    assert [model.slo_ms for model in models] == [7, 7]
    entries = [{"path": "c.onnx"}]
    assert load(path, {}, {"models": entries, "models.*.threads": "2"}).models[0].threads == 2
    assert entries == [{"path": "c.onnx"}]


def test_a_model_flag_holds_for_models_that_no_entry_names(tmp_path: Path) -> None:
    path = _file(tmp_path, "models: [{path: a.onnx}]")
    every = load(path, {}, {"models.*.slo_ms": 7, "models.*.name": "a"}).every_model
    assert (every.slo_ms, every.name) == (7, None)
    assert every.model_fields_set == {"slo_ms"}


def test_paths_in_a_file_are_relative_to_it_and_others_are_left(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "server: {trace_dir: traces}\ndefaults: {labels: names.txt}\n"
        "models: [{path: a.onnx, labels: [x]}, {path: /b.onnx}]",
    )
    settings = load(path, {}, {})
    assert settings.server.trace_dir == tmp_path / "traces"
    assert settings.defaults.labels == tmp_path / "names.txt"
    assert settings.models[0].path == tmp_path / "a.onnx"
    assert settings.models[0].labels == ("x",)
    assert settings.models[1].path == Path("/b.onnx")
    assert load(None, {}, {"models": [{"path": "a.onnx"}]}).models[0].path == Path("a.onnx")


PATHS = ("access_log", "cache_dir", "trace_dir")


def test_every_path_in_a_file_is_relative_to_it_or_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    for said, expected in (
        ("some/x", tmp_path / "some/x"),
        ("~/x", Path("/home/ada/x")),
        ("/srv/x", Path("/srv/x")),
        ("file:///srv/x", Path("/srv/x")),
        ("~nobody-of-that-name/x", tmp_path / "~nobody-of-that-name/x"),
    ):
        lines = [f'  {key}: "{said}"\n' for key in PATHS if (key, said[1:2]) != ("cache_dir", "n")]
        path = _file(tmp_path, f'server:\n  model_roots: ["{said}", "s3://b/c"]\n{"".join(lines)}')
        server = load(path, {}, {}).server
        assert server.model_roots == (expected, "s3://b/c")
        assert server.access_log == server.trace_dir == expected
        assert server.cache_dir in {expected, Path("~/.cache/headrace")}


def test_what_is_kept_at_home_is_not_kept_beside_the_file_where_there_is_no_home(
    tmp_path: Path,
) -> None:
    path = _file(tmp_path, 'server: {cache_dir: "~nobody-of-that-name/x"}')
    assert load(path, {}, {}).server.cache_dir == Path("~nobody-of-that-name/x")


@pytest.mark.parametrize("key", [*PATHS, "model_roots"])
def test_what_can_be_no_path_is_named(tmp_path: Path, key: str) -> None:
    said = ['"a\\0b"', "5"]
    if key == "model_roots":
        said = [f"[{one}]" for one in said]
    (problem,) = _problems(_file(tmp_path, f"server:\n  {key}: {said[0]}"), {}, {})
    assert f"{key}: 'a\\x00b' is no path: it has a zero byte" in problem
    (problem,) = _problems(_file(tmp_path, f"server:\n  {key}: {said[1]}"), {}, {})
    where = f"{tmp_path}/headrace.yaml:2: server.{key}"
    assert problem.startswith((f"{where}: 5 should be", f"{where}[0]: 5 should be"))


@pytest.mark.parametrize(
    ("variable", "text", "key", "expected"),
    [
        (
            "HEADRACE_SERVER__LISTEN",
            "[::1]:8500, 0.0.0.0:8501",
            "listen",
            ("[::1]:8500", "0.0.0.0:8501"),
        ),
        ("HEADRACE_SERVER__LISTEN", '["a:1"]', "listen", ("a:1",)),
        (
            "HEADRACE_SERVER__CORS_ORIGINS",
            "https://shop.example, http://localhost:3000",
            "cors_origins",
            ("https://shop.example", "http://localhost:3000"),
        ),
        ("HEADRACE_SERVER__CORS_ORIGINS", "*", "cors_origins", ("*",)),
        ("HEADRACE_SERVER__HOST", "[::1]", "host", "[::1]"),
        ("HEADRACE_SERVER__DEFAULT_MODEL", "12", "default_model", "12"),
        ("HEADRACE_SERVER__DEFAULT_MODEL", "null", "default_model", None),
        ("HEADRACE_SERVER__DRAIN_TIMEOUT_S", "1.5", "drain_timeout_s", 1.5),
    ],
)
def test_variables_are_read_by_the_type_of_their_setting(
    variable: str, text: str, key: str, expected: object
) -> None:
    assert getattr(load(None, {variable: text}, {}).server, key) == expected


@pytest.mark.parametrize("text", ["{a: [}", "{a: !!bool maybe}", "{a: " * 3000 + "1" + "}" * 3000])
def test_a_variable_that_is_no_yaml_is_named(text: str) -> None:
    (problem,) = _problems(None, {"HEADRACE_DEFAULTS__BUCKETS": text}, {})
    assert problem.startswith("environment HEADRACE_DEFAULTS__BUCKETS: '{a: ")
    assert problem.endswith(" is not valid YAML or JSON")
    assert len(problem) < 150


@pytest.mark.parametrize("text", ["shop.example", "https://shop.example/", "https://a,b", "**"])
def test_an_origin_has_a_scheme_and_no_path(text: str) -> None:
    with pytest.raises(SettingsError, match=r"should be \* or an origin, as in https://"):
        load(None, {}, {"server.cors_origins": (text,)})


@pytest.mark.parametrize(
    "text",
    [
        "collector:4318",
        "http://c:abc",
        "http://c:99999",
        "http://c:0",
        "http://:4318",
        "http://[::1",
    ],
)
def test_a_collector_has_a_scheme_a_host_and_a_port_if_any(text: str) -> None:
    with pytest.raises(SettingsError, match=r"should be as http://127\.0\.0\.1:4318"):
        load(None, {}, {"server.otlp_endpoint": text})


@pytest.mark.parametrize("text", ["http://c", "https://c:4318/below", "http://[::1]:4318"])
def test_the_place_of_a_collector_is_taken_as_it_is(text: str) -> None:
    assert load(None, {}, {"server.otlp_endpoint": text}).server.otlp_endpoint == text


def test_a_field_of_the_access_log_is_one_of_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"should be of time, method, .*, traceparent"):
        load(None, {}, {"server.access_log_fields": ("time", "colour")})


def test_variables_take_mappings_lists_and_whole_models() -> None:
    settings = load(
        None,
        {
            "HEADRACE_DEFAULTS__BUCKETS": "{ids: {1: [16, 32]}}",
            "HEADRACE_DEFAULTS__LABELS": '["cat", "dog"]',
            "HEADRACE_MODELS": json.dumps([{"path": "a.onnx"}]),
            "PATH": "/bin",
        },
        {},
    )
    assert settings.defaults.buckets == {"ids": {1: (16, 32)}}
    assert settings.defaults.labels == ("cat", "dog")
    assert settings.models[0].path == Path("a.onnx")


def test_every_setting_can_be_set_by_its_variable_alone() -> None:
    for setting in listing():
        default = setting.field.get_default(call_default_factory=True)
        text = json.dumps(default, default=str)
        assert load(None, {setting.variable: text.strip('"')}, {}) == Settings(), setting.variable


def test_yaml_anchors_and_empty_files_and_sections(tmp_path: Path) -> None:
    text = "models:\n- &a {path: a.onnx, threads: 2}\n- {<<: *a, path: b.onnx}\nserver:\n"
    models = load(_file(tmp_path, text), {}, {}).models
    assert [(model.path, model.threads) for model in models] == [
        (tmp_path / "a.onnx", 2),
        (tmp_path / "b.onnx", 2),
    ]
    assert load(_file(tmp_path, "# nothing\n"), {}, {}) == Settings()


# -- problems ------------------------------------------------------------------------------------

BAD = """\
server:
  prot: 1
  port: 70000
  listen: [somewhere]
slo_ms: 5
defaults:
  name: all
models:
  - path: a.onnx
    backend: openvin
    name: 12
    labels: 5
    pad_values: {x: .inf}
    buckets: {x: {a: [1]}}
    results:
      - output: y
        apply: sofmax
      - apply: argmax
  - 7
"""


def test_every_problem_is_named_with_file_line_key_value_and_what_is_allowed(
    tmp_path: Path,
) -> None:
    file = _file(tmp_path, BAD)
    assert _problems(file, {}, {}) == [
        f"{file}:2: server.prot: unknown key; did you mean `port`?",
        f"{file}:3: server.port: 70000 should be a whole number from 0 to 65535",
        (
            f"{file}:4: server.listen: ['somewhere'] should be ADDR:PORT, as in 127.0.0.1:8500 or "
            "[::1]:8500"
        ),
        f"{file}:5: slo_ms: unknown key here; it belongs under `defaults`",
        f"{file}:6: defaults: {{'name': 'all'}} name belongs to one model, under `models`",
        (
            f"{file}:10: models[0].backend: 'openvin' should be one of auto, "
            f"openvino, onnxruntime, tensorrt, torch, inductor, python, "
            "fake"
        ),
        f"{file}:11: models[0].name: 12 should be text or null; put it in quotes",
        f"{file}:12: models[0].labels: 5 should be a list, each text or a path or null",
        f"{file}:13: models[0].pad_values.x: inf should be a number",
        (
            f"{file}:14: models[0].buckets.x.a: the key 'a' should be a valid "
            f"integer, unable to parse "
            "string as an integer"
        ),
        (
            f"{file}:17: models[0].results[0].apply: 'sofmax' should be one of softmax, sigmoid, "
            "argmax, top_k"
        ),
        f"{file}:19: models[1]: 7 should be keys and values",
        f"{file}:18: models[0].results[1].output: must be given",
    ]


def test_a_problem_is_laid_to_the_layer_that_won(tmp_path: Path) -> None:
    file = _file(tmp_path, "server:\n  port: 1\n  host: 5\nmodels: [{path: a, threads: 1}]")
    problems = _problems(
        file,
        {"HEADRACE_SERVER__PROT": "1", "HEADRACE_SERVER__PORT": "x", "HEADRACE_QUITE": "1"},
        {"server.log_level": "loud", "models.*.threads": "0"},
    )
    assert problems == [
        (
            "environment HEADRACE_SERVER__PROT: unknown variable; "
            "did you mean `HEADRACE_SERVER__PORT`?"
        ),
        "environment HEADRACE_QUITE: unknown variable; docs/settings.md lists them all",
        f"{file}:3: server.host: 5 should be text; put it in quotes",
        (
            "environment HEADRACE_SERVER__PORT: server.port: 'x' should be a whole "
            "number from 0 to "
            "65535"
        ),
        "flag --log-level: server.log_level: 'loud' should be one of debug, info, warning, error",
        "flag --threads: models[0].threads: '0' should be a whole number from 1 to 256",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {port: 1\n", "{file}:2: is not valid YAML: expected ',' or '}}', but got"),
        ("- a\n", "{file}:1: should be keys and values, as in `port: 8000`"),
        (
            "server:\n  port: 1\n  port: 2\n",
            "{file}:3: server.port: given twice, first at {file}:2",
        ),
        ("models: [{}]", "{file}:1: models[0]: `path` must be given"),
        ("server: !!python/name:os.system x", "{file}:1: is not valid YAML: could not determine"),
        ("? [a]\n: 1", "{file}:1: is not valid YAML: a key must be text"),
        ("a: &a [*a]", "{file}: nested too deeply, or an alias refers to itself"),
        ("\x00", "{file}: is not valid YAML"),
        ("a: 2020-13-45\n", "{file}:1: a: unknown key"),
    ],
)
def test_files_that_cannot_be_read_as_settings(tmp_path: Path, text: str, expected: str) -> None:
    file = _file(tmp_path, text)
    assert _problems(file, {}, {})[0].startswith(expected.format(file=file))


def test_a_file_that_is_missing_or_not_text(tmp_path: Path) -> None:
    file = tmp_path / "no.yaml"
    assert _problems(file, {}, {}) == [f"{file}: cannot be read: No such file or directory"]
    file.write_bytes(b"a: \xff")
    assert _problems(file, {}, {}) == [f"{file}: is not UTF-8 text (byte 3)"]


def test_a_variable_that_is_not_yaml() -> None:
    assert _problems(None, {"HEADRACE_MODELS": "[{]"}, {}) == [
        "environment HEADRACE_MODELS: '[{]' is not valid YAML or JSON"
    ]


@given(st.text(max_size=60))
def test_any_text_is_settings_or_a_settings_error(text: str) -> None:
    problem = ""
    document = Document({}, {})
    try:
        document = parse(text, "file")
    except SettingsError as error:
        problem = error.message
    assert problem.startswith("file:") or not problem
    assert set(document.data) <= {key[0] for key in document.origins}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("warm_shapes: {x: []}", "warm_shapes: {'x': []} names no shape for input 'x'"),
        ("warm_shapes: {x: [[4, -1]]}", "warm_shapes.x[0][1]: -1 should be a whole number from 0"),
        ("buckets: {x: {1: []}}", "buckets: {'x': {1: []}} names no size for axis 1 of input 'x'"),
        ("buckets: {x: {1: [8, 0]}}", "buckets.x[1][1]: 0 should be a whole number from 1"),
    ],
)
def test_sizes_that_are_none_are_named(tmp_path: Path, said: str, problem: str) -> None:
    file = _file(tmp_path, f"defaults:\n  {said}\n")
    assert _problems(file, {}, {}) == [f"{file}:2: defaults.{problem}"]


EMPTY_PATHS = """\
server:
  trace_dir: ""
  cache_dir: "file://"
  access_log: ""
  model_roots: [""]
defaults:
  accepts: [{kind: text, tokenizer: ""}]
models:
  - path: ""
"""


def test_an_empty_text_is_no_path_and_never_the_folder_of_the_file(tmp_path: Path) -> None:
    file = _file(tmp_path, EMPTY_PATHS)
    null = "is no path: name one, or write null for none"
    assert _problems(file, {}, {}) == [
        f"{file}:2: server.trace_dir: '' {null}",
        f"{file}:3: server.cache_dir: 'file://' {null}",
        f"{file}:4: server.access_log: '' {null}",
        f"{file}:5: server.model_roots[0]: '' is no path: name one",
        f"{file}:7: defaults.accepts[0].tokenizer: '' {null}",
        f"{file}:9: models[0].path: '' is no path: name one",
    ]
    (problem,) = _problems(_file(tmp_path, "defaults: {labels: ''}"), {}, {})
    assert problem.endswith("'' should be a list, each text or a path or null")
    assert _problems(None, {}, {"models": [{"path": ""}], "server.trace_dir": ""}) == [
        f"flag --trace-dir: server.trace_dir: '' {null}",
        "argument: models[0].path: '' is no path: name one",
    ]


@pytest.mark.parametrize("key", PATHS)
def test_a_path_that_is_not_text_is_named(key: str) -> None:
    name = os.fsdecode(b"/var/a\xff")
    variable = f"HEADRACE_SERVER__{key.upper()}"
    (problem,) = _problems(None, {variable: name}, {})
    assert problem == (
        f"environment {variable}: server.{key}: {name!r} is not UTF-8 text: rename it"
    )


@pytest.mark.parametrize("above", [{"HEADRACE_SERVER__PORT": "9000"}, {}])
def test_a_section_that_is_none_is_named_whatever_is_set_above_it(
    tmp_path: Path, above: dict[str, str]
) -> None:
    file = _file(tmp_path, "server: [{host: 127.0.0.1}]\ndefaults: 3\n")
    flags = {"defaults.threads": "2"} if above else {}
    assert _problems(file, above, flags) == [
        f"{file}:1: server: [{{'host': '127.0.0.1'}}] should be keys and values",
        f"{file}:2: defaults: 3 should be keys and values",
    ]


def test_the_variables_of_a_kubernetes_service_are_no_settings() -> None:
    addresses = {"PORT": "tcp://10.0.0.1:80", "PORT_80_TCP": "tcp://10.0.0.1:80"}
    parts = {"PORT_80_TCP_PROTO": "tcp", "PORT_80_TCP_PORT": "80", "PORT_80_TCP_ADDR": "10.0.0.1"}
    service = {"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "80", "SERVICE_PORT_HTTP": "80"}
    told = addresses | parts | service
    for prefix in ("HEADRACE_", "HEADRACE_GPU_"):
        assert load(None, {prefix + name: text for name, text in told.items()}, {}) == Settings()
    for variable in ("HEADRACE_PORT", "HEADRACE_SERVER_PORT", "HEADRACE_PORT_80"):
        (problem,) = _problems(None, {variable: "8000"}, {})
        assert problem.startswith(f"environment {variable}: unknown variable")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("PORT", "SERVER__PORT"),
        ("SERVER_PORT", "SERVER__PORT"),
        ("LOG", "SERVER__LOG_LEVEL"),
        ("SLO_MS", "DEFAULTS__SLO_MS"),
    ],
)
def test_a_variable_without_its_group_is_answered_with_the_whole(key: str, meant: str) -> None:
    (problem,) = _problems(None, {f"HEADRACE_{key}": "9"}, {})
    assert problem.endswith(f"unknown variable; did you mean `HEADRACE_{meant}`?")


def test_groups_can_be_set_by_their_variables() -> None:
    tensor = "[{name: x, dtype: FP32, shape: [null, 4]}]"
    defaults = load(
        None,
        {
            "HEADRACE_DEFAULTS__SIGNATURE": f"{{inputs: {tensor}, outputs: {tensor}}}",
            "HEADRACE_DEFAULTS__SEQUENCE": "{state: [{input: s, output: t}]}",
            "HEADRACE_DEFAULTS__VERIFY": "{mode: shadow, difference: 0.02}",
            "HEADRACE_DEFAULTS__VERSIONS": "{latest: 2}",
        },
        {},
    ).defaults
    assert defaults.signature is not None
    assert defaults.signature.inputs[0].shape == (None, 4)
    assert defaults.sequence is not None
    assert defaults.sequence.state[0].output == "t"
    assert (defaults.verify.mode, defaults.verify.difference) == ("shadow", 0.02)
    assert defaults.versions.latest == 2


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("verify", "shadow\n", Verify(mode="shadow")),
        ("verify", " {mode: off}\n", Verify()),
        ("verify", "mode: shadow\ndifference: 0.1\n", Verify(mode="shadow", difference=0.1)),
        ("labels", "- a\n- b", ("a", "b")),
        ("versions", " latest:2 ", Versions(latest=2)),
        ("labels", "names.txt\n", Path("names.txt")),
        ("labels", ' ["a", "b"]\n', ("a", "b")),
        ("cache", "false\n", False),
        ("backend", " onnxruntime\n", BackendName.ONNXRUNTIME),
        ("buckets", "\nx:\n  1: [2, 3]\n", {"x": {1: (2, 3)}}),
        ("buckets", "  x:\n    1: [2, 3]\n  y:\n    2: [4]\n", {"x": {1: (2, 3)}, "y": {2: (4,)}}),
        ("results", "- output: y\n  apply: argmax\n", (ResultStep(output="y", apply="argmax"),)),
        ("signature", "null", None),
        ("threads", " \n", 1),
    ],
)
def test_variables_may_be_as_files_and_templates_have_them(
    name: str, text: str, expected: object
) -> None:
    variable = f"HEADRACE_DEFAULTS__{name.upper()}"
    assert getattr(load(None, {variable: text}, {}).defaults, name) == expected


TRUTHS = """\
server:
  port: true
defaults:
  slo_ms: yes
  max_batch: on
  instances: true
  threads: 1:30
  pad_values: {x: true}
  buckets: {x: {1: [8, true]}}
  versions: {latest: true}
"""


def test_true_and_false_are_no_numbers(tmp_path: Path) -> None:
    file = _file(tmp_path, TRUTHS)
    assert _problems(file, {}, {}) == [
        f"{file}:2: server.port: 'true' should be a whole number from 0 to 65535",
        f"{file}:4: defaults.slo_ms: 'yes' should be a number above 0 or null",
        f"{file}:5: defaults.max_batch: 'on' should be a whole number from 1 to 4096",
        f"{file}:6: defaults.instances: 'true' should be a whole number from 1 to 256 or null",
        f"{file}:7: defaults.threads: '1:30' should be a whole number from 1 to 256",
        f"{file}:8: defaults.pad_values.x: 'true' should be a number",
        f"{file}:9: defaults.buckets.x[1][1]: 'true' should be a whole number from 1",
        f"{file}:10: defaults.versions.latest: 'true' should be a whole number from 1 or null",
    ]


def test_words_are_words_and_zeros_before_a_number_say_nothing(tmp_path: Path) -> None:
    text = "{path: a, name: 2024-01-01, verify: {mode: off}, instances: 010, cache: no}"
    (model,) = load(_file(tmp_path, f"models: [{text}]"), {}, {}).models
    assert (model.name, model.instances, model.cache) == ("2024-01-01", 10, False)
    assert model.verify == Verify()


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        ("server: {5: 1}", ["server[5]: unknown key; known here: port, "]),
        ("server: {trace_dir: 5}", ["server.trace_dir: 5 should be a path or null; put it in"]),
        ("server: {host: true}", ["server.host: True should be text; put it in quotes"]),
        ("server: {log_level: off}", ["server.log_level: 'off' should be one of debug, "]),
        (
            f"server: {{engine_restart_limit: {10**22}}}",
            [f"server.engine_restart_limit: {10**22} should be a whole number from 1 to 10000"],
        ),
        (
            "defaults: {labels: [1, 2]}",
            [f"defaults.labels[{i}]: {i + 1} should be text; put it in quotes" for i in range(2)],
        ),
        (
            "defaults: {sequence: {state: [{input: a, output: b, batch_axis: x}]}}",
            ["defaults.sequence.state[0].batch_axis: 'x' should be a whole number from 0 to 31"],
        ),
        (
            "defaults: {version_labels: {1: 2}}",
            ["defaults.version_labels[1]: the key 1 should be a valid string; put it in quotes"],
        ),
    ],
)
def test_each_problem_is_told_once_where_it_is(
    tmp_path: Path, said: str, problems: list[str]
) -> None:
    file = _file(tmp_path, said)
    told = _problems(file, {}, {})
    assert len(told) == len(problems)
    assert all(
        line.startswith(f"{file}:1: {problem}")
        for line, problem in zip(told, problems, strict=True)
    )


# -- resolving -----------------------------------------------------------------------------------


def test_entry_over_card_over_defaults_over_built_in() -> None:
    defaults = ModelSettings(slo_ms=1, max_batch=1, threads=2, max_queue=9)
    card = Card(slo_ms=2, max_batch=2)
    entry = ModelSettings(path=Path("a.onnx"), slo_ms=3)
    settled = resolve(entry, card, defaults, cores=8)
    assert (settled.slo_ms, settled.max_batch, settled.max_queue) == (3, 2, 9)
    assert (settled.path, settled.slot_mib) == (Path("a.onnx"), 64)
    assert (settled.threads, settled.instances) == (2, 4)
    assert settled.backend is BackendName.AUTO


def test_a_tuned_card_lies_below_everything_but_what_is_built_in() -> None:
    tuned = {"max_batch": 1, "threads": 1, "instances": 3, "linger_ms": 2.0}
    defaults, card = ModelSettings(max_batch=2), Card(max_batch=4)
    entry = ModelSettings(threads=4)
    settled = resolve(entry, card, defaults, cores=8, tuned=tuned)
    assert (settled.max_batch, settled.threads) == (4, 4)
    assert (settled.instances, settled.linger_ms) == (3, 2)
    assert origins(entry, card, defaults, tuned) == {
        "max_batch": "card",
        "threads": "settings",
        "instances": "tuned card",
        "linger_ms": "tuned card",
    }


def test_null_said_aloud_wins_over_what_lies_below() -> None:
    settled = resolve(ModelSettings(slo_ms=None), Card(slo_ms=2), ModelSettings(), cores=1)
    assert settled.slo_ms is None


@pytest.mark.parametrize("text", [None, "null"])
def test_null_is_a_word_of_flags_as_of_variables(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text("server: {memory_budget_mib: 512}\nmodels: [{path: m.onnx, slo_ms: 5}]\n")
    flags = {"server.memory_budget_mib": text, "models.*.slo_ms": text}
    loaded = load(file, {}, flags)
    told = loaded.server.memory_budget_mib, loaded.models[0].slo_ms
    assert told == ((512, 5) if text is None else (None, None))
    assert loaded.models[0].path == tmp_path / "m.onnx"


def test_null_is_text_to_a_flag_that_must_be_given() -> None:
    assert load(None, {}, {"server.host": "null"}).server.host == "null"


@given(
    cores=st.integers(1, 300),
    threads=st.integers(1, 256),
    said=st.none() | st.integers(1, 256),
)
def test_instances_are_what_was_said_or_fill_the_cores(
    cores: int, threads: int, said: int | None
) -> None:
    entry = ModelSettings(threads=threads, instances=said)
    settled = resolve(entry, Card(), ModelSettings(), cores=cores)
    assert settled.instances is not None
    if said is not None:
        assert settled.instances == said
    else:
        assert settled.instances == 1 or settled.instances * threads <= cores
        assert settled.instances == 256 or (settled.instances + 1) * threads > cores
        assert ModelSettings.model_validate_json(settled.model_dump_json()) == settled


def test_settings_travel_as_json() -> None:
    settings = ModelSettings(path=Path("/a"), labels=Path("/b"), buckets={"x": {1: (2, 3)}})
    assert ModelSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{kind: image, input: x, siez: [1, 2]}", "siez: unknown key; did you mean `size`?"),
        ("{kind: audio, input: x, rate_hz: 8000, sample: 1}", "did you mean `samples`?"),
        ("{kind: audio, input: x}", "rate_hz: must be given"),
        ("{kind: audio, input: x, rate_hz: 3}", "3 should be a whole number from 1000 to 384000"),
        ("{kind: film, input: x}", "`kind` should be one of image, audio, text"),
        ("{input: x}", "`kind` should be one of image, audio, text"),
        ("{kind: image, input: x, std: [0]}", "0 should be a number above 0"),
    ],
)
def test_a_wrong_entry_of_accepts_is_named(tmp_path: Path, entry: str, says: str) -> None:
    (tmp_path / "card.yaml").write_text(f"slo_ms: 5\naccepts:\n  - {entry}\n")
    with pytest.raises(SettingsError) as caught:
        read_card(tmp_path)
    assert "card.yaml:3: accepts[0]" in caught.value.message
    assert says in caught.value.message


def test_a_tokenizer_is_relative_to_its_card_and_travels_as_json(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("accepts: [{kind: text, tokenizer: t.json}]")
    card = read_card(tmp_path)
    assert card.accepts[0] == AcceptedText(kind="text", tokenizer=tmp_path / "t.json")
    assert Card.model_validate_json(card.model_dump_json()) == card


def test_state_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text(
        "models:\n"
        "  - path: a.onnx\n"
        "    sequence:\n"
        "      state: [{input: s, output: t}, {input: s, output: u}]\n"
    )
    with pytest.raises(SettingsError, match="names 's' twice: each tensor is state once"):
        load(file, {}, {})


def test_a_sequence_travels_as_json(tmp_path: Path) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text(
        "models:\n"
        "  - path: a.onnx\n"
        "    sequence:\n"
        "      state: [{input: s, output: t, batch_axis: 1}]\n"
        "      constants: {sr: 16000, gain: 0.5, flag: true, mix: [1, 2.5]}\n"
    )
    (entry,) = load(file, {}, {}).models
    assert entry.sequence is not None
    again = ModelSettings.model_validate_json(entry.model_dump_json()).sequence
    assert again == entry.sequence
    assert repr(again.constants) == "{'sr': 16000, 'gain': 0.5, 'flag': True, 'mix': (1, 2.5)}"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('"1"', "1"),
        ('"0"', "0"),
        ('"2.5"', "2.5"),
        ('["1", "0"]', "(1, 0)"),
        ("1", "1"),
        ("true", "True"),
        ("yes", "True"),
        ("Off", "False"),
    ],
)
def test_a_constant_is_true_or_false_by_its_words_alone(
    tmp_path: Path, said: str, meant: str
) -> None:
    (file := tmp_path / "headrace.yaml").write_text(_sequence(said))
    sequence = load(file, {}, {}).models[0].sequence
    assert sequence is not None
    assert repr(sequence.constants["flag"]) == meant


@pytest.mark.parametrize("said", ["t", "n", "y", "maybe"])
def test_a_letter_is_no_constant(tmp_path: Path, said: str) -> None:
    (file := tmp_path / "headrace.yaml").write_text(_sequence(said))
    with pytest.raises(SettingsError, match="constants"):
        load(file, {}, {})


def _sequence(constant: str) -> str:
    state = "state: [{input: a, output: b}]"
    return f"models:\n- path: m.onnx\n  sequence: {{{state}, constants: {{flag: {constant}}}}}\n"
