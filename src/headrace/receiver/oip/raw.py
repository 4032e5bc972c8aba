"""A request that is nothing but the elements of its one tensor (Triton's raw binary request).

Source: Triton's docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math

import numpy as np

from headrace.errors import InvalidInput
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs.tensors import from_raw
from headrace.receiver.exchange import Exchange
from headrace.values import Array, DType, Request, TensorSpec


def raw_request(
    served: ServedModel, version: int | None, data: memoryview, exchange: Exchange
) -> Request:
    """Make a request of one row, whose free dimension follows from the size.

    Raises:
        InvalidInput: the model has several inputs or free dimensions, or the size fits none.
    """
    signature = served.signature
    if len(signature.inputs) != 1:
        raise InvalidInput(
            f"a raw binary request has one input, model {served.name!r} has "
            f"{len(signature.inputs)}: send an Inference-Header-Content-Length and JSON before them"
        )
    (spec,) = signature.inputs
    shape = list(spec.wire_shape)
    if signature.batched:
        shape[0] = 1
    return Request(
        model=served.name,
        version=version,
        inputs={spec.name: _tensor(spec, shape, data)},
        arrival_s=exchange.arrival_s,
        timeout_s=exchange.timeout_s,
    )


def _tensor(spec: TensorSpec, shape: list[int], data: memoryview) -> Array:
    free = [axis for axis, size in enumerate(shape) if size < 0]
    if len(free) > 1:
        raise InvalidInput(
            f"input {spec.name!r} has {len(free)} free dimensions: a raw binary request can only "
            "have one, send its shape as JSON"
        )
    if spec.dtype is DType.BYTES:  # the body is the one element
        for axis in free:
            shape[axis] = 1
        if math.prod(shape) != 1:
            raise InvalidInput(
                f"input {spec.name!r} has {math.prod(shape)} strings: a raw binary request is one"
            )
        array = np.empty(1, object)
        array[0] = bytes(data)
        return array.reshape(shape)
    if free:
        rest = math.prod(size for size in shape if size >= 0) * spec.dtype.numpy.itemsize
        shape[free[0]] = len(data) // rest if rest else 0
    return from_raw(spec.name, spec.dtype, tuple(shape), data)
