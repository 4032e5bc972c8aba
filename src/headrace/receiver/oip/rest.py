"""Open Inference Protocol over REST, with Triton's binary tensor extension.

Source: kserve/open-inference-protocol specification/protocol/inference_rest.md and Triton's
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from headrace.errors import InvalidInput, MalformedRequest
from headrace.receiver import metadata
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.codecs.tensors import from_raw, read_dtype, read_shape, to_raw
from headrace.receiver.exchange import Core, Exchange, Reply, smaller
from headrace.receiver.forms import FORMS_KEPT, Form, make_form
from headrace.receiver.handover.client import LARGE_BYTES
from headrace.receiver.http import LENGTH_HEADER, json_reply
from headrace.receiver.oip.extras import Extras
from headrace.receiver.oip.raw import raw_request
from headrace.receiver.oip.shared_memory import (
    OFFSET,
    REGION,
    SIZE,
    Place,
    Reading,
    Regions,
    read_place,
)
from headrace.values import Array, DType, Request, RequestedOutput, Response

_NO_JSON = (DType.FP16, DType.BF16)


# Longer headers carry tensors as JSON, or are not worth keeping.
_FORM_HEADER_BYTES = 4096
_HEADS_KEPT = 4096
_MOST_DIGITS = 18


class OipRest:
    """The ``/v2`` front."""

    def __init__(self, core: Core, extras: Extras) -> None:
        self._core = core
        self._regions = extras.regions
        self._forms: dict[tuple[str, int | None, bytes], Known] = {}
        self._heads: dict[Any, Head] = {}

    async def live(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /v2/health/live``."""
        return json_reply({"live": True})

    async def ready(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /v2/health/ready``: 503 until every model that did not fail serves."""
        ready = self._core.catalog.ready()
        return json_reply({"ready": ready}, 200 if ready else 503)

    async def server(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /v2``."""
        return json_reply(metadata.server(shared_memory=self._regions.enabled))

    async def model(self, exchange: Exchange, name: str, version: int | None) -> Reply:  # noqa: ARG002
        """``GET /v2/models/{name}``."""
        served = self._core.catalog.find(name, version)
        return json_reply(metadata.model(self._core.catalog, served))

    async def model_ready(self, exchange: Exchange, name: str, version: int | None) -> Reply:  # noqa: ARG002
        """``GET /v2/models/{name}/ready``."""
        ready = self._core.catalog.ready(name, version)
        if not ready:
            self._core.catalog.states(name)  # an unknown model is 404, not 503
        return json_reply({"name": name, "ready": ready}, 200 if ready else 503)

    async def infer(self, exchange: Exchange, name: str, version: int | None) -> Reply:
        """``POST /v2/models/{name}/infer``."""
        served = self._core.find(exchange, name, version)
        size = _header_bytes(exchange)
        body = exchange.body
        key = (name, version, bytes(body[:size]) if size <= _FORM_HEADER_BYTES else b"")
        known = self._forms.get(key)
        if known is not None and known.body_bytes == len(body):
            request, wanted = known.form.request(body, exchange), known.wanted
        else:
            view = memoryview(body)
            if size == 0 and LENGTH_HEADER in exchange.headers:
                request, wanted = raw_request(served, version, view, exchange), _ALL_BINARY
            else:
                if size > LARGE_BYTES:
                    header = await self._core.parse(exchange, Dialect.OIP, text=view[:size])
                else:
                    header = json_tensor.parse(view[:size])
                request, wanted = _request(
                    name, version, header, view[size:], exchange, self._regions
                )
                if "timeout" not in _object(header, "parameters") and not wanted.places:
                    self._remember(key, request, wanted, len(body))
        response = await self._core.run(exchange, served, request)
        if not wanted.places and not any(map(wanted, response.outputs)):
            large = await self._core.encode(exchange, Dialect.OIP, response)
            if large is not None:
                return Reply(200, large)
        return self._encode(served, response, wanted)

    def _remember(
        self,
        key: tuple[str, int | None, bytes],
        request: Request,
        wanted: Wanted,
        body_bytes: int,
    ) -> None:
        """Keep the form of this request, unless it is one of a kind or not all binary."""
        header, size = key[2], sum(array.nbytes for array in request.inputs.values())
        if not header or len(header) + size != body_bytes:
            return
        starts, at = {}, len(header)
        for name, array in request.inputs.items():
            starts[name] = at
            at += array.nbytes
        form = make_form(request, key[1], starts)
        if form is not None and len(self._forms) < FORMS_KEPT:
            self._forms[key] = Known(form, wanted, body_bytes)

    def _encode(self, served: ServedModel, response: Response, wanted: Wanted) -> Reply:
        """Write the answer; the head of an all-binary one is the same from request to request."""
        outputs = response.outputs
        if response.id or not all(wanted(name) for name in outputs):
            return _encode(served, response, wanted, self._regions)
        tensors = [(name, array.dtype, array.shape) for name, array in outputs.items()]
        key = (served.name, response.version, *tensors)
        head = self._heads.get(key)
        if head is None:
            reply = _encode(served, response, wanted, self._regions)
            if not any(array.dtype.hasobject for array in outputs.values()):
                size = len(reply.body) - sum(array.nbytes for array in outputs.values())
                if len(self._heads) < _HEADS_KEPT:
                    self._heads[key] = Head(reply.body[:size], reply.headers)
            return reply
        parts = [head.text, *[to_raw(array) for array in outputs.values()]]
        return Reply(200, b"".join(parts), head.headers)


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


_ALL_BINARY = Wanted(default=True, binary={}, places={})  # what a raw request is answered with


class Known(NamedTuple):
    """A form, known by its JSON header, and the length of its bodies."""

    form: Form
    wanted: Wanted
    body_bytes: int


class Head(NamedTuple):
    """The JSON before the binary tensors of an answer, and the headers that go with it."""

    text: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def _header_bytes(exchange: Exchange) -> int:
    """How long the JSON header is; all of the body where nothing is said."""
    announced = exchange.headers.get(LENGTH_HEADER)
    size = len(exchange.body)
    if announced is None:
        return size
    if len(announced) > _MOST_DIGITS or not announced.isdigit() or int(announced) > size:
        raise MalformedRequest(
            f"Inference-Header-Content-Length {reprlib.repr(announced.decode('latin-1'))} does not "
            f"fit a body of {size} bytes"
        )
    return int(announced)


def _request(
    name: str,
    version: int | None,
    header: dict[str, Any],
    data: memoryview,
    exchange: Exchange,
    regions: Regions,
) -> tuple[Request, Wanted]:
    parameters = _object(header, "parameters")
    identity = header.get("id", "")
    if not isinstance(identity, str):
        raise MalformedRequest("id must be a string")
    default = parameters.get("binary_data_output") is True
    outputs, wanted = _outputs(header, regions, default=default)
    request = Request(
        model=name,
        version=version,
        inputs=_inputs(header, data, regions),
        arrival_s=exchange.arrival_s,
        id=identity,
        outputs=outputs,
        timeout_s=smaller(exchange.timeout_s, metadata.parameter_timeout_s(parameters)),
        priority=metadata.parameter_priority(parameters),
        sequence=metadata.parameter_sequence(parameters) if parameters else None,
    )
    return request, wanted


def _inputs(header: dict[str, Any], data: memoryview, regions: Regions) -> dict[str, Array]:
    tensors = header.get("inputs")
    if not isinstance(tensors, list) or not tensors:
        raise MalformedRequest('the request needs "inputs": a list of tensors')
    inputs: dict[str, Array] = {}
    at, reading = 0, Reading(regions)
    for tensor in tensors:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise MalformedRequest('every input is an object with a "name"')
        name = tensor["name"]
        if name in inputs:
            raise InvalidInput(f"input {name!r} is given twice")
        inputs[name], at = _input(name, tensor, data, at, reading)
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
    parameters = _object(tensor, "parameters")
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
    asked = header.get("outputs", [])
    if not isinstance(asked, list):
        raise MalformedRequest('"outputs" must be a list')
    outputs, binary, places = [], {}, {}
    for output in asked:
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise MalformedRequest('every requested output is an object with a "name"')
        parameters = _object(output, "parameters")
        outputs.append(RequestedOutput(output["name"], metadata.parameter_classes(parameters)))
        if "binary_data" in parameters:
            binary[output["name"]] = parameters["binary_data"] is True
        place = read_place(output["name"], parameters)
        if place is not None:
            regions.check(place)  # before the model runs
            places[output["name"]] = place
            binary[output["name"]] = False
    return tuple(outputs), Wanted(default=default, binary=binary, places=places)


def _object(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedRequest(f'"{key}" must be an object')
    return value


def _encode(served: ServedModel, response: Response, wanted: Wanted, regions: Regions) -> Reply:
    tensors: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, array in response.outputs.items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": DType.of(array.dtype).value,
            "shape": array.shape,
        }
        if name in wanted.places:
            tensor["parameters"] = _shared(name, array, wanted.places[name], regions)
        elif wanted(name):
            data = to_raw(array)
            tensor["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            tensor["data"] = json_tensor.to_json(np.ascontiguousarray(array).reshape(-1))
        tensors.append(tensor)
    answer = _answer(served.name, response.version, response.id, tensors)
    if not binary:
        return Reply(200, _dumps(answer))
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = (
        (b"content-type", b"application/octet-stream"),
        (LENGTH_HEADER, str(len(head)).encode()),
    )
    return Reply(200, b"".join((head, *binary)), headers)


def encode_json(model: str, version: int, identity: str, outputs: Mapping[str, Array]) -> bytes:
    """Write an answer that is all JSON."""
    tensors = [
        {
            "name": name,
            "datatype": DType.of(array.dtype).value,
            "shape": array.shape,
            "data": json_tensor.to_json(np.ascontiguousarray(array).reshape(-1)),
        }
        for name, array in outputs.items()
    ]
    return _dumps(_answer(model, version, identity, tensors))


def _answer(
    model: str, version: int, identity: str, tensors: list[dict[str, Any]]
) -> dict[str, Any]:
    answer: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if identity:
        answer["id"] = identity
    answer["outputs"] = tensors
    return answer


def _dumps(answer: dict[str, Any]) -> bytes:
    data = [tensor.get("data") for tensor in answer["outputs"]]
    return json_tensor.dumps(answer, arrays=[one for one in data if isinstance(one, np.ndarray)])


def _shared(name: str, array: Array, place: Place, regions: Regions) -> dict[str, Any]:
    data = to_raw(array)
    regions.write(name, place, data)
    parameters: dict[str, Any] = {REGION: place.region, SIZE: len(data)}
    return {**parameters, OFFSET: place.offset} if place.offset else parameters
