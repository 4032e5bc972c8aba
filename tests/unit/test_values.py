"""The values that travel: dtypes, specs, signatures."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import ml_dtypes
import numpy as np
import pytest

from headrace.values import DType, Request, RequestedOutput, Response, Signature, TensorSpec

SIZES = {
    DType.BOOL: 1,
    DType.UINT8: 1,
    DType.UINT16: 2,
    DType.UINT32: 4,
    DType.UINT64: 8,
    DType.INT8: 1,
    DType.INT16: 2,
    DType.INT32: 4,
    DType.INT64: 8,
    DType.FP16: 2,
    DType.BF16: 2,
    DType.FP32: 4,
    DType.FP64: 8,
    DType.BYTES: None,
}


def test_every_dtype_has_a_size_and_strings_have_none() -> None:
    assert {dtype: dtype.size_bytes for dtype in DType} == SIZES


@pytest.mark.parametrize("dtype", list(DType), ids=lambda dtype: dtype.value)
def test_a_dtype_is_found_by_its_numpy_dtype(dtype: DType) -> None:
    assert DType.of(dtype.numpy) is dtype
    assert DType.of(np.empty(0, dtype.numpy).dtype) is dtype
    assert DType(dtype.value) is dtype


def test_every_kind_of_string_is_bytes() -> None:
    for array in (np.array(["a"]), np.array([b"a"]), np.array(["a"], object)):
        assert DType.of(array.dtype) is DType.BYTES
    assert DType.of(np.dtype(ml_dtypes.bfloat16)) is DType.BF16


@pytest.mark.parametrize(
    "name", ["complex64", "datetime64[s]", "timedelta64[s]", ">f4", "longdouble"]
)
def test_dtypes_nobody_serves_have_no_counterpart(name: str) -> None:
    with pytest.raises(KeyError):
        DType.of(np.dtype(name))


def test_free_dimensions_are_minus_1_on_the_wire() -> None:
    spec = TensorSpec("x", DType.FP32, ("batch", 3, None, 0))
    assert spec.wire_shape == (-1, 3, -1, 0)
    assert TensorSpec("x", DType.FP32, ()).wire_shape == ()


def test_a_signature_finds_its_tensors_by_name() -> None:
    x, y = TensorSpec("x", DType.FP32, (None,)), TensorSpec("y", DType.INT8, (None,))
    signature = Signature((x,), (y,), batched=True)
    assert (signature.input("x"), signature.input("y")) == (x, None)
    assert (signature.output("y"), signature.output("x")) == (y, None)


def test_values_are_frozen() -> None:
    spec = TensorSpec("x", DType.FP32, (None,))
    with pytest.raises(FrozenInstanceError):
        spec.name = "y"  # type: ignore[misc] # that it is refused is the point
    request = Request("m", None, {}, 0.0)
    with pytest.raises(AttributeError):
        request.model = "n"  # type: ignore[misc] # as above


def test_a_request_that_says_nothing_asks_for_everything_now() -> None:
    request = Request("m", None, {}, 1.5)
    assert (request.outputs, request.timeout_s, request.priority, request.id) == ((), None, 0, "")
    assert request.form is None
    assert RequestedOutput("y").classification is None
    assert Response("m", 1, "", {}).outputs == {}
