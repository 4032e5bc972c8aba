from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from tritonclient.grpc import model_config_pb2

from headrace.errors import SettingsError
from headrace.importers.rules import Fate, Imported
from headrace.importers.textproto import Message, parse
from headrace.importers.triton import RULES, ModelFile, read_config, read_model_file
from headrace.importers.written import write
from headrace.settings import ModelSettings, Settings
from tests.unit.importers.configs import configs


def fates(one: Imported) -> dict[str, Fate]:
    return {note.field: note.fate for note in one.notes}


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("name: 'a'", {"name": "a"}),
        ("name: ''", {}),
        ("max_batch_size: 0", {"batched": False}),
        ("max_batch_size: 8", {"max_batch": 8}),
        ("max_batch_size: 10000", {"max_batch": 4096}),
        ("max_batch_size: -1", {}),
        ("platform: 'onnxruntime_onnx'", {}),
        ("backend: 'openvino'", {"backend": "openvino"}),
        ("instance_group { count: 3 }", {"instances": 3}),
        ("instance_group { count: 3 kind: KIND_CPU }", {"instances": 3}),
        ("instance_group [{count: 3}, {count: 2, kind: KIND_CPU}]", {"instances": 5}),
        ("instance_group [{count: 3}, {count: 2, kind: KIND_GPU}]", {"instances": 3}),
        ("instance_group { count: 3 kind: KIND_MODEL }", {}),
        ("instance_group { count: 2 gpus: [0, 1] }", {}),
        ("instance_group { count: 2 kind: KIND_AUTO gpus: 0 }", {}),
        ("instance_group { count: 2 kind: KIND_CPU gpus: 0 }", {"instances": 2}),
        ("instance_group { count: 0 }", {}),
        ("instance_group { count: 999 }", {"instances": 256}),
        ("output [{label_filename: 'a'}, {label_filename: 'b'}]", {"labels": "a"}),
        ("output { label_filename: '/etc/passwd' }", {}),
        ("output { label_filename: 'a/../../b' }", {}),
        ("output { label_filename: '~root/b' }", {}),
        ("output { label_filename: 'file:///etc/hostname' }", {}),
        ("output { label_filename: 'https://example.com/b' }", {}),
        ("dynamic_batching { default_queue_policy { max_queue_size: 9 } }", {"max_queue": 9}),
        ("dynamic_batching { default_queue_policy { max_queue_size: 0 } }", {}),
        (
            "parameters { key: 'intra_op_thread_count' value { string_value: '4' } }",
            {"threads": 4},
        ),
        ("parameters { key: 'intra_op_thread_count' value { string_value: '-' } }", {}),
        ("parameters { key: 'other' value { string_value: '4' } }", {}),
        ("parameters {}", {}),
        ("dynamic_batching { max_queue_delay_microseconds: 2500 }", {"linger_ms": 2.5}),
        ("dynamic_batching { max_queue_delay_microseconds: 0 }", {}),
        ("dynamic_batching { max_queue_delay_microseconds: 99999999 }", {"linger_ms": 10_000.0}),
    ],
)
def test_a_field_becomes_keys(text: str, keys: dict[str, Any]) -> None:
    assert read_config(text, "f").keys == keys


def test_the_versions_to_serve_are_taken_where_there_is_such_a_setting() -> None:
    for text, policy in (
        ("version_policy: { latest {} }", {"latest": 1}),
        ("version_policy: { latest { num_versions: 2 } }", {"latest": 2}),
        ("version_policy: { all {} }", "all"),
        ("version_policy: { specific { versions: [1, 3] } }", {"specific": [1, 3]}),
    ):
        assert read_config(text, "f").keys == {"versions": policy}
    for text in ("specific {}", "specific { versions: -1 }"):
        read = read_config(f"version_policy: {{ {text} }}", "f")
        assert fates(read) == {"version_policy.specific": Fate.NOT_MAPPED}


