"""What users give as inputs, as arrays to send; nothing is converted that has a dtype already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.client.options import Options
from headrace.client.question import Inference
from headrace.client.result import ModelMetadata
from headrace.errors import InvalidInput
from headrace.values import Array, DType, TensorSpec

Inputs = Mapping[str, Any] | Any
"""Name → array or nested lists; or the only input by itself."""

_KINDS = {"b": "b", "i": "iu", "u": "iu"}
# Other libraries' are converted as lists are: a column of numbers has a dtype nobody has chosen.
_TYPED = (np.ndarray, np.generic)


def needs_metadata(inputs: Inputs, options: Options) -> bool:
    """Whether the model must be asked what it takes first."""
    if not isinstance(inputs, Mapping):
        return True
    if options.classification is not None and not options.outputs:
        return True
    return not all(isinstance(value, _TYPED) for value in inputs.values())


def prepare(
    model: str, inputs: Inputs, options: Options, metadata: ModelMetadata | None
) -> Inference:
    """Make what is sent of what the user gave.

    Raises:
        InvalidInput: an input cannot be sent, or the model has none of that name.
    """
    named = inputs if isinstance(inputs, Mapping) else {_only_input(model, metadata): inputs}
    if not named:
        raise InvalidInput(f"no inputs for {model!r}: give {{name: array}}")
    outputs = tuple(options.outputs or ())
    if options.classification is not None and not outputs and metadata is not None:
        outputs = tuple(spec.name for spec in metadata.outputs)
    return Inference(
        model=model,
        version="" if options.version is None else str(options.version),
        inputs={name: _array(name, value, metadata) for name, value in named.items()},
        outputs=outputs,
        classification=options.classification,
        parameters=options.parameters,
        id=options.request_id,
    )


def raw(array: Array) -> memoryview:
    """The bytes of a contiguous array that is not BYTES, without copying them."""
    return array.reshape(-1).view(np.uint8).data


def _only_input(model: str, metadata: ModelMetadata | None) -> str:
    specs = () if metadata is None else metadata.inputs
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise InvalidInput(f"{model!r} has {len(specs)} inputs ({names}): give {{name: array}}")
    return specs[0].name


def _array(name: str, value: Any, metadata: ModelMetadata | None) -> Array:
    if isinstance(value, _TYPED):
        return _ours(name, np.asarray(value))
    spec = _spec(name, metadata)
    if spec.dtype is DType.BYTES:
        return _texts(name, _read(name, value, object))
    return _numbers(name, value, spec.dtype)


def _read(name: str, value: Any, dtype: type | None = None) -> Array:
    try:
        return np.asarray(value, dtype)
    except (ValueError, OverflowError, TypeError, RuntimeError) as error:  # the last two: torch's
        raise InvalidInput(f"input {name!r} cannot be made an array: {error}") from error


def _spec(name: str, metadata: ModelMetadata | None) -> TensorSpec:
    specs = {} if metadata is None else {spec.name: spec for spec in metadata.inputs}
    if name not in specs:
        raise InvalidInput(f"no input {name!r}; the model's are: {', '.join(specs)}")
    return specs[name]


def _ours(name: str, array: Array) -> Array:
    """An array that has a dtype: it stays as it is, but for the order of its bytes."""
    if array.dtype.kind in "OSU":
        return _texts(name, array)
    if array.dtype.kind == "T":  # StringDType
        return _texts(name, array.astype(object))
    try:
        native = array.dtype.newbyteorder("<")
        DType.of(native)
    except (KeyError, TypeError):  # the latter of dtypes that have no order
        known = ", ".join(dtype.value for dtype in DType)
        raise InvalidInput(
            f"input {name!r}: {array.dtype} cannot be sent, only {known}: convert it with astype"
        ) from None
    return np.asarray(array, native, order="C")


def _texts(name: str, array: Array) -> Array:
    for element in array.flat:
        if not isinstance(element, (str, bytes)):
            raise InvalidInput(
                f"input {name!r} is text: its elements are str or bytes and its rows of one "
                f"length, but there is a {type(element).__name__}"
            )
    return array


def _numbers(name: str, value: Any, dtype: DType) -> Array:
    array = _read(name, value)
    want = dtype.numpy
    if array.size == 0 and array.dtype.kind == "f":  # of nothing numpy makes fractions
        return array.astype(want)
    if dtype is DType.UINT64 and array.dtype.kind == "f":
        array = _whole(value, array)
    if array.dtype.kind not in _KINDS.get(want.kind, "fiu"):
        raise InvalidInput(
            f"input {name!r} is {dtype.value}, and {array.dtype} would not come through unchanged: "
            f"give such numbers, or an array"
        )
    return _fitted(name, array, dtype)


def _fitted(name: str, array: Array, dtype: DType) -> Array:
    want = dtype.numpy
    if want.kind in "iu" and array.size:
        limits = np.iinfo(want)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InvalidInput(f"input {name!r}: a number does not fit {dtype.value}")
    with np.errstate(over="ignore"):
        array_of_want = array.astype(want)
    if want.kind not in "biu" and not np.array_equal(np.isinf(array_of_want), np.isinf(array)):
        raise InvalidInput(f"input {name!r}: a number does not fit {dtype.value}")
    return array_of_want


def _whole(value: Any, rounded: Array) -> Array:
    """Whole numbers on both sides of 2**63, of which numpy makes fractions."""
    exact = np.array(value, object)
    if all(type(one) is int and 0 <= one < 2**64 for one in exact.flat):
        return exact.astype(np.uint64)
    return rounded
