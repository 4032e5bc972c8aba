"""Shapes, dtypes and raw bytes that clients send."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from headrace.errors import InvalidInput
from headrace.receiver.codecs.protobuf import message
from headrace.receiver.codecs.tensors import MOST_STRINGS, from_raw, read_dtype, read_shape, to_raw
from headrace.receiver.codecs.typed import from_typed
from headrace.receiver.tfserving.tensors import to_array
from headrace.values import DType


@pytest.mark.parametrize("shape", [[], [0], [3, 4], [1] * 32, [2**39, 2], [0, 2**40]])
def test_shapes_are_whole_numbers_that_a_body_could_fill(shape: list[int]) -> None:
    assert read_shape("x", shape) == tuple(shape)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([-1], "has a dimension -1"),
        ([1.0], "has a dimension 1.0"),
        ([True], "has a dimension True"),
        (["1"], "has a dimension '1'"),
        ([None], "has a dimension None"),
        ([[1]], r"has a dimension \[1\]"),
        ([2**41], "is too large"),
        ([2**62, 0], "is too large"),
        ([2**21, 2**21], "is too large"),
        ([1] * 33, "is too large"),
        ([10**400], "is too large"),
    ],
)
def test_other_shapes_are_refused(shape: list[object], message: str) -> None:
    with pytest.raises(InvalidInput, match=f"input 'x': shape .* {message}"):
        read_shape("x", shape)


def test_a_message_about_a_shape_is_short_however_long_and_deep_the_shape() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    for shape in ([1] * 1_000_000, deep):
        with pytest.raises(InvalidInput) as caught:
            read_shape("x", shape)
        assert len(caught.value.message) < 200
    with pytest.raises(InvalidInput, match="unknown datatype"):
        read_dtype("x", deep)  # type: ignore[arg-type] # JSON may have anything there


def test_datatypes_are_those_of_the_protocol() -> None:
    assert [read_dtype("x", dtype.value) for dtype in DType] == list(DType)
    for name in ("fp32", "FLOAT", "", "FP32 "):
        with pytest.raises(InvalidInput, match=r"unknown datatype .*; one of BOOL, UINT8"):
            read_dtype("x", name)


@pytest.mark.parametrize("dtype", [d for d in DType if d is not DType.BYTES], ids=lambda d: d.value)
def test_raw_bytes_are_viewed_not_copied(dtype: DType) -> None:
    data = memoryview(bytes(range(96)))
    count = 96 // dtype.numpy.itemsize
    array = from_raw("x", dtype, (count,), data)
    assert array.dtype == dtype.numpy
    assert np.shares_memory(array, np.frombuffer(data, np.uint8)) == (dtype is not DType.BOOL)
    unaligned = from_raw("x", dtype, (1,), memoryview(bytes(99))[3 : 3 + dtype.numpy.itemsize])
    assert not unaligned.any()
    with pytest.raises(InvalidInput, match=f"of {dtype.value} is .* bytes, got 96"):
        from_raw("x", dtype, (count + 1,), data)


def test_true_is_any_byte_but_0_and_comes_back_as_1() -> None:
    array = from_raw("x", DType.BOOL, (3,), b"\x00\x02\xff")
    assert array.tolist() == [False, True, True]
    assert to_raw(array) == b"\x00\x01\x01"


def test_strings_have_their_lengths_before_them() -> None:
    data = b"\x01\0\0\0a\0\0\0\0"
    array = from_raw("x", DType.BYTES, (2, 1), data)
    assert array.tolist() == [[b"a"], [b""]]
    assert to_raw(array) == data
    with pytest.raises(InvalidInput, match="input 'x': BYTES element 0 of 1 bytes is cut off"):
        from_raw("x", DType.BYTES, (1,), data[:4])
    with pytest.raises(InvalidInput, match="9 bytes cannot hold 1099511627776 BYTES elements"):
        from_raw("x", DType.BYTES, (2**40,), data)  # before room for them is made


def test_an_answer_may_have_more_strings_than_a_request() -> None:
    count = MOST_STRINGS + 1
    assert from_raw("x", DType.BYTES, (count,), bytes(4 * count)).shape == (262_145,)


@pytest.mark.parametrize("values", [[], [b""], [b"a"] * (MOST_STRINGS + 1)], ids=len)
def test_more_strings_than_a_request_may_have_are_refused_before_they_are_made(
    values: list[bytes],
) -> None:
    many = message("tensorflow.TensorProto")(dtype=7, string_val=values)
    many.tensor_shape.dim.add(size=16_000_000)
    typed = message("inference.InferTensorContents")(bytes_contents=[b""] * (MOST_STRINGS + 1))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=r"'x': 16,000,000 strings .* send several requests"):
            to_array("x", many)
        with pytest.raises(InvalidInput, match=r"'x': 262,145 strings .* send several requests"):
            from_typed("x", DType.BYTES, (MOST_STRINGS + 1,), typed)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_is_not_contiguous_is_written_row_by_row() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3).T
    assert to_raw(array) == np.array([0, 3, 1, 4, 2, 5], np.int16).tobytes()
    assert to_raw(np.empty((0, 3), np.float32)) == b""
    assert to_raw(np.array(1.5, np.float16)) == np.float16(1.5).tobytes()