def test_shapes_of_warm_ups_go_in_step() -> None:
    def warm(*shapes: dict[str, list[int]]) -> Imported:
        text = "max_batch_size: 0\n"
        for shape in shapes:
            inputs = " ".join(
                f"inputs {{ key: '{name}' value {{ dims: {dims} }} }}"
                for name, dims in shape.items()
            )
            text += f"model_warmup {{ {inputs} }}\n"
        return read_config(text, "f")

    both = warm({"a": [1], "b": [2]}, {"b": [4], "a": [3]}, {"a": [1], "b": [2]})
    assert both.keys == {"batched": False, "warm_shapes": {"a": [[1], [3]], "b": [[2], [4]]}}
    assert [note.fate for note in both.notes[1:]] == [Fate.MAPPED, Fate.MAPPED, Fate.NOT_NEEDED]
    other = warm({"a": [1]}, {"c": [1]})
    assert other.keys == {"batched": False, "warm_shapes": {"a": [[1]]}}
    assert other.notes[2].fate is Fate.NOT_MAPPED
    assert warm({"a": [-1]}).keys == {"batched": False}


def test_without_a_batch_size_it_is_not_known_whether_shapes_have_the_batch() -> None:
    text = "model_warmup { inputs { key: 'a' value { dims: [1, 3] } } }"
    read = read_config(text, "f")
    assert read.keys == {}
    (note,) = read.notes
    assert note.fate is Fate.NOT_MAPPED
    assert "say `max_batch_size`" in note.words
    for size in (0, 4):  # it may stand behind it
        told = read_config(f"{text} max_batch_size: {size}", "f")
        assert told.keys["warm_shapes"] == {"a": [[1, 3]]}


def test_a_shape_before_a_reshape_is_not_the_model_s() -> None:
    text = (
        "max_batch_size: 8 input {{ name: 'a' dims: [1] {} }} input {{ name: 'b' dims: [1] }}"
        "model_warmup {{ inputs {{ key: 'a' value {{ dims: [1] }} }} }}"
    )
    for reshape in ("reshape { shape: [] }", "reshape {}", "reshape { shape: [1, 1] }"):
        read = read_config(text.format(reshape), "f")
        assert "warm_shapes" not in read.keys
        assert "before `reshape`" in read.notes[-1].words
    assert read_config(text.format(""), "f").keys["warm_shapes"] == {"a": [[1]]}


def test_more_shapes_than_anybody_waits_for_are_not_warmed_up() -> None:
    entry = "model_warmup { inputs { key: 'a' value { dims: %d } } }\n"
    entries = "".join(entry % size for size in range(1, 301))
    read = read_config(f"max_batch_size: 4\n{entries}", "f")
    assert read.keys["warm_shapes"] == {"a": [[size] for size in range(1, 257)]}
    assert [note.fate for note in read.notes[256:]] == [Fate.MAPPED] + [Fate.NOT_MAPPED] * 44


def test_state_becomes_a_sequence() -> None:
    text = """sequence_batching {
      max_sequence_idle_microseconds: 2500000
      state { input_name: 'i' output_name: 'o' initial_state { data_file: 'z' } }
      state { input_name: 'i' output_name: 'p' }
      oldest { max_candidate_sequences: 2 }
    }"""
    read = read_config(text, "f")
    state = [{"input": "i", "output": "o"}]
    assert read.keys == {"sequence": {"state": state, "idle_s": 2.5}}
    assert ModelSettings.model_validate(read.keys).sequence is not None
    assert [(note.place, note.fate) for note in read.notes] == [
        ("f:2", Fate.MAPPED),
        ("f:3", Fate.MAPPED),
        ("f:3", Fate.NOT_MAPPED),  # begins with a file
        ("f:4", Fate.NOT_MAPPED),  # the same input again
        ("f:5", Fate.NOT_MAPPED),  # theirs wait, ours are refused
    ]


def test_a_sequence_without_state_cannot_be_mapped() -> None:
    read = read_config("sequence_batching { max_sequence_idle_microseconds: 5 }", "f")
    assert read.keys == {}
    assert fates(read)["sequence_batching"] is Fate.NOT_MAPPED
    idle = read.notes[0]
    assert idle.field == "sequence_batching.max_sequence_idle_microseconds"
    assert (idle.fate, idle.key) == (Fate.NOT_MAPPED, "")


