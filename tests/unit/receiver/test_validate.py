"""Inputs against a signature."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import InvalidInput
from headrace.receiver.run.validate import validate
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
