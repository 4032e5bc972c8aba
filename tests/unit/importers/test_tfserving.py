from __future__ import annotations

import pytest

from headrace.errors import SettingsError
from headrace.importers.rules import Fate, Imported
from headrace.importers.textproto import parse
from headrace.importers.tfserving import (
    BATCHING_RULES,
    MODEL_RULES,
    read_batching,
    read_models,
)


def models(text: str) -> tuple[Imported, ...]:
    return read_models(parse(text, "f"), "f")


def batching(text: str) -> Imported:
    return read_batching(parse(text, "f"), "f")


def test_a_model_is_a_name_a_path_and_labels() -> None:
    (read,) = models(
        "model_config_list: { config: { name: 'm', base_path: '/models/m', model_platform: "
        "'tensorflow', version_labels: { key: 'stable', value: 42 }, version_labels: { key: "
        "'canary', value: 43 } } }"
    )
    labels = {"stable": 42, "canary": 43}
    assert read.keys == {"name": "m", "path": "/models/m", "version_labels": labels}
    assert read.left_out is None


def test_a_model_without_a_path_is_left_out() -> None:
    for inner in ("name: 'm'", "name: 'm' base_path: ''"):
        (read,) = models(f"model_config_list {{\n config {{ {inner} }} }}")
        assert read.left_out == "f:2: config: has no base_path"


@pytest.mark.parametrize(
    ("url", "path"),
    [("gs://bucket/m", "gs://bucket/m"), ("s3://b/m/", "s3://b/m"), ("file:///srv/m", "/srv/m")],
)
def test_a_model_at_a_url_keeps_it(url: str, path: str) -> None:
    (read,) = models(f"model_config_list {{\n config {{ name: 'm' base_path: '{url}' }} }}")
    assert read.left_out is None
    assert read.keys["path"] == path


def test_a_model_in_a_store_that_is_not_known_is_left_out() -> None:
    (read,) = models("model_config_list {\n config { name: 'm' base_path: 'hdfs://host/m' } }")
    assert read.left_out is not None
    assert read.left_out.startswith("f:2: base_path: should be a path or one of s3://")
    assert "path" not in read.keys
    assert [note.fate for note in read.notes] == [Fate.MAPPED, Fate.NOT_MAPPED]


def test_what_is_no_model_is_left_out() -> None:
    custom, unknown, inner = models(
        "custom_model_config {}\nother: 1\nmodel_config_list { other: 2 }"
    )
    assert custom.notes[0].fate is Fate.NOT_MAPPED
    assert unknown.notes[0].fate is inner.notes[0].fate is Fate.UNKNOWN
    assert all(one.left_out for one in (custom, unknown, inner))


def test_a_label_without_a_version_is_none() -> None:
    (read,) = models(
        "model_config_list { config { base_path: 'p' version_labels { key: 'a' } "
        "version_labels { key: 'b' value: -1 } } }"
    )
    assert read.keys == {"path": "p"}
    assert [note.fate for note in read.notes[1:]] == [Fate.NOT_MAPPED] * 2


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("max_batch_size { value: 128 }", {"max_batch": 128}),
        ("max_batch_size { value: 9999 }", {"max_batch": 4096}),
        ("max_batch_size {}", {}),
        ("max_batch_size { value: 0 }", {}),
        (
            "max_batch_size { value: 10 } max_enqueued_batches { value: 7 }",
            {"max_batch": 10, "max_queue": 70},
        ),
        ("max_enqueued_batches { value: 7 }", {}),
        ("num_batch_threads { value: 7 } allowed_batch_sizes: [1, 2]", {}),
    ],
)
def test_batching_becomes_defaults(text: str, keys: dict[str, int]) -> None:
    read = batching(text)
    assert read.keys == keys
    assert read.notes


def test_a_number_that_is_not_wrapped_is_named() -> None:
    with pytest.raises(SettingsError, match="f:1: max_batch_size: should be fields in braces"):
        batching("max_batch_size: 3")


def test_every_field_of_a_model_is_in_the_table() -> None:
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    for field in config.ModelConfig.DESCRIPTOR.fields:
        assert any(path.partition(".")[0] == field.name for path in MODEL_RULES)


def test_what_has_no_key_says_why() -> None:
    for rules in (MODEL_RULES, BATCHING_RULES):
        for path, rule in rules.items():
            assert rule.key or rule.words, path
