"""Inputs against a signature."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.errors import InvalidInput
from headrace.receiver.run.validate import (
    refuse_other_bytes,
    refuse_wide,
    text_inputs,
    validate,
    wide_inputs,
)
from headrace.values import Array, DType, Signature, TensorSpec

IMAGE = TensorSpec("image", DType.UINT8, ("batch", 3, None))
NAME = TensorSpec("name", DType.BYTES, ("batch",))
SCORES = TensorSpec("scores", DType.FP32, ("batch", 10))


def signature(*inputs: TensorSpec, batched: bool = True) -> Signature:
    return Signature(inputs, (SCORES,), batched)


def image(*shape: int, dtype: type[np.generic] = np.uint8) -> Array:
    return np.zeros(shape, dtype)


def names(rows: int) -> Array:
    return np.full(rows, b"a", object)


def test_rows_are_those_of_axis_0() -> None:
    both = signature(IMAGE, NAME)
    assert validate(both, {"name": names(2), "image": image(2, 3, 7)}) == 2
    assert validate(signature(IMAGE), {"image": image(5, 3, 1)}) == 5


def test_a_model_that_does_not_batch_takes_one_request_a_run() -> None:
    fixed = signature(IMAGE, NAME, batched=False)
    assert validate(fixed, {"image": image(4, 3, 7), "name": names(9)}) == 1
    assert validate(signature(batched=False), {}) == 1
    scalar = TensorSpec("x", DType.UINT8, ())
    assert validate(signature(scalar, batched=False), {"x": image()}) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'image' is missing; the model has image, name"),
        ({"image": image(1, 3, 1)}, "input 'name' is missing"),
        (
            {"image": image(1, 3, 1), "nam": names(1)},
            "unknown input 'nam'; the model has image, name",
        ),
        (
            {"image": image(1, 3, 1), "name": names(1), "more": names(1)},
            "unknown input 'more'",
        ),
        (
            {"image": image(1, 3, 1, dtype=np.int8), "name": names(1)},
            "input 'image' is UINT8, not INT8",
        ),
        (
            {"image": image(1, 3, 1, dtype=np.complex64), "name": names(1)},
            "input 'image' is UINT8, not complex64",
        ),
        ({"image": names(1), "name": names(1)}, "'image' is UINT8, not BYTES"),
        (
            {"image": image(1, 3), "name": names(1)},
            r"input 'image' has shape \[-1, 3, -1\], got \[1, 3\]",
        ),
        ({"image": image(1, 4, 1), "name": names(1)}, r"got \[1, 4, 1\]"),
        ({"image": image(0, 3, 1), "name": names(0)}, "no rows"),
        (
            {"image": image(2, 3, 1), "name": names(3)},
            "input 'name' has 3 rows, the inputs before it have 2",
        ),
    ],
)
def test_what_does_not_fit_is_named(inputs: dict[str, Array], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        validate(signature(IMAGE, NAME), inputs)


def test_rows_without_an_element_are_none_however_many() -> None:
    with pytest.raises(InvalidInput, match="1000000000 rows and not one element"):
        validate(signature(IMAGE), {"image": image(10**9, 3, 0)})
    # An empty tensor beside one that is not, as the first step of a language model has it.
    both = signature(IMAGE, NAME)
    assert validate(both, {"image": image(2, 3, 0), "name": names(2)}) == 2


# -- integers wider than a backend computes --------------------------------------------------------

NEAR = tuple(at + off for at in (0, 2**31, -(2**31), 2**32, 2**62) for off in (-2, -1, 0, 1))


def some(kind: str) -> st.SearchStrategy[Array]:
    """Arrays of numbers beside those where something changes."""
    limits = np.iinfo(kind)
    return arrays.arrays(
        kind,
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=st.sampled_from([one for one in NEAR if limits.min <= one <= limits.max]),
    )


@given(st.sampled_from(("int64", "uint64", "uint32")).flatmap(some))
def test_numbers_are_refused_that_need_more_than_32_bits_and_no_others(array: Array) -> None:
    wide = any(not -(2**31) <= int(one) < 2**31 for one in array.flat)
    said = pytest.raises(InvalidInput, match="input 'x' has a number that does not fit 32 bits")
    with said if wide else nullcontext():
        refuse_wide(("x",), {"x": array})


@pytest.mark.parametrize(("bits", "looked_at"), [(32, ("a", "b", "c")), (64, ())])
def test_only_inputs_that_may_be_too_wide_are_looked_at(
    bits: int, looked_at: tuple[str, ...]
) -> None:
    kinds = {"a": DType.INT64, "b": DType.UINT64, "c": DType.UINT32, "d": DType.INT32}
    specs = [TensorSpec(name, kind, ("batch",)) for name, kind in kinds.items()]
    assert wide_inputs(signature(*specs, IMAGE), bits) == looked_at


def is_text(data: bytes) -> bool:
    try:
        return isinstance(data.decode(), str)
    except UnicodeDecodeError:
        return False


@given(
    st.lists(
        st.binary(max_size=3)
        | st.text(max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass"))
        | st.sampled_from([b"\xf0\x9f", b"\x98\x80", b"\xc3", b"\0", b"\xa4"]),
        max_size=4,
    )
)
def test_strings_are_refused_that_are_no_text_and_no_others(strings: list[bytes]) -> None:
    array = np.empty((1, len(strings)), object)
    array[0] = strings
    said = pytest.raises(InvalidInput, match="input 'x' has a string that is not UTF-8")
    with nullcontext() if all(map(is_text, strings)) else said:
        refuse_other_bytes(("x",), {"x": array})


def test_only_strings_are_looked_at_and_only_where_they_must_be_text() -> None:
    asked = signature(TensorSpec("words", DType.BYTES, ("batch",)), IMAGE)
    assert text_inputs(asked, text_only=True) == ("words",)
    assert text_inputs(asked, text_only=False) == ()


def test_the_strings_of_all_inputs_are_counted_together() -> None:
    title = TensorSpec("title", DType.BYTES, ("batch",))
    both = signature(NAME, title)
    assert validate(both, {"name": names(2**17), "title": names(2**17)}) == 2**17
    with pytest.raises(InvalidInput, match="input 'title': 262,146 strings in a request"):
        validate(both, {"name": names(2**17 + 1), "title": names(2**17 + 1)})
