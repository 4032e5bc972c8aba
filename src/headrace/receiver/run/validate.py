"""Inputs against a model's signature: the same messages whichever way they came."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headrace.errors import InvalidInput
from headrace.receiver.codecs.tensors import check_strings
from headrace.values import Array, DType, Signature, TensorSpec

_HALF_BITS = 32
_LEAST, _MOST = -(2**31), 2**31 - 1


def validate(signature: Signature, inputs: Mapping[str, Array]) -> int:
    """Check the inputs of one request and return its rows (1 for a model that does not batch).

    Raises:
        InvalidInput: a name, dtype, shape or number of rows does not fit, or there are too many
            strings; the message says which.
    """
    specs, strings = signature.inputs, 0
    if len(inputs) != len(specs):
        refuse_other_names(inputs, signature)
    for spec in specs:
        array = inputs.get(spec.name)
        if array is None:
            refuse_other_names(inputs, signature)
            raise InvalidInput(f"input {spec.name!r} is missing")
        _fits(spec, array)
        if spec.dtype is DType.BYTES:
            strings += array.size
            check_strings(spec.name, strings)
    return _rows(specs, inputs) if signature.batched else 1


def wide_inputs(signature: Signature, integer_bits: int) -> tuple[str, ...]:
    """Name the inputs whose numbers may need more bits than a backend computes integers in."""
    kinds = {DType.INT64, DType.UINT64, DType.UINT32}
    return tuple(
        spec.name for spec in signature.inputs if spec.dtype in kinds and integer_bits <= _HALF_BITS
    )


def refuse_wide(names: tuple[str, ...], inputs: Mapping[str, Array]) -> None:
    """Check that the numbers of these inputs fit 32 bits.

    Raises:
        InvalidInput: one does not; the backend would make another number of it.
    """
    for name in names:
        array = inputs[name]
        # All their bits together: of words, which are few and positive, that is all there is to
        # look at, and takes 2 us where the least and the most of 128 take 5.
        if not int(np.bitwise_or.reduce(array, None)) >> (_HALF_BITS - 1):
            continue
        if not (int(array.min()) >= _LEAST and int(array.max()) <= _MOST):
            raise InvalidInput(
                f"input {name!r} has a number that does not fit 32 bits, in which OpenVINO "
                "computes integers: serve this model as ONNX with backend onnxruntime"
            )


def text_inputs(signature: Signature, *, text_only: bool) -> tuple[str, ...]:
    """Name the inputs of strings of a model whose library takes no bytes that are not text."""
    strings = (spec.name for spec in signature.inputs if spec.dtype is DType.BYTES)
    return tuple(strings) if text_only else ()


def refuse_other_bytes(names: tuple[str, ...], inputs: Mapping[str, Array]) -> None:
    """Check that the strings of these inputs are UTF-8.

    Raises:
        InvalidInput: one is not; a run of it would fail, with all that share it.
    """
    for name in names:
        try:
            # All at once. Nothing that is cut off goes on behind a zero.
            b"\0".join(inputs[name].ravel().tolist()).decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"input {name!r} has a string that is not UTF-8, and ONNX Runtime takes no other "
                f"bytes ({error.reason})"
            ) from error


def unequal_axes(signature: Signature, inputs: Mapping[str, Array]) -> str | None:
    """Which two axes have one name in the file and other sizes, or None.

    That may be why a request has failed. Names may be careless, of axes that need not be equal; and
    1 is equal to any, as a model may broadcast it.
    """
    seen: dict[str, tuple[str, int, int]] = {}
    for spec in signature.inputs:
        for axis, name in enumerate(spec.shape):
            size = inputs[spec.name].shape[axis]
            if not isinstance(name, str) or size == 1:
                continue
            other, place, before = seen.setdefault(name, (spec.name, axis, size))
            if size != before:
                return (
                    f"axis {place} of input {other!r} is {before} and axis {axis} of input "
                    f"{spec.name!r} is {size}, which the model calls by one name, {name!r}"
                )
    return None


def _fits(spec: TensorSpec, array: Array) -> None:
    if array.dtype is not spec.dtype.numpy and array.dtype != spec.dtype.numpy:
        raise InvalidInput(f"input {spec.name!r} is {spec.dtype.value}, not {_dtype_name(array)}")
    shape = array.shape
    if len(shape) != len(spec.shape):
        raise _wrong_shape(spec, shape)
    for dim, expected in zip(shape, spec.shape, strict=True):
        if dim != expected and isinstance(expected, int):
            raise _wrong_shape(spec, shape)


def _rows(specs: tuple[TensorSpec, ...], inputs: Mapping[str, Array]) -> int:
    first = inputs[specs[0].name]
    rows = len(first)
    if rows == 0:
        raise InvalidInput("the request has no rows: axis 0 of its inputs is 0")
    if first.size == 0 and not any(array.size for array in inputs.values()):
        # Rows of nothing cost the client nothing: a few bytes could ask for billions.
        raise InvalidInput(f"the request has {rows} rows and not one element")
    for spec in specs:
        if len(inputs[spec.name]) != rows:
            raise InvalidInput(
                f"input {spec.name!r} has {len(inputs[spec.name])} rows, the inputs before it have "
                f"{rows}"
            )
    return rows


def refuse_other_names(inputs: Mapping[str, object], signature: Signature) -> None:
    """See that the inputs are those of the model.

    Raises:
        InvalidInput: one is another, which is named first, or missing.
    """
    expected = [spec.name for spec in signature.inputs]
    for name in inputs:
        if name not in expected:
            raise InvalidInput(f"unknown input {name!r}; the model has {', '.join(expected)}")
    for name in expected:
        if name not in inputs:
            raise InvalidInput(f"input {name!r} is missing; the model has {', '.join(expected)}")


def _wrong_shape(spec: TensorSpec, shape: tuple[int, ...]) -> InvalidInput:
    return InvalidInput(f"input {spec.name!r} has shape {list(spec.wire_shape)}, got {list(shape)}")


def _dtype_name(array: Array) -> str:
    try:
        return str(DType.of(array.dtype).value)
    except KeyError:
        return str(array.dtype)
