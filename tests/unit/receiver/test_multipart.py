"""A form's fields, or why it is none; whatever bytes come, nothing else."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.errors import MalformedRequest
from headrace.receiver.plain.multipart import MOST_PARTS, Part, boundary, parse

FIELD = b'--b\r\nContent-Disposition: form-data; name="x"; filename="a.png"\r\n\r\nabc\r\n'
END = b"--b--\r\n"


def test_fields_come_in_order_with_their_bytes() -> None:
    second = (
        b"--b\r\ncontent-type: text/plain\r\ncontent-disposition: form-data; name=y\r\n\r\n\r\n\r\n"
    )
    assert parse(FIELD + second + FIELD + END, b"b") == [
        Part("x", b"abc"),
        Part("y", b"\r\n"),
        Part("x", b"abc"),
    ]


def test_what_looks_like_a_boundary_inside_is_content() -> None:
    body = FIELD.replace(b"abc", b"\r\n--c\r\n-- b--\r\n") + END
    assert parse(body, b"b")[0].content == b"\r\n--c\r\n-- b--\r\n"


def test_what_is_before_the_first_boundary_is_left_out() -> None:
    for before in (b"\r\n", b"This is a message in MIME format.\r\n", b"--c\r\n"):
        assert parse(before + FIELD + END, b"b") == [Part("x", b"abc")]


def test_names_may_be_quoted_and_in_any_script() -> None:
    body = FIELD.replace(b'"x"', '"é\\"n"'.encode()) + END
    assert parse(body, b"b")[0].name == 'é"n'


def test_a_form_may_be_empty() -> None:
    assert parse(END, b"b") == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "cut off"),
        (FIELD, "cut off: its last boundary is missing"),
        (FIELD[:-5], "cut off"),
        (b"hello", "is broken"),
        (b"--other\r\n", "is broken"),
        (b"--b\r\n\r\nabc\r\n--b--", "field 1 of the multipart form has no name"),
        (FIELD.replace(b'name="x"; ', b"") + END, "has no name"),
        (FIELD.replace(b"form-data", b"attachment") + END, "has no name"),
        (FIELD * (MOST_PARTS + 1) + END, "more than 128 fields"),
        (FIELD.replace(b"abc", b"\r\n--bx" * 10**5) + END, "its boundary in a file"),
        (b"--b\r\n" + b"a: b\r\n" * 1000 + b"\r\n\r\n" + END, "is broken"),
        (b"--b\r\nbad header\r\n\r\nabc\r\n--b--", "is broken"),
    ],
)
def test_a_broken_form_says_so(body: bytes, says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        parse(body, b"b")


def test_the_boundary_is_in_the_content_type() -> None:
    assert boundary(b'multipart/form-data; boundary="a b"') == b"a b"
    for kind in (b"multipart/form-data", b"multipart/form-data; boundary=", b"\xff"):
        with pytest.raises(MalformedRequest, match="without a boundary"):
            boundary(kind)


def test_a_boundary_that_is_far_too_long_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="is broken"):
        parse(b"", b"b" * 5000)


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=40))
@example(FIELD + END + b"epilogue" * 20, b"b")
def test_any_bytes_are_fields_or_an_error(body: bytes, separator: bytes) -> None:
    try:
        parse(body, separator)
    except MalformedRequest as error:
        assert error.message  # noqa: PT017


@given(st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_a_damaged_form_is_fields_or_an_error(at: int, change: bytes) -> None:
    body = bytearray(FIELD * 2 + END)
    body[at : at + len(change)] = change
    try:
        parse(bytes(body), b"b")
    except MalformedRequest as error:
        assert error.message  # noqa: PT017
