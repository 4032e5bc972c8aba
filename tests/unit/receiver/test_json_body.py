"""Bodies decoded by the scribe's functions: the same tensors and errors as on the event loop."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import HeadraceError, InvalidInput, MalformedRequest
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.handover import messages as handover
from headrace.receiver.oip import rest_request
from headrace.receiver.oip.shared_memory import Regions
from headrace.receiver.scribe import lists as json_lists
from headrace.receiver.scribe.body import MOST_TENSORS, decode
from headrace.receiver.scribe.lists import ListParser, regular_shape
from headrace.receiver.tfserving import examples as tfserving_examples
from headrace.receiver.tfserving import rest as tfserving_rest
from headrace.values import Array, DType, Signature, TensorSpec

Found = dict[str, Array] | type[HeadraceError]

NUMBERS = [DType.FP32, DType.FP64, DType.FP16, DType.INT64, DType.UINT64, DType.INT8, DType.BOOL]


@pytest.fixture(autouse=True)
def _short_lists_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every list is long enough for the fast way."""
    monkeypatch.setattr(json_lists, "_SHORTEST_BYTES", 0)


def signature(**inputs: DType) -> Signature:
    return Signature(tuple(TensorSpec(n, d, (None,)) for n, d in inputs.items()), (), batched=True)


def on_the_loop(body: bytes, signed: Signature | None) -> Found:
    try:
        return _front(json_tensor.parse(body), signed)
    except HeadraceError as error:
        return type(error)


def beside_it(body: bytes, signed: Signature | None) -> Found:
    """What a front gets through a memory file, as from the process."""
    try:
        return _front(through(body, Dialect.PLAIN if signed else Dialect.OIP, signed), signed)
    except HeadraceError as error:
        return type(error)


def through(body: bytes, dialect: Dialect, signed: Signature | None) -> dict[str, Any]:
    descriptor = os.memfd_create("test")
    try:
        os.write(descriptor, body)
        try:
            decoded: dict[str, Any] | HeadraceError = decode(ListParser(), body, dialect, signed)
        except HeadraceError as error:
            decoded = error
        answer = handover.write(descriptor, len(body), decoded)
        size = os.fstat(descriptor).st_size
        came = memoryview(os.pread(descriptor, size, 0))
        return handover.read(came, answer)
    finally:
        os.close(descriptor)


def _front(value: dict[str, Any], signed: Signature | None) -> dict[str, Array]:
    if signed is None:
        return rest_request._inputs(value, memoryview(b""), Regions(enabled=False, limit_bytes=0))
    return tfserving_rest.decode(value, signed)[0]


def same(first: Found, second: Found) -> bool:
    if isinstance(first, type) or isinstance(second, type):
        return first is second
    return first.keys() == second.keys() and all(
        first[n].dtype == second[n].dtype
        and first[n].shape == second[n].shape
        and (first[n].tolist() == second[n].tolist() or _bits(first[n]) == _bits(second[n]))
        for n in first
    )


def _bits(array: Array) -> bytes:
    return array.tobytes()


integers = st.one_of(
    st.integers(-10, 300),
    st.integers(-(2**65), 2**65),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 2**53 + 1, 16777217]),
)
elements = st.one_of(
    integers,
    st.floats(width=32),
    st.floats(),
    st.sampled_from([-0.0, 1e300, 5e-324, math.nan, math.inf]),
)
odd = st.one_of(elements, st.booleans(), st.none(), st.text(max_size=3), st.just({"b64": "AAE="}))


def regular(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.integers(1, 4), min_size=1, max_size=3).flatmap(
        lambda shape: st.lists(leaf, min_size=math.prod(shape), max_size=math.prod(shape)).map(
            lambda flat: nested(flat, shape)
        )
    )


