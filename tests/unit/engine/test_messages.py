"""Frames between receiver and engine come out as they went in."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.messages import (
    ATTACH,
    DONE,
    FAILED,
    MAX_FRAME_BYTES,
    REFUSED,
    RUN,
    Attach,
    Attached,
    Frame,
    Layout,
    Placed,
    pack,
    pack_attach,
    pack_attached,
    unpack,
    unpack_attach,
    unpack_attached,
)

UINT32, UINT64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
placed = st.builds(
    Placed, UINT64, UINT64, st.lists(st.integers(0, 2**63 - 1), max_size=8).map(tuple)
)
layouts = st.builds(Layout, UINT32, UINT32, st.lists(placed, max_size=5))
frames = st.builds(
    Frame,
    st.sampled_from([RUN, DONE, FAILED, REFUSED]),
    UINT64,
    layouts,
    UINT64,
    UINT32,
    st.text(max_size=50),
)


@given(frames)
def test_a_frame_comes_back(frame: Frame) -> None:
    assert unpack(pack(frame)) == frame


@given(st.builds(Attach, UINT32, UINT64, UINT64))
def test_attach_comes_back(attach: Attach) -> None:
    assert unpack_attach(pack_attach(attach)) == attach


@given(st.builds(Attached, UINT32, UINT32, UINT32, UINT32))
def test_attached_comes_back(attached: Attached) -> None:
    assert unpack_attached(pack_attached(attached)) == attached


def test_the_first_frame_must_be_attach() -> None:
    data = bytearray(pack_attach(Attach(3, 64, 64)))
    assert data[0] == ATTACH
    data[0] = RUN
    with pytest.raises(ValueError, match="must be Attach, not kind 2"):
        unpack_attach(bytes(data))
    with pytest.raises(struct.error):
        unpack_attach(pack(Frame(RUN, 1, Layout(0, 1))))


def test_hundreds_of_inputs_fit_the_longest_frame() -> None:
    tensors = [Placed(2**30, 2**20, (64, 3, 224, 224))] * 1000
    frame = Frame(RUN, 2**64 - 1, Layout(1, 64, tensors))
    assert len(pack(frame)) < MAX_FRAME_BYTES
