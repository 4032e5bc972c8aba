"""Requests of one stream differ in their tensors' bytes only: decode the rest of them once.

A ModelInferRequest as clients write it is a head (names, datatypes, shapes, parameters) and then
the raw tensors. A template remembers the head of one request; for the next one of the same length
that begins with the same head, comparing some forty bytes takes the place of parsing and checking.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.receiver import wire
from headrace.receiver.exchange import Exchange
from headrace.values import Array, DType, Request, RequestedOutput

_MIXED = frozenset({DType.BYTES.numpy, DType.BOOL.numpy})  # their bytes need a look at each time


class Place(NamedTuple):
    """Where one tensor lies in the message."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int
    elements: int


class Template(NamedTuple):
    """What requests of one form have in common; ``fixed`` are its bytes between the tensors."""

    model: str
    version: int | None
    fixed: tuple[tuple[slice, bytes], ...]
    places: tuple[Place, ...]
    outputs: tuple[RequestedOutput, ...]
    priority: int
    form: object

    def fits(self, body: bytes | memoryview) -> bool:
        """Whether a message of the template's length is of its form."""
        for where, expected in self.fixed:  # noqa: SIM110 - one frame less, on the hot path
            if body[where] != expected:
                return False
        return True

    def request(self, body: bytes | memoryview, exchange: Exchange) -> Request:
        """Make the request of a message that fits; its tensors are views of the message."""
        inputs: dict[str, Array] = {}
        for name, dtype, shape, start, count in self.places:
            inputs[name] = np.frombuffer(body, dtype, count, start).reshape(shape)
        return Request(
            self.model,
            self.version,
            inputs,
            exchange.arrival_s,
            "",
            self.outputs,
            exchange.timeout_s,
            self.priority,
            self.form,
        )


def make_template(body: bytes, version: int | None, request: Request) -> Template | None:
    """Make the template of a decoded request, or None when its form does not allow one."""
    arrays = request.inputs
    if any(array.dtype in _MIXED for array in arrays.values()):
        return None
    fields = [field for field in wire.fields(memoryview(body)) if field[0] == wire.RAW_INPUT_TAG]
    if len(fields) != len(arrays):
        return None  # typed contents: not worth a template
    fixed: list[tuple[slice, bytes]] = []
    places: list[Place] = []
    at = 0
    for (name, array), (_, _, start, end) in zip(arrays.items(), fields, strict=True):
        fixed.append((slice(at, start), body[at:start]))
        places.append(Place(name, array.dtype, array.shape, start, array.size))
        at = end
    fixed.append((slice(at, len(body)), body[at:]))
    return Template(
        request.model,
        version,
        tuple(fixed),
        tuple(places),
        request.outputs,
        request.priority,
        object(),
    )