def nested(flat: list[Any], shape: list[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        flat = [flat[at : at + size] for at in range(0, len(flat), size)]
    return flat


ragged = st.recursive(odd, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
tensors = st.one_of(regular(integers), regular(elements), regular(odd), ragged)
named = st.fixed_dictionaries({"x": tensors, "y": tensors})
more = st.dictionaries(st.sampled_from(["id", 'q"\\', "[1,2]"]), odd | tensors, max_size=2)


@st.composite
def v1_bodies(draw: st.DrawFn) -> dict[str, Any]:
    key = draw(st.sampled_from(["instances", "inputs"]))
    value = draw(st.one_of(tensors, named, st.lists(named, max_size=3)))
    return {**draw(more), key: value, **draw(more)}


@st.composite
def v2_bodies(draw: st.DrawFn) -> dict[str, Any]:
    def tensor(name: str) -> dict[str, Any]:
        data = draw(tensors)
        kinds = [dtype.value for dtype in DType] + ["FP33"]
        shape = draw(st.sampled_from([list(np.shape(data)) if not_ragged(data) else [2], [3], [0]]))
        kind = draw(st.sampled_from(kinds))
        return {"name": name, "datatype": kind, "shape": shape, "data": data}

    return {**draw(more), "inputs": [tensor(n) for n in draw(st.sampled_from([["x"], ["x", "y"]]))]}


def not_ragged(value: Any) -> bool:
    try:
        np.shape(value)
    except ValueError:
        return False
    return True


@given(v1_bodies(), st.sampled_from(NUMBERS), st.booleans(), st.sampled_from([None, 1]))
def test_rows_and_columns_are_the_same(
    body: dict[str, Any], dtype: DType, alone: bool, indent: int | None
) -> None:
    signed = signature(x=dtype) if alone else signature(x=dtype, y=DType.FP32)
    text = json.dumps(body, indent=indent).encode()
    assert same(on_the_loop(text, signed), beside_it(text, signed))


@given(v2_bodies())
def test_tensors_of_the_open_inference_protocol_are_the_same(body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    assert same(on_the_loop(text, None), beside_it(text, None))


@given(v1_bodies(), st.data())
def test_broken_bodies_are_broken_alike(body: dict[str, Any], data: st.DataObject) -> None:
    text = bytearray(json.dumps(body).encode())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place : place + 1] = data.draw(st.sampled_from([b"", b"]", b"[", b",", b'"', b"e", b"}"]))
    signed = signature(x=DType.FP32)
    assert same(on_the_loop(bytes(text), signed), beside_it(bytes(text), signed))


features = st.one_of(odd, st.lists(elements, max_size=3), tensors)
examples = st.dictionaries(st.sampled_from(["x", "y", "z"]), features, max_size=3)
example_bodies = st.fixed_dictionaries(
    {},
    optional={
        "examples": st.one_of(st.lists(examples, max_size=3), tensors),
        "context": st.one_of(examples, tensors),
        "signature_name": st.one_of(st.text(max_size=3), tensors),
    },
)


@given(example_bodies, st.sampled_from([*NUMBERS, DType.BYTES]), st.sampled_from([None, 1]))
def test_examples_are_the_same(body: dict[str, Any], dtype: DType, indent: int | None) -> None:
    signed = Signature(
        (TensorSpec("x", dtype, (None, None)), TensorSpec("y", DType.FP32, (None,))),
        (),
        batched=True,
    )
    text = json.dumps(body, indent=indent).encode() + b" and what is not looked at"

    def read(value: Callable[[], dict[str, Any]]) -> Found | str:
        try:
            return tfserving_examples.read_json(signed, value())
        except HeadraceError as error:
            return f"{error.code}: {error.message}"

    here = read(lambda: json_tensor.parse(text, first_only=True))
    there = read(lambda: through(text, Dialect.EXAMPLES, signed))
    assert here == there if isinstance(here, str) or isinstance(there, str) else same(here, there)


def test_a_long_list_becomes_an_array_and_keeps_its_integers() -> None:
    body = b'{"a": [[9007199254740993, 2], [3, 4]], "b": [0.5, 1], "c": [1e2], "d": "[1,2]"}'
    value = ListParser().parse(body)
    assert isinstance(value["a"], np.ndarray)
    assert value["a"].tolist() == [[9007199254740993, 2], [3, 4]]
    assert value["b"].tolist() == [0.5, 1.0]
    assert value["c"].dtype == np.float64
    assert value["d"] == "[1,2]"


@pytest.mark.parametrize(
    "text",
    [b"[[1,2],[3]]", b"[[1],[2,3],[4]]", b"[1,[2]]", b"[[1,2],[]]", b"[]", b"[[[1,2],[3]],[[4]]]"],
)
def test_what_is_no_block_stays_a_list(text: bytes) -> None:
    assert isinstance(ListParser().parse(b'{"a": ' + text + b"}")["a"], list)


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3), (1, 1, 1), (3, 1, 2), (2, 3, 4, 5)])
def test_the_shape_of_nested_lists_is_found(shape: tuple[int, ...]) -> None:
    text = json.dumps(np.zeros(shape, int).tolist()).encode()
    assert regular_shape(text.translate(None, b"0 ")) == shape


@pytest.mark.parametrize(
    "structure",
    [b"", b"]", b"[", b"[,", b"[[,],[,,]]", b"[[],[,]]", b"[[,][,]]", b"[,[,]]", b"[[,],]", b"[]]"],
)
def test_other_structures_have_no_shape(structure: bytes) -> None:
    assert regular_shape(structure) is None


def test_lists_nested_too_deep_are_refused_and_do_no_harm() -> None:
    deep = b'{"instances": ' + b"[" * 200 + b"1" + b"]" * 200 + b"}"
    assert beside_it(deep, signature(x=DType.FP32)) is InvalidInput
    too_deep = b'{"instances": ' + b"[" * 2000 + b"]" * 2000 + b"}"
    assert beside_it(too_deep, signature(x=DType.FP32)) is MalformedRequest


