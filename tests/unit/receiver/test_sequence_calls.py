"""Which sequence a request belongs to, as its parameters and its headers say it."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import MalformedRequest
from headrace.receiver.sequence_calls import parameter_sequence, read_headers
from headrace.values import SequenceCall


@pytest.mark.parametrize(
    "none", [{}, {"sequence_id": 0}, {"sequence_id": ""}, {"sequence_id": "0"}]
)
def test_parameters_without_an_id_are_no_sequence(none: dict[str, Any]) -> None:
    assert parameter_sequence({"sequence_start": True, **none}) is None


@pytest.mark.parametrize("identity", [7, "7"])
def test_a_number_and_its_digits_are_one_sequence(identity: object) -> None:
    call = parameter_sequence({"sequence_id": identity, "sequence_end": True})
    assert call == SequenceCall("7", start=False, end=True)


@pytest.mark.parametrize("identity", [False, -1, 2**64, 0.0, [], {}, "x" * 129])
def test_other_ids_are_refused(identity: object) -> None:
    with pytest.raises(MalformedRequest, match="sequence_id must be a whole number"):
        parameter_sequence({"sequence_id": identity})


@pytest.mark.parametrize("name", ["sequence_start", "sequence_end"])
@pytest.mark.parametrize("flag", [None, 0, 1, "true", []])
def test_flags_are_true_or_false(name: str, flag: object) -> None:
    with pytest.raises(MalformedRequest, match=f"parameter {name} must be true or false"):
        parameter_sequence({"sequence_id": 1, name: flag})


@pytest.mark.parametrize("identity", [b"", b"0"])
def test_headers_without_an_id_are_no_sequence(identity: bytes) -> None:
    assert read_headers({b"headrace-sequence-id": identity}) is None
    assert read_headers({}) is None


@pytest.mark.parametrize("flag", [b"1", b"true", b"True"])
def test_headers_say_what_parameters_do(flag: bytes) -> None:
    headers = {b"headrace-sequence-id": b"7", b"headrace-sequence-start": flag}
    assert read_headers(headers) == SequenceCall("7", start=True, end=False)


@pytest.mark.parametrize("identity", ["7", "größe", "ß" * 128, "数" * 128])
def test_an_id_is_the_same_in_headers_and_parameters(identity: str) -> None:
    headers = {b"headrace-sequence-id": identity.encode()}
    assert read_headers(headers) == parameter_sequence({"sequence_id": identity})


def test_a_header_that_is_not_utf8_is_latin_1() -> None:
    headers = {b"headrace-sequence-id": "größe".encode("latin-1")}
    assert read_headers(headers) == SequenceCall("größe")


@pytest.mark.parametrize("identity", ["x" * 129, "ß" * 129])
def test_a_header_of_more_characters_is_refused(identity: str) -> None:
    with pytest.raises(MalformedRequest, match="at most 128 characters"):
        read_headers({b"headrace-sequence-id": identity.encode()})
