"""Signatures out of the bytes of a SavedModel, against protobuf itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.formats.saved_model import DEFAULT, only, signatures
from headrace.formats.wire import tag_of, varint
from headrace.receiver.codecs.protobuf import message

SignatureDef = message("tensorflow.SignatureDef")
NAMES = st.lists(st.text(max_size=5).filter(lambda name: not name.startswith("__")), unique=True)


def field(number: int, data: bytes) -> bytes:
    return varint(tag_of(number)) + varint(len(data)) + data


def entry(name: str, method: str) -> bytes:
    made = SignatureDef(method_name=method).SerializeToString()
    return field(1, name.encode()) + field(2, made)


def saved(**methods: str) -> bytes:
    """A SavedModel of these signatures, between a graph and an init operation."""
    entries = [*methods.items(), ("__saved_model_init_op", "")]
    graph = field(2, b"a graph") + b"".join(field(5, entry(*one)) for one in entries)
    return b"\x08\x01" + field(2, graph)


@given(NAMES)
def test_the_signatures_are_named(names: list[str]) -> None:
    assert signatures(memoryview(saved(**dict.fromkeys(names, "m")))) == sorted(names)


@given(NAMES.filter(bool), st.data())
def test_the_one_that_is_chosen_is_the_only_one_and_the_default(
    names: list[str], data: st.DataObject
) -> None:
    chosen = data.draw(st.sampled_from(names))
    whole = saved(**{name: f"method of {name}" for name in names})
    assert only(memoryview(whole), chosen) == saved(**{DEFAULT: f"method of {chosen}"})


@given(st.binary(max_size=40))
def test_other_bytes_have_no_signature_or_are_no_message(data: bytes) -> None:
    try:
        assert not signatures(memoryview(b"\x0b" + data))
    except ValueError:
        return


@pytest.mark.parametrize("part", [10, 30])
def test_half_a_file_is_cut_off(part: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        signatures(memoryview(saved(a="m", b="m")[:part]))