@pytest.mark.parametrize(
    "text",
    [
        "platform: 'ensemble'",
        "ensemble_scheduling {}",
        "backend: 'python'",
        "backend: 'my_own'",
        "platform: 'tensorrt_plan'",
        "platform: 'tensorflow_graphdef'",
        "model_transaction_policy { decoupled: true }",
    ],
)
def test_what_cannot_run_here_is_left_out_with_its_line(text: str) -> None:
    read = read_config(f"\n{text}", "f")
    assert read.left_out is not None
    assert read.left_out.startswith("f:2: ")
    assert {note.fate for note in read.notes} == {Fate.NOT_MAPPED}


PYTORCH = """
input { name: "INPUT__1" data_type: TYPE_INT64 dims: [-1] }
input { name: "INPUT__0" data_type: 11 dims: [3] }
output { name: "y" data_type: TYPE_STRING dims: [6] reshape { shape: [2, 3] } }
"""
TENSORS = ("input.name", "input.data_type", "input.dims", "output.name", "output.data_type")


def tensor(name: str, dtype: str, *shape: int | None) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


@pytest.mark.parametrize("text", ["platform: 'pytorch_libtorch'", "backend: 'pytorch'"])
@pytest.mark.parametrize(("size", "batch"), [(0, ()), (4, (None,))])
def test_torchscript_gets_its_signature_from_there(
    text: str, size: int, batch: tuple[None, ...]
) -> None:
    read = read_config(f"{text} max_batch_size: {size} {PYTORCH}", "f")
    assert read.left_out is None
    assert read.keys["signature"] == {
        "inputs": [
            tensor("INPUT__0", "FP32", *batch, 3),
            tensor("INPUT__1", "INT64", *batch, None),
        ],
        "outputs": [tensor("y", "BYTES", *batch, 2, 3)],
    }
    assert ModelSettings.model_validate(read.keys).signature is not None
    assert {fates(read)[field] for field in TENSORS} == {Fate.MAPPED}


@pytest.mark.parametrize(
    "text",
    [
        f"platform: 'onnxruntime_onnx' {PYTORCH}",
        f"backend: 'pytorch' default_model_filename: 'model.pt2' {PYTORCH}",
        "backend: 'pytorch'",
        f"backend: 'pytorch' {PYTORCH} input {{ name: 'z' }}",
        f"backend: 'pytorch' {PYTORCH} output {{ name: 'y' data_type: TYPE_BOOL dims: 1 }}",
        f"backend: 'pytorch' {PYTORCH} input {{ name: 'z' data_type: TYPE_BOOL dims: 0 }}",
    ],
)
def test_others_say_theirs_themselves_and_half_a_signature_is_none(text: str) -> None:
    read = read_config(text, "f")
    assert "signature" not in read.keys
    assert read.left_out is None
    assert Fate.MAPPED not in {fates(read).get(field) for field in TENSORS}


STATE = """backend: "pytorch" max_batch_size: 8
input { name: "INPUT__1" data_type: TYPE_FP32 dims: 4 }
output { name: "OUTPUT__0" data_type: TYPE_FP32 dims: 4 }
sequence_batching { state {
  input_name: "INPUT__0" output_name: "OUTPUT__1" data_type: TYPE_INT64 dims: [1, -1] } }
"""


def test_the_state_of_a_sequence_is_in_the_signature_too() -> None:
    read = read_config(STATE, "f")
    assert read.keys["signature"] == {
        "inputs": [
            tensor("INPUT__0", "INT64", None, 1, None),
            tensor("INPUT__1", "FP32", None, 4),
        ],
        "outputs": [
            tensor("OUTPUT__0", "FP32", None, 4),
            tensor("OUTPUT__1", "INT64", None, 1, None),
        ],
    }
    assert read.keys["sequence"] == {"state": [{"input": "INPUT__0", "output": "OUTPUT__1"}]}
    again = f"{STATE} input {{ name: 'INPUT__0' data_type: TYPE_INT64 dims: [1, -1] }}"
    assert read_config(again, "f").keys["signature"] == read.keys["signature"]
    half = read_config(STATE.replace("data_type: TYPE_INT64", ""), "f")
    assert "signature" not in half.keys


def test_one_answer_a_request_is_what_we_do() -> None:
    read = read_config("model_transaction_policy { decoupled: false }", "f")
    assert read.left_out is None


