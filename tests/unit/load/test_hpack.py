"""Against the `hpack` library, which is not ours, in both directions."""

from __future__ import annotations

import hpack as reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.load.codec import BadAnswer
from headrace.load.hpack import decode, encode

NAMES = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz-0123456789"), min_size=1)
VALUES = st.text(st.characters(max_codepoint=255))
KNOWN = [(":status", "200"), (":method", "POST"), (":path", "/"), ("content-type", "x"), ("te", "")]
HEADERS = st.lists(st.tuples(NAMES, VALUES) | st.sampled_from(KNOWN))


@given(HEADERS)
def test_what_we_write_is_read_by_others(headers: list[tuple[str, str]]) -> None:
    found = reference.Decoder(max_header_list_size=2**20).decode(encode(headers), raw=True)
    assert [(n.decode("latin-1"), v.decode("latin-1")) for n, v in found] == headers


@given(HEADERS, st.booleans())
def test_what_others_write_without_a_table_is_read(
    headers: list[tuple[str, str]], huffman: bool
) -> None:
    encoder = reference.Encoder()
    encoder.header_table_size = 0
    coded = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers]
    assert decode(encoder.encode(coded, huffman=huffman)) == headers


def test_every_byte_survives_the_huffman_code() -> None:
    value = bytes(range(256))
    encoder = reference.Encoder()
    encoder.header_table_size = 0
    assert decode(encoder.encode([(b"all", value)], huffman=True)) == [
        ("all", value.decode("latin-1"))
    ]


def test_equal_headers_are_equal_bytes_without_a_table() -> None:
    encoder = reference.Encoder()
    encoder.header_table_size = 0
    first = encoder.encode([(b"grpc-status", b"0")])
    assert first != (second := encoder.encode([(b"grpc-status", b"0")]))  # the size, said once
    assert second == encoder.encode([(b"grpc-status", b"0")])
    assert decode(first) == decode(second)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("80", "not in the static table"),
        ("be", "not in the static table"),  # the first entry of a table we forbade
        ("00", "cut off"),
        ("000161", "cut off"),
        ("0003616263", "cut off"),
        ("ff", "cut off"),
        ("7fffffffffffffffff", "too large"),
        ("0081ff00", "padded"),  # eight bits of padding: a whole byte too many
        ("008100", "cut off|padded"),
        ("0084ffffffff00", "end-of-string"),
    ],
)
def test_a_broken_block_is_a_bad_answer(block: str, message: str) -> None:
    with pytest.raises(BadAnswer, match=message):
        decode(bytes.fromhex(block))
