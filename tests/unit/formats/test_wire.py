"""Protobuf's wire format against protobuf itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import MalformedRequest
from headrace.formats.wire import inside, read_varint, tag_of, varint
from headrace.receiver.codecs.protobuf import message
from headrace.receiver.codecs.wire import RAW_INPUT_TAG, fields

InferRequest = message("inference.ModelInferRequest")


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_a_number_comes_back_and_tells_its_end(value: int, rest: bytes) -> None:
    data = varint(value)
    assert read_varint(memoryview(data + rest), 0) == (value, len(data))
    assert read_varint(memoryview(b"\xff" + data), 1) == (value, len(data) + 1)


@given(st.integers(1, 2**31 - 1))
def test_numbers_are_those_of_protobuf(value: int) -> None:
    tensor = message("tensorflow.TensorProto")(dtype=value)
    assert tensor.SerializeToString() == b"\x08" + varint(value)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9, b"\xff" * 20])
def test_a_number_without_an_end_is_malformed(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut off in a number"):
        read_varint(memoryview(data), 0)


@given(
    st.text(max_size=9),
    st.lists(st.binary(max_size=200), max_size=4),
    st.lists(st.text(max_size=9)),
)
def test_the_fields_are_the_messages(name: str, raw: list[bytes], inputs: list[str]) -> None:
    request = InferRequest(model_name=name, raw_input_contents=raw)
    for one in inputs:
        request.inputs.add(name=one, shape=[1, 2**40])
    data = bytes(request.SerializeToString())
    found = list(fields(memoryview(data)))
    assert [data[at:end] for tag, _, at, end in found if tag == RAW_INPUT_TAG] == raw
    assert list(inside(memoryview(data), 7)) == raw
    assert tag_of(7) == RAW_INPUT_TAG
    # Every byte belongs to one field, in order.
    assert [start for _, start, _, _ in found] == [0, *(end for *_, end in found)][: len(found)]
    assert b"".join(data[start:end] for _, start, _, end in found) == data


def test_fixed_fields_and_fields_it_does_not_know_are_walked_over() -> None:
    data = b"\x09" + bytes(8) + b"\x15" + bytes(4) + b"\x98\x06\x01" + b"\x3a\x01a"
    assert [(tag, end - at) for tag, _, at, end in fields(memoryview(data))] == [
        (0x09, 8),
        (0x15, 4),
        (0x318, 1),
        (RAW_INPUT_TAG, 1),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x3a", "cut off"),
        (b"\x3a\x05abcd", "cut off"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut off"),
        (b"\x09" + bytes(7), "cut off"),
        (b"\x15" + bytes(3), "cut off"),
        (b"\x08", "cut off"),
        (b"\x0b", "unknown wire type"),
        (b"\x0f", "unknown wire type"),
    ],
)
def test_bytes_that_are_no_message_are_malformed(data: bytes, message: str) -> None:
    with pytest.raises(MalformedRequest, match=message):
        list(fields(memoryview(data)))