def test_what_is_unknown_is_named() -> None:
    read = read_config("input { nmae: 'x' }\nmax_batchsize: 3", "f")
    assert fates(read) == {"input.nmae": Fate.UNKNOWN, "max_batchsize": Fate.UNKNOWN}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_batch_size: 'a'", 'f:1: max_batch_size: should be a whole number, not "a"'),
        ('max_batch_size: "8"', 'f:1: max_batch_size: should be a whole number, not "8"'),
        ("max_batch_size: 1.5", "should be a whole number"),
        ("max_batch_size: 1\nmax_batch_size: 2", "f:2: max_batch_size: given twice, first at f:1"),
        ("name: x", "f:1: name: should be text in quotes"),
        ("dynamic_batching: 3", "f:1: dynamic_batching: should be fields in braces, not 3"),
        ("model_warmup { inputs: 3 }", "f:1: inputs: should be fields in braces"),
        ("name: 'a", "f:1: unexpected"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_config(text, "f")
    assert says in caught.value.message


def test_the_model_file_may_have_a_name() -> None:
    assert read_model_file("default_model_filename: 'a.onnx'", "f") == ModelFile("a.onnx")
    assert read_model_file("", "f") == ModelFile()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("backend: 'onnxruntime'", True),
        ("platform: 'pytorch_libtorch'", True),
        ("platform: 'tensorflow_savedmodel'", True),
        ("backend: 'openvino'", True),
        ("backend: ''", False),
        ("backend: 'my_own'", False),
    ],
)
def test_a_framework_reads_models_and_runs_no_script(said: str, expected: bool) -> None:
    assert read_model_file(said, "f").of_framework is expected


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("max_batch_size: 4\n" + "model_warmup{}" * 18_000, "model_warmup"),
        (
            "max_batch_size: 4 " + "input{reshape{}}" * 7000 + "model_warmup{inputs{}}" * 6000,
            "model_warmup",
        ),
        (
            "sequence_batching{"
            + "".join(f"state{{input_name:'{i}'output_name:'{i}'}}" for i in range(5500))
            + "}",
            "sequence_batching.state",
        ),
    ],
    ids=["warm-ups", "warm-ups of inputs", "states"],
)
def test_a_file_of_thousands_of_entries_is_read_at_once(text: str, field: str) -> None:
    began_s = time.process_time()
    read = read_config(text, "f")
    took_s = time.process_time() - began_s
    assert len([note for note in read.notes if note.field == field]) >= 5500
    assert took_s < 10  # a second or so; each compared with each is minutes


def _paths(kind: Any, above: str = "") -> list[str]:
    found = []
    for field in kind.fields:
        path = f"{above}{field.name}"
        group = any(rule.startswith(f"{path}.") for rule in RULES)
        found += _paths(field.message_type, f"{path}.") if group else [path]
    return found


def test_every_field_that_triton_has_is_in_the_table() -> None:
    assert [
        path for path in _paths(model_config_pb2.ModelConfig.DESCRIPTOR) if path not in RULES
    ] == []


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(configs())
def test_whatever_the_configuration_the_settings_are_valid_and_nothing_is_dropped(
    config: Any,
) -> None:
    text = text_format.MessageToString(config)
    read = read_config(text, "f")
    ModelSettings.model_validate(read.keys)
    placed = Imported("f", {"path": "m", **read.keys}, read.origins, read.notes, None)
    data = yaml.safe_load(write([placed], None))
    assert data["models"][0] == yaml.safe_load(yaml.safe_dump(dict(placed.keys)))
    Settings.model_validate(data)
    assert not [note for note in read.notes if note.fate is Fate.UNKNOWN]
    told = {note.field for note in read.notes}
    for field in parse(text, "f").fields:
        empty_group = isinstance(field.value, Message) and not field.value.fields
        assert empty_group or any(path.startswith(field.name) for path in told) or _empty(field)


def _empty(field: Any) -> bool:
    """Whether there is nothing in it but groups of nothing."""
    if not isinstance(field.value, Message):
        return False
    return all(_empty(inner) for inner in field.value.fields)


def test_an_empty_configuration_says_nothing() -> None:
    assert read_config("", "f") == Imported("f")
