"""The values that travel through Headrace: dtypes, signatures, requests and responses.

Everything here is immutable and knows nothing of protocols, processes or time. A tensor is a numpy
array: ``BYTES`` is an object array of ``bytes``, ``BF16`` is ``ml_dtypes.bfloat16``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""One tensor, row-major."""


class DType(Enum):
    """An element type, named as the Open Inference Protocol names it."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    # Plain attributes of the members, set below: they are read several times a request, and an
    # Enum member as a dictionary key is hashed in Python.
    numpy: np.dtype[Any]
    """The numpy dtype that holds this element type (``object`` for BYTES)."""

    @property
    def size_bytes(self) -> int | None:
        """Bytes of one element; None for BYTES, whose elements vary."""
        return None if self is DType.BYTES else self.numpy.itemsize

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> DType:
        """Return the element type of a numpy dtype.

        Raises:
            KeyError: the dtype has no counterpart (complex, datetime, ...).
        """
        if dtype.kind in "OSU":
            return cls.BYTES
        return _FROM_NUMPY[dtype]


_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.BOOL: np.dtype(np.bool_),
    DType.UINT8: np.dtype(np.uint8),
    DType.UINT16: np.dtype(np.uint16),
    DType.UINT32: np.dtype(np.uint32),
    DType.UINT64: np.dtype(np.uint64),
    DType.INT8: np.dtype(np.int8),
    DType.INT16: np.dtype(np.int16),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
    DType.FP16: np.dtype(np.float16),
    DType.BF16: np.dtype(ml_dtypes.bfloat16),
    DType.FP32: np.dtype(np.float32),
    DType.FP64: np.dtype(np.float64),
    DType.BYTES: np.dtype(object),
}
for _member, _dtype in _NUMPY.items():
    _member.numpy = _dtype
_FROM_NUMPY = {dtype: name for name, dtype in _NUMPY.items()}

Dim = int | str | None
"""One dimension of a signature: a fixed size, a named free size (``"sequence"``), or free."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named input or output of a model.

    ``shape`` includes the batch axis where the model has one (axis 0, free).
    """

    name: str
    dtype: DType
    shape: tuple[Dim, ...]

    @property
    def wire_shape(self) -> tuple[int, ...]:
        """The shape as protocols write it: -1 for every free dimension."""
        return tuple(dim if isinstance(dim, int) else -1 for dim in self.shape)


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's named inputs and outputs.

    ``batched`` is true when axis 0 of every input and output is the free batch axis: then rows of
    different requests may share one run. Otherwise every request is run alone, with its own shapes.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool

    def input(self, name: str) -> TensorSpec | None:
        """Return the input of that name, or None."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        """Return the output of that name, or None."""
        return next((spec for spec in self.outputs if spec.name == name), None)


class RequestedOutput(NamedTuple):
    """An output the client asked for; ``classification`` is the top-k of the OIP extension."""

    name: str
    classification: int | None = None


class SequenceCall(NamedTuple):
    """Which sequence a request belongs to, and whether it begins or ends it.

    ``id`` is text: a number and its digits are the same sequence.
    """

    id: str
    start: bool = False
    end: bool = False


class Request(NamedTuple):
    """What every front decodes to: one inference request of a client.

    ``arrival_s`` is on the receiver's monotonic clock; ``timeout_s`` is what the client allows
    (None: it said nothing); ``outputs`` empty means all. ``version`` None means the newest that
    serves. Requests with the same ``form`` (compared by identity) agree in everything but the
    elements of their tensors, so what does not depend on those is checked once.
    """

    model: str
    version: int | None
    inputs: Mapping[str, Array]
    arrival_s: float
    id: str = ""
    outputs: tuple[RequestedOutput, ...] = ()
    timeout_s: float | None = None
    priority: int = 0
    form: object | None = None
    sequence: SequenceCall | None = None


class Response(NamedTuple):
    """The answer to a request, before a front encodes it; ``outputs`` keeps the order asked for."""

    model: str
    version: int
    id: str
    outputs: Mapping[str, Array]
