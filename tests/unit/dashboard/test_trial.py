from __future__ import annotations

import base64
import json
import math
import time
from dataclasses import replace
from typing import Any

import pytest

from headrace.dashboard.trial import Described, body, shown, timings_s
from headrace.errors import InvalidInput, MalformedAnswer

FEEDS = {"words": ["ids"]}


def described(
    files: dict[str, str], inputs: list[str], outputs: dict[str, str], example: Any = None
) -> Described:
    """A model as its server describes it."""
    return Described.read(
        {
            "name": "m",
            "version": 1,
            "backend": "fake f32",
            "inputs": [{"name": name, "datatype": "FP32", "shape": [-1, 4]} for name in inputs],
            "outputs": [
                {"name": name, "datatype": kind, "shape": [-1, 3]} for name, kind in outputs.items()
            ],
            "files": [
                {"name": name, "kind": kind, "feeds": FEEDS.get(name, [name])}
                for name, kind in files.items()
            ],
            "example": example,
        }
    )


PLAIN = described({}, ["x"], {"y": "FP32"}, {"input": [[0, 0]]})
PHOTO = described({"photo": "image"}, ["photo"], {"y": "FP32"})
BOTH = described(
    {"words": "text"}, ["ids", "scale"], {"y": "FP32"}, {"input": {"words": "a", "scale": [[2]]}}
)


def test_a_model_of_tensors_is_asked_with_the_json_that_was_written() -> None:
    assert body(PLAIN, {}, {}, "[[1, 2]]") == {"input": [[1, 2]]}
    assert body(PLAIN, {}, {}, '{"x": [[1]]}') == {"input": {"x": [[1]]}}
    assert body(PLAIN, {}, {}, '{"instances": [[1]]}') == {"instances": [[1]]}


def test_inputs_may_be_called_as_the_parts_of_a_body_are() -> None:
    model = described({}, ["input", "other"], {"y": "FP32"})
    named = {"input": [[1]], "other": [[2]]}
    assert body(model, {}, {}, json.dumps(named)) == {"input": named}
    assert body(model, {}, {}, json.dumps({"input": named})) == {"input": named}
    assert body(model, {}, {}, json.dumps({"inputs": named})) == {"inputs": named}
    only = described({}, ["input"], {"y": "FP32"})
    assert body(only, {}, {}, '{"input": [[1]]}') == {"input": {"input": [[1]]}}


def test_a_kind_of_file_that_is_not_known_is_refused_and_never_drawn() -> None:
    with pytest.raises(MalformedAnswer, match="use one of the server's version"):
        described({"x": 'image" onclick="alert(1)'}, ["x"], {"y": "FP32"})


def test_files_go_as_base64_and_text_as_it_is() -> None:
    sent = base64.b64encode(b"\x89PNG").decode()
    assert body(PHOTO, {}, {"photo": b"\x89PNG"}, "") == {"inputs": {"photo": {"b64": sent}}}
    made = body(BOTH, {"words": "hi"}, {}, '{"scale": [[3]]}')
    assert made == {"inputs": {"words": "hi", "scale": [[3]]}}


def test_only_what_is_no_file_is_asked_for_as_json() -> None:
    assert PLAIN.rest == [[0, 0]]
    assert PHOTO.rest is None
    assert BOTH.rest == {"scale": [[2]]}
    assert (PLAIN.others, PHOTO.others, BOTH.others) == (["x"], [], ["scale"])


