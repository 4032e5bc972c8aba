"""What a model takes and gives: element types, and named tensors of them.

numpy is imported when it is first asked for: the supervisor passes signatures on and needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


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

    # Read several times a request: from the second time on it is a plain attribute of the member.
    # (An Enum member as a dictionary key is hashed in Python.)
    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype that holds this element type (``object`` for BYTES)."""
        return next(dtype for dtype, name in _from_numpy().items() if name is self)

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
        return _from_numpy()[dtype]


@cache
def _from_numpy() -> dict[np.dtype[Any], DType]:
    import ml_dtypes  # noqa: PLC0415 - see the head of this file
    import numpy as np  # noqa: PLC0415 - the same

    return {
        np.dtype(np.bool_): DType.BOOL,
        np.dtype(np.uint8): DType.UINT8,
        np.dtype(np.uint16): DType.UINT16,
        np.dtype(np.uint32): DType.UINT32,
        np.dtype(np.uint64): DType.UINT64,
        np.dtype(np.int8): DType.INT8,
        np.dtype(np.int16): DType.INT16,
        np.dtype(np.int32): DType.INT32,
        np.dtype(np.int64): DType.INT64,
        np.dtype(np.float16): DType.FP16,
        np.dtype(ml_dtypes.bfloat16): DType.BF16,
        np.dtype(np.float32): DType.FP32,
        np.dtype(np.float64): DType.FP64,
        np.dtype(object): DType.BYTES,
    }


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