def test_of_two_equal_keys_the_last_counts() -> None:
    body = b'{"instances": [1.5, 2.5], "instances": [3.5]}'
    assert same(on_the_loop(body, signature(x=DType.FP32)), {"x": np.asarray([3.5], np.float32)})
    assert same(
        on_the_loop(body, signature(x=DType.FP32)), beside_it(body, signature(x=DType.FP32))
    )


def test_a_client_cannot_name_a_list_it_did_not_send() -> None:
    parser = ListParser()
    mark = parser._mark
    value = parser.parse(b'{"a": [1, 2], "b": ["' + mark.encode() + b'0"]}')
    assert value["b"] == [f"{mark}0"]


@pytest.mark.parametrize("kind", ["strings", "b64"])
def test_strings_come_through_the_memory_file(kind: str) -> None:
    elements = ["a", "é"] if kind == "strings" else [{"b64": "AAE="}, {"b64": ""}]
    body = json.dumps({"instances": elements}, ensure_ascii=False).encode()
    signed = signature(x=DType.BYTES)
    assert same(on_the_loop(body, signed), beside_it(body, signed))


def test_both_of_instances_and_inputs_are_refused_by_the_front() -> None:
    body = b'{"instances": [1], "inputs": [1]}'
    assert beside_it(body, signature(x=DType.FP32)) is MalformedRequest


@pytest.mark.parametrize("dialect", [Dialect.TFSERVING, Dialect.PLAIN])
def test_no_number_of_many_that_is_too_large_becomes_infinity(dialect: Dialect) -> None:
    body = b'{"instances": [[%s1e400]]}' % (b"1.5, " * 4000)
    with pytest.raises(MalformedRequest, match=r"1e400.* is too large|is infinity"):
        decode(ListParser(), body, dialect, signature(x=DType.FP32))


def test_nan_beside_the_tensors_stays_nan() -> None:
    decoded = decode(ListParser(), b'{"id": NaN, "inputs": []}', Dialect.OIP, None)
    assert math.isnan(_handed_over(decoded)["id"])


def _handed_over(decoded: dict[str, Any]) -> dict[str, Any]:
    descriptor = os.memfd_create("test")
    try:
        answer = handover.write(descriptor, 0, decoded)
        area = memoryview(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    finally:
        os.close(descriptor)
    return handover.read(area, answer)


@pytest.mark.parametrize(
    ("dialect", "key"),
    [(Dialect.PLAIN, "instances"), (Dialect.TFSERVING, "inputs"), (Dialect.OIP, "inputs")],
)
def test_what_no_front_reads_stays_in_the_scribe(dialect: Dialect, key: str) -> None:
    body = json.dumps({key: [], "junk": ["a"] * 10**6, "signature_name": "x"}).encode()
    signed = None if dialect is Dialect.OIP else signature(x=DType.FP32)
    came = _handed_over(decode(ListParser(), body, dialect, signed))
    assert came.keys() - {"signature_name"} == {key}
    assert ("signature_name" in came) == (dialect is Dialect.TFSERVING)


@pytest.mark.parametrize(
    ("field", "value"), [("datatype", "FP16"), ("datatype", "BF16"), ("datatype", "?"), ("name", 1)]
)
def test_data_that_is_refused_whatever_it_is_stays_in_the_scribe(field: str, value: Any) -> None:
    data = [1.5, "a"] * 10**5
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(data)], "data": data, field: value}
    body = json.dumps({"inputs": [tensor]}).encode()
    came = _handed_over(decode(ListParser(), body, Dialect.OIP, None))
    assert came["inputs"][0]["data"] is None
    assert beside_it(body, None) is on_the_loop(body, None)


def test_more_tensors_than_the_receiver_could_read_at_once_are_refused() -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    body = {"inputs": [tensor | {"name": str(n)} for n in range(MOST_TENSORS)]}
    found = beside_it(json.dumps(body).encode(), None)
    assert isinstance(found, dict)
    assert len(found) == MOST_TENSORS
    body["inputs"].append(tensor)
    with pytest.raises(InvalidInput, match="1025 tensors in JSON: send at most 1024 at once"):
        decode(ListParser(), json.dumps(body).encode(), Dialect.OIP, None)


def test_more_beside_the_tensors_than_the_receiver_could_parse_at_once_is_refused() -> None:
    fits = {"inputs": [], "id": "a" * (handover.MOST_REST_BYTES - 100)}
    assert _handed_over(decode(ListParser(), json.dumps(fits).encode(), Dialect.OIP, None)) == fits
    much = {"inputs": [], "parameters": {"a": ["a"] * handover.MOST_REST_BYTES}}
    with pytest.raises(InvalidInput, match="names, shapes and parameters may have 262144"):
        _handed_over(decode(ListParser(), json.dumps(much).encode(), Dialect.OIP, None))