@pytest.mark.parametrize(
    ("model", "rest", "said"),
    [
        (PLAIN, "", "JSON first"),
        (PLAIN, "[[1,", "no JSON"),
        (PHOTO, "", "an image first"),
        (BOTH, "[1]", "some text first"),
    ],
)
def test_what_is_missing_is_named(model: Described, rest: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        body(model, {}, {}, rest)


def test_other_inputs_must_have_names() -> None:
    with pytest.raises(InvalidInput, match="by its name"):
        body(BOTH, {"words": "hi"}, {}, "[1]")


def test_classes_are_bars_with_their_labels() -> None:
    model = described({}, ["x"], {"y": "BYTES"})
    (output,) = shown(model, {"output": [["0.8:2:cup: of tea", "0.2:0"]]})
    assert output.form == "BYTES [1, 2]"
    ((first, second),) = output.rows
    assert (first.label, first.value, first.share) == ("cup: of tea", 0.8, 1)
    assert (second.label, second.share) == ("class 0", 0.25)


def test_probabilities_are_bars_best_first() -> None:
    (output,) = shown(PLAIN, {"output": [[0.1, 0.7, 0.2]]})
    assert [bar.label for bar in output.rows[0]] == ["class 1", "class 2", "class 0"]


def test_other_numbers_are_shown_as_they_came() -> None:
    (output,) = shown(PLAIN, {"output": [[1.5, 2.5, -3.0]]})
    assert not output.rows
    assert (output.form, output.text) == ("FP32 [1, 3]", "[[1.5, 2.5, -3.0]]")


def test_text_is_shown_as_text() -> None:
    model = described({}, ["x"], {"y": "BYTES"})
    (output,) = shown(model, {"output": ["12:30 o'clock", "<b>"]})
    assert (output.rows, output.text) == ((), "12:30 o'clock\n<b>")


def test_text_that_looks_as_classes_do_is_of_classes_only_where_the_server_says_so() -> None:
    model = described({}, ["x"], {"y": "BYTES"})
    clock = {"output": [["12:30"]]}
    (output,) = shown(replace(model, classes=frozenset()), clock)
    assert (output.rows, output.text) == ((), '[["12:30"]]')
    (output,) = shown(replace(model, classes=frozenset({"y"})), clock)
    assert output.rows[0][0].label == "class 30"


def test_what_is_not_finite_has_no_bar() -> None:
    model = described({}, ["x"], {"y": "BYTES"})
    (output,) = shown(model, {"output": [["inf:1", "2.0:0:tea", "nan:3"]]})
    assert output.rows == ((("tea", 2.0, 1.0),),)
    numbers = [math.nan, *map(float, range(20)), math.inf, -math.inf]
    (output,) = shown(PLAIN, {"output": [numbers]})
    assert [(bar.label, bar.share) for bar in output.rows[0]][:2] == [
        ("index 20", 1.0),
        ("index 19", 18 / 19),
    ]


@pytest.mark.parametrize(("rows", "size", "drawn"), [(100_000, 20, 4), (1, 2_000_000, 0)])
def test_of_a_large_answer_only_what_is_shown_is_written(rows: int, size: int, drawn: int) -> None:
    answer = {"output": [[0.5] * size] * rows}
    began_s = time.process_time()
    (output,) = shown(PLAIN, answer)
    assert time.process_time() - began_s < 0.5
    assert len(output.rows) == drawn
    assert output.form == f"FP32 [{rows}, {size}]"


def test_several_outputs_have_their_names() -> None:
    model = described({}, ["x"], {"y": "FP32", "z": "INT64"})
    found = shown(model, {"output": {"y": [1.0], "z": [[2]]}})
    assert [(one.name, one.form) for one in found] == [("y", "FP32 [1]"), ("z", "INT64 [1, 1]")]


def test_a_long_answer_is_cut_and_says_so() -> None:
    (output,) = shown(PLAIN, {"output": [[12345.5] * 5000]})
    assert len(output.text) < 4100
    assert output.text.endswith("characters more")


@pytest.mark.parametrize("answer", [None, [], {}, {"output": []}, {"output": [[]]}])
def test_odd_answers_are_shown_too(answer: Any) -> None:
    assert shown(PLAIN, answer)


def test_server_timing_is_read() -> None:
    found = timings_s("decode;dur=0.120, infer;dur=2.000, total;dur=2.120")
    assert found == pytest.approx({"decode": 0.00012, "infer": 0.002, "total": 0.00212})
    assert timings_s("") == {}


def test_of_many_numbers_the_largest_are_bars() -> None:
    (output,) = shown(PLAIN, {"output": [[float(place % 20) for place in range(20)]]})
    assert [bar.label for bar in output.rows[0]][:2] == ["index 19", "index 18"]
    (deep,) = shown(PLAIN, {"output": [[[float(place) for place in range(20)]]]})
    assert not deep.rows
