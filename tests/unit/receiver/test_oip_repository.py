from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from headrace.errors import HeadraceError, InvalidInput, MalformedRequest, NotAllowed
from headrace.order import Load, VersionPolicy
from headrace.receiver.oip.repository import NO_OVERRIDES, read_config, read_load
from headrace.settings import ModelSettings


def test_a_load_without_parameters_looks_at_the_models_own_place() -> None:
    assert read_load("m", {}) == (Load(name="m"), {})


def test_files_come_with_a_configuration() -> None:
    order, files = read_load("m", {"config": "{}", "file:1/model.onnx": b"abc"})
    assert order == Load(name="m")
    assert files == {"1/model.onnx": b"abc"}
    with pytest.raises(InvalidInput, match='"config" must be given'):
        read_load("m", {"file:1/model.onnx": b"abc"})


@pytest.mark.parametrize(
    "path",
    [
        "model.onnx",
        "1/../model.onnx",
        "../1/m.onnx",
        "/1/m.onnx",
        "1/a/b",
        "1/.m",
        "x/m.onnx",
        "1/",
        f"1/{'m' * 256}",
    ],
)
def test_a_file_goes_nowhere_but_into_a_version_folder(path: str) -> None:
    with pytest.raises(InvalidInput, match="VERSION/NAME"):
        read_load("m", {"config": "{}", f"file:{path}": b"abc"})


@pytest.mark.parametrize(
    ("name", "parameters", "kind", "words"),
    [
        ("", {}, MalformedRequest, "names no model"),
        ("m", {"colour": "red"}, InvalidInput, "'colour' is not known"),
        ("m", {"config": 3}, InvalidInput, "must be a string"),
        ("m", {"config": "{}", "file:1/m.onnx": "text"}, InvalidInput, "hold the file"),
        ("m", {"config": "{}", "file:1/model.py": b"code"}, NotAllowed, "code is not taken"),
        ("m", {"config": "{}", "file:1/model.pt2": b"code"}, NotAllowed, "code is not taken"),
        ("m", {"config": "{}", "file:1/model.pt": b"code"}, NotAllowed, "code is not taken"),
        ("m", {"config": "{}", "file:1/card.yaml": b"labels: /x"}, NotAllowed, "of config"),
        ("m", {"config": "{}", "file:1/tuned.yaml": b"{}"}, NotAllowed, "of config"),
        ("m", {"config": "{}", "file:1/m.tuned.yaml": b"{}"}, NotAllowed, "of config"),
    ],
)
def test_bad_parameters(
    name: str, parameters: dict[str, Any], kind: type[HeadraceError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        read_load(name, parameters)


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ({"name": "m", "platform": "onnxruntime_onnx"}, {}),
        ({"max_batch_size": 8}, {"max_batch": 8}),
        ({"maxBatchSize": 8}, {"max_batch": 8}),
        ({"max_batch_size": 0}, {"batched": False}),
        ({"instance_group": [{"count": 2}, {}]}, {"instances": 3}),
        ({"parameters": {"slo_ms": {"string_value": "50"}}}, {"slo_ms": "50"}),
        ({"parameters": {"path": {"string_value": "/etc"}, "mine": 3}}, {}),
        ({"parameters": {"accepts": [{"kind": "text", "tokenizer": "/etc/passwd"}]}}, {}),
        ({"max_batch_size": "8"}, {"max_batch": 8}),
        ({"max_batch_size": "0"}, {"batched": False}),
        ({"instance_group": [{"count": "2"}, {"count": None}]}, {"instances": 3}),
    ],
)
def test_what_a_configuration_sets_here(config: dict[str, Any], overrides: dict[str, Any]) -> None:
    assert read_config("m", json.dumps(config)) == (overrides, None)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"all": {}}, VersionPolicy()),
        ({}, VersionPolicy()),
        ({"latest": {}}, VersionPolicy(latest=1)),
        ({"latest": {"numVersions": 2}}, VersionPolicy(latest=2)),
        ({"latest": {"num_versions": "2"}}, VersionPolicy(latest=2)),
        ({"specific": {"versions": ["1", 3]}}, VersionPolicy(specific=(1, 3))),
    ],
)
def test_version_policies(policy: dict[str, Any], expected: VersionPolicy) -> None:
    assert read_config("m", json.dumps({"version_policy": policy}))[1] == expected


@pytest.mark.parametrize(
    "config",
    [
        "nonsense",
        "[1]",
        '{"name": "other"}',
        '{"instance_group": {}}',
        '{"instance_group": [{"count": 0}]}',
        '{"instance_group": [{"count": true}]}',
        '{"max_batch_size": []}',
        '{"max_batch_size": -1}',
        '{"max_batch_size": true}',
        '{"max_batch_size": "8x"}',
        '{"max_batch_size": 8.5}',
        '{"parameters": []}',
        '{"version_policy": {"latest": {"num_versions": -1}}}',
        '{"version_policy": {"specific": {"versions": []}}}',
        '{"version_policy": {"specific": {"versions": ["x"]}}}',
        '{"version_policy": "all"}',
        '{"version_policy": {"specific": {"versions": ["\\u00b2"]}}}',
        '{"version_policy": {"specific": {"versions": ["' + "9" * 5000 + '"]}}}',
        '{"version_policy": {"latest": {"num_versions": true}}}',
        '{"name": []}',
        '{"parameters": {"slo_ms": ' + "[" * 250 + "]" * 250 + "}}",
        '{"parameters": {"labels": 1, "slo_ms": ' + "[" * 32 + "]" * 32 + "}}",
        '{"parameters": {"slo_ms": [' + "1e9," * 2**20 + "1]}}",
    ],
)
def test_bad_configurations(config: str) -> None:
    with pytest.raises(InvalidInput):
        read_config("m", config)


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), {1, 2, 5}),
        (VersionPolicy(latest=1), {5}),
        (VersionPolicy(latest=2), {2, 5}),
        (VersionPolicy(latest=9), {1, 2, 5}),
        (VersionPolicy(specific=(1, 7)), {1}),
    ],
)
def test_a_policy_chooses_versions(policy: VersionPolicy, chosen: set[int]) -> None:
    assert policy.choose([5, 1, 2]) == chosen


def test_no_setting_that_names_a_file_may_come_over_the_wire() -> None:
    def names_files(kind: Any) -> bool:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return any(names_files(field.annotation) for field in kind.model_fields.values())
        return kind is Path or any(map(names_files, get_args(kind)))

    named = {n for n, field in ModelSettings.model_fields.items() if names_files(field.annotation)}
    assert {"path", "labels", "accepts"} <= named
    assert named <= NO_OVERRIDES
