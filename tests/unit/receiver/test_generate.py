"""``generate``'s mapping: JSON keys to inputs and parameters, outputs to JSON keys."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import (
    BodyTooLarge,
    ClientError,
    HeadraceError,
    InvalidInput,
    InvalidTimeout,
    MalformedRequest,
)
from headrace.receiver.exchange import Exchange
from headrace.receiver.oip import generate
from headrace.values import Array, DType, Request, Response, SequenceCall, TensorSpec
from tests.contract.echo import serve

TEXT = serve(
    "llm",
    [
        TensorSpec("text_input", DType.BYTES, (None, 1)),
        TensorSpec("max_tokens", DType.INT32, (None, 1)),
        TensorSpec("weights", DType.FP32, (None, 2)),
    ],
    [TensorSpec("text_output", DType.BYTES, (None, 1))],
    batched=True,
)


def decode(body: object, timeout_s: float | None = None) -> Request:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    exchange = Exchange({}, None, 7.0)  # type: ignore[arg-type] # never asked
    exchange.timeout_s = timeout_s
    return generate.decode(TEXT, None, generate.read(data), exchange)


def test_keys_are_inputs_wherever_they_stand_and_missing_axes_are_1() -> None:
    request = decode(
        {
            "id": "a",
            "text_input": "hello",
            "weights": [1, 2.5],
            "parameters": {"max_tokens": 3, "temperature": 0.5, "timeout": 2_000_000},
            "stream": False,
        }
    )
    assert (request.model, request.version, request.id) == ("llm", None, "a")
    assert (request.arrival_s, request.timeout_s, request.priority) == (7.0, 2.0, 0)
    assert request.inputs["text_input"].tolist() == [[b"hello"]]
    assert request.inputs["max_tokens"].tolist() == [[3]]
    assert request.inputs["max_tokens"].dtype == np.int32
    assert request.inputs["weights"].tolist() == [[1.0, 2.5]]


def test_null_is_what_is_left_out() -> None:
    request = decode({"id": None, "parameters": None, "text_input": "hello"})
    assert request.id == ""
    assert list(request.inputs) == ["text_input"]


def test_the_shorter_timeout_counts_and_priority_is_read() -> None:
    assert decode({"timeout": 5_000_000}, timeout_s=1.0).timeout_s == 1.0
    assert decode({"priority": 1}).priority < 0


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"", MalformedRequest, "JSON Parse error"),
        ([1], MalformedRequest, "must be a JSON object, not a list"),
        ({"id": 1}, MalformedRequest, "id must be a string"),
        ({"parameters": [1]}, MalformedRequest, '"parameters" must be an object'),
        ({"text_input": 5}, InvalidInput, "'text_input' is BYTES"),
        ({"max_tokens": "many"}, InvalidInput, "'max_tokens' is INT32, the JSON has strings"),
        ({"weights": [[1], [1, 2]]}, InvalidInput, "ragged"),
        (
            {"text_input": "a", "parameters": {"text_input": "b"}},
            InvalidInput,
            "'text_input' is given twice",
        ),
        ({"text": ["a"]}, InvalidInput, "'text' is no input.*inputs: text_input, max_tokens"),
        ({"parameters": {"stop": None}}, InvalidInput, "'stop' is no input"),
        ({"timeout": -1}, InvalidTimeout, "timeout"),
        ({"priority": "high"}, MalformedRequest, "priority"),
    ],
)
def test_what_does_not_fit_is_named(body: Any, error: type[HeadraceError], message: str) -> None:
    with pytest.raises(error, match=message):
        decode(body)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
keys = st.sampled_from(["id", "text_input", "max_tokens", "weights", "parameters", "timeout", "x"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(keys, st.one_of(values, st.dictionaries(keys, values))))
def test_nonsense_is_the_clients_error(body: dict[str, Any]) -> None:
    try:
        request = decode(body)
    except ClientError as error:
        assert error.message  # noqa: PT017 - a request is as good as a refusal
    else:
        assert request.inputs.keys() <= {"text_input", "max_tokens", "weights"}


def answer(identity: str = "", **outputs: Array) -> Any:
    return json.loads(generate.encode(Response("llm", 2, identity, outputs)))


def test_one_element_is_a_value_and_more_are_a_flat_list() -> None:
    text = np.array([["né".encode()]], object)
    numbers = np.array([[1.5, 2.0]], np.float32)
    assert answer("a", text_output=text, n=numbers, none=np.zeros((1, 0), np.int64)) == {
        "model_name": "llm",
        "model_version": "2",
        "id": "a",
        "text_output": "né",
        "n": [1.5, 2.0],
        "none": [],
    }
    scalar = answer(flag=np.ones((), np.bool_), half=np.array([0.5], np.float16))
    assert scalar == {"model_name": "llm", "model_version": "2", "flag": True, "half": 0.5}


def test_numbers_that_json_has_not_are_written_as_elsewhere() -> None:
    assert b"NaN" in generate.encode(Response("m", 1, "", {"y": np.array([np.nan, 1])}))
    assert b"Infinity" in generate.encode(Response("m", 1, "", {"y": np.array([np.inf])}))


def test_a_sequence_goes_on_through_generate() -> None:
    request = decode({"text_input": "a", "parameters": {"sequence_id": 7, "sequence_start": True}})
    assert request.sequence == SequenceCall("7", start=True)


def test_what_is_no_text_any_more_is_refused() -> None:
    with pytest.raises(BodyTooLarge, match="send tensors with infer"):
        decode({"text_input": "a" * 2**20})
