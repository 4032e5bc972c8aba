"""The values that travel through Headrace: tensors, requests and responses.

Everything here is immutable and knows nothing of protocols, processes or time. A tensor is a numpy
array: ``BYTES`` is an object array of ``bytes``, ``BF16`` is ``ml_dtypes.bfloat16``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.signature import Dim, DType, Signature, TensorSpec

__all__ = [
    "Array",
    "DType",
    "Dim",
    "Request",
    "RequestedOutput",
    "Response",
    "SequenceCall",
    "Signature",
    "TensorSpec",
    "converted",
]


Array = NDArray[Any]
"""One tensor, row-major."""


def converted(array: Array, dtype: DType) -> Array | None:
    """The same numbers in another dtype; None where one would become another, or is no number."""
    if array.dtype.kind in "OUS":  # null, text, and what is past 64 bits
        return None
    with np.errstate(all="ignore"):
        made = array.astype(dtype.numpy)
    if made.dtype.kind in "biu":
        return made if np.array_equal(made, array) else None
    return None if (np.isinf(made) & ~np.isinf(array)).any() else made


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
