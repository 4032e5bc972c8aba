from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.checks.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Field,
    Part,
    fields,
    numbers,
    parts,
    text,
    whole,
)
from headrace.errors import ModelLoadError
from tests.contract.bad_models.tensorflow_ import field, varint

LISTS = {"list": {1: "list"}}


def _nested(levels: int) -> bytes:
    made = b""
    for _ in range(levels):
        made = field(1, made)
    return made


def test_fields_say_where_they_lie() -> None:
    data = field(1, 300) + b"\x11" + bytes(8) + field(3, "ab") + b"\x25" + bytes(4)
    assert list(fields(data)) == [
        Field(1, VARINT, 1, 3, 300),
        Field(2, FIXED64, 4, 12),
        Field(3, BYTES, 14, 16),
        Field(4, FIXED32, 17, 21),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (field(3, "abc")[:-1], "cut off: it has 4 bytes and should have at least 5"),
        (b"\x08", "cut off"),
        (b"\x08\xff", "cut off"),
        (b"\x11" + bytes(7), "cut off"),
        (b"\x0b", "no protobuf"),
        (b"\xff" * 20, "no protobuf"),
        (field(0, "a"), "no protobuf"),
        (field(0, 1), "no protobuf"),
    ],
)
def test_what_is_no_message_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ModelLoadError, match=words):
        list(fields(data))


def test_a_part_that_reaches_out_of_what_it_is_in_is_damaged() -> None:
    data = field(1, b"\x0a\x05ab") + field(2, "behind it")
    with pytest.raises(ModelLoadError, match="a part of it is longer than what it is in"):
        list(parts(data, LISTS, whole(data, "list")))


def test_parts_come_in_order_each_before_what_is_in_it() -> None:
    data = field(1, field(1, b"") + field(2, b"skipped")) + field(1, b"")
    assert [part[1:] for part in parts(data, LISTS, whole(data, "list"))] == [
        (2, 13),
        (4, 4),
        (15, 15),
    ]


def test_what_is_nested_deeper_than_libraries_read_is_refused() -> None:
    fine, deep = _nested(90), _nested(50_000)
    assert len(list(parts(fine, LISTS, whole(fine, "list")))) == 90
    with pytest.raises(ModelLoadError, match="nested more than 100 deep"):
        list(parts(deep, LISTS, whole(deep, "list")))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_numbers_are_read_packed_and_alone(values: list[int]) -> None:
    packed = field(1, b"".join(varint(value % 2**64) for value in values))
    alone = b"".join(field(1, value % 2**64) for value in values)
    for data in (packed, alone):
        assert [n for one in fields(data) for n in numbers(data, one)] == values


def test_text_that_is_none_is_named() -> None:
    with pytest.raises(ModelLoadError, match="not UTF-8 text"):
        text(b"ab\xff", Part("name", 0, 3))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_typed_error(data: bytes) -> None:
    try:
        ends = [one.end for one in fields(data)]
    except ModelLoadError:
        return
    assert ends == sorted(ends)
    assert not ends or ends[-1] == len(data)
