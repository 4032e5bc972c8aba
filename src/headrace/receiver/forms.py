"""Requests of one stream differ in their tensors' bytes only: what they share is decoded once.

A form is what a front has learnt from one request: names, dtypes, shapes, outputs. The next request
of that form needs no parsing and no checks, only views of its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from headrace.receiver.exchange import Exchange
from headrace.values import Array, DType, Request, RequestedOutput

FORMS_KEPT = 256
"""How many forms a front remembers; a client that makes up more of them is decoded each time."""

FORM_BYTES = 4096
"""A form is known by no more bytes than these: with more beside its tensors a request has none."""

_MIXED = frozenset({DType.BYTES.numpy, DType.BOOL.numpy})  # their bytes need a look at each time


class Place(NamedTuple):
    """Where one tensor lies in a body."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int
    elements: int


class Form:
    """What equal requests share; compared by identity."""

    __slots__ = ("model", "outputs", "places", "priority", "version")

    def __init__(
        self,
        model: str,
        version: int | None,
        places: tuple[Place, ...],
        outputs: tuple[RequestedOutput, ...],
        priority: int,
    ) -> None:
        self.model = model
        self.version = version
        self.places = places
        self.outputs = outputs
        self.priority = priority

    def request(self, body: bytes | memoryview, exchange: Exchange) -> Request:
        """Make the request of a body of this form; its tensors are views of the body."""
        inputs: dict[str, Array] = {}
        for name, dtype, shape, start, elements in self.places:
            inputs[name] = np.frombuffer(body, dtype, elements, start).reshape(shape)
        return Request(
            self.model,
            self.version,
            inputs,
            exchange.arrival_s,
            "",
            self.outputs,
            exchange.timeout_s,
            self.priority,
            self,
        )


def make_form(request: Request, version: int | None, starts: Mapping[str, int]) -> Form | None:
    """Make the form of a decoded request whose tensors start there, raw, in its body.

    None when it is one of a kind: it has an id, belongs to a sequence, or has tensors that are more
    than their bytes. One with a deadline in its body must not come here.
    """
    if request.id or request.sequence is not None:
        return None
    if any(array.dtype in _MIXED for array in request.inputs.values()):
        return None
    places = tuple(
        Place(name, array.dtype, array.shape, starts[name], array.size)
        for name, array in request.inputs.items()
    )
    return Form(request.model, version, places, request.outputs, request.priority)
