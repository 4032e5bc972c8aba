"""A request of the Open Inference Protocol over REST: its JSON header and what follows it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from headrace.errors import InvalidInput, MalformedRequest
from headrace.receiver import metadata
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.tensors import check_strings, from_raw, read_dtype, read_shape
from headrace.receiver.exchange import Exchange, smaller
from headrace.receiver.oip.shared_memory import Place, Reading, Regions, read_place
from headrace.receiver.sequence_calls import parameter_sequence
from headrace.values import Array, DType, Request, RequestedOutput

_NO_JSON = (DType.FP16, DType.BF16)


class Wanted:
    """Which outputs go binary: those named, or all where the request says so.

    ``places`` are of those that go to shared memory.
    """

    __slots__ = ("binary", "default", "places")

    def __init__(
        self, *, default: bool, binary: Mapping[str, bool], places: Mapping[str, Place]
    ) -> None:
        self.default = default
        self.binary = binary
        self.places = places

    def __call__(self, name: str) -> bool:
        """Whether this output goes binary."""
        return self.binary.get(name, self.default)


ALL_BINARY = Wanted(default=True, binary={}, places={})
"""What a raw request is answered with."""


def read_request(
    name: str,
    version: int | None,
    header: dict[str, Any],
    data: memoryview,
    exchange: Exchange,
    regions: Regions,
) -> tuple[Request, Wanted]:
    """Read a request from its header, the bytes after it and shared memory.

    Raises:
        MalformedRequest: a field is of another kind than it should be.
        InvalidInput: a tensor is not as it says.
    """
    parameters = read_object(header, "parameters")
    identity = header.get("id")
    if not isinstance(identity, str | None):
        raise MalformedRequest("id must be a string")
    default = parameters.get("binary_data_output") is True
    outputs, wanted = _outputs(header, regions, default=default)
    request = Request(
        model=name,
        version=version,
        inputs=_inputs(header, data, regions),
        arrival_s=exchange.arrival_s,
        id=identity or "",
        outputs=outputs,
        timeout_s=smaller(exchange.timeout_s, metadata.parameter_timeout_s(parameters)),
        priority=metadata.parameter_priority(parameters),
        sequence=parameter_sequence(parameters) if parameters else None,
    )
    return request, wanted


def _inputs(header: dict[str, Any], data: memoryview, regions: Regions) -> dict[str, Array]:
    tensors = header.get("inputs")
    if not isinstance(tensors, list) or not tensors:
        raise MalformedRequest('the request needs "inputs": a list of tensors')
    inputs: dict[str, Array] = {}
    at, strings, reading = 0, 0, Reading(regions)
    for tensor in tensors:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise MalformedRequest('every input is an object with a "name"')
        name = tensor["name"]
        if name in inputs:
            raise InvalidInput(f"input {name!r} is given twice")
        inputs[name], at = _input(name, tensor, data, at, reading)
        if inputs[name].dtype.hasobject:
            strings += inputs[name].size
            check_strings(name, strings)
    if at != len(data):
        raise InvalidInput(f"{len(data) - at} bytes of binary data belong to no input")
    return inputs


def _input(
    name: str, tensor: dict[str, Any], data: memoryview, at: int, shared: Reading
) -> tuple[Array, int]:
    dtype = read_dtype(name, tensor.get("datatype", ""))
    shape = tensor.get("shape")
    if not isinstance(shape, list):
        raise InvalidInput(f'input {name!r} needs a "shape": a list of whole numbers')
    shape = read_shape(name, shape)
    if dtype is DType.BYTES:
        check_strings(name, math.prod(shape))
    parameters = read_object(tensor, "parameters")
    size = parameters.get("binary_data_size")
    place = read_place(name, parameters)
    if place is not None:
        if size is not None or "data" in tensor:
            raise InvalidInput(f"input {name!r} is in shared memory and in the request: send one")
        return from_raw(name, dtype, shape, shared.read(name, place)), at
    if size is None:
        if "data" not in tensor:
            raise InvalidInput(f'input {name!r} has neither "data" nor binary_data_size')
        if dtype in _NO_JSON:
            raise InvalidInput(
                f"input {name!r}: {dtype.value} cannot be sent as JSON, send it as binary data"
            )
        return json_tensor.to_tensor(name, tensor["data"], dtype, shape), at
    if "data" in tensor:
        raise InvalidInput(f'input {name!r} has both "data" and binary_data_size')
    if not isinstance(size, int) or isinstance(size, bool) or size < 0 or at + size > len(data):
        raise InvalidInput(
            f"input {name!r}: binary_data_size {reprlib.repr(size)} does not fit the "
            f"{len(data) - at} bytes left"
        )
    return from_raw(name, dtype, shape, data[at : at + size]), at + size


def _outputs(
    header: dict[str, Any], regions: Regions, *, default: bool
) -> tuple[tuple[RequestedOutput, ...], Wanted]:
    asked = header.get("outputs")
    if asked is None:
        asked = []
    if not isinstance(asked, list):
        raise MalformedRequest('"outputs" must be a list')
    outputs, binary, places = [], {}, {}
    for output in asked:
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise MalformedRequest('every requested output is an object with a "name"')
        parameters = read_object(output, "parameters")
        outputs.append(RequestedOutput(output["name"], metadata.parameter_classes(parameters)))
        if "binary_data" in parameters:
            binary[output["name"]] = parameters["binary_data"] is True
        place = read_place(output["name"], parameters)
        if place is not None:
            regions.check(place)  # before the model runs
            places[output["name"]] = place
            binary[output["name"]] = False
    return tuple(outputs), Wanted(default=default, binary=binary, places=places)


def read_object(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A member that is an object, or left out.

    Raises:
        MalformedRequest: it is something else.
    """
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedRequest(f'"{key}" must be an object')
    return value
