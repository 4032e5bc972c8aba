"""Open Inference Protocol over gRPC: decode ModelInfer, call ``infer``, encode.

Source: kserve/open-inference-protocol specification/protocol/inference_grpc.md, and Triton's
extensions for ``classification``, ``priority`` and ``timeout``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from headrace.errors import HeadraceError, InvalidInput
from headrace.receiver import metadata
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import wire
from headrace.receiver.codecs.frames import PREFIX, read_prefix
from headrace.receiver.codecs.protobuf import message, read, read_parameters, write
from headrace.receiver.codecs.tensors import check_strings, from_raw, read_dtype, read_shape, to_raw
from headrace.receiver.codecs.typed import from_typed
from headrace.receiver.exchange import Core, Exchange, Glance, smaller
from headrace.receiver.forms import FORMS_KEPT
from headrace.receiver.oip.extras import Extras
from headrace.receiver.oip.shared_memory import (
    OFFSET,
    REGION,
    SIZE,
    Place,
    Reading,
    Regions,
    read_place,
)
from headrace.receiver.oip.template import Template, make_template
from headrace.receiver.oip.triton_grpc import TritonGrpc
from headrace.receiver.sequence_calls import parameter_sequence
from headrace.server_settings import ServerSettings
from headrace.values import Array, DType, Request, RequestedOutput, Response

InferResponse = message("inference.ModelInferResponse")

# Larger messages are scanned for their raw tensors instead of being copied by the parser.
SCAN_BYTES = 64 * 1024
"""From here on ``parse`` copies no tensors."""
_RAW_OUTPUT_TAG = b"\x32"  # field 6, length-delimited
_ID_TAG = b"\x1a"  # field 3, length-delimited
_HEADERS_KEPT = 4096


class OipGrpc:
    """The ``inference.GRPCInferenceService`` front."""

    def __init__(self, core: Core, extras: Extras | None = None) -> None:
        self._core = core
        self._extras = extras or Extras(ServerSettings())
        self._heads: dict[Any, bytes] = {}
        self._templates: dict[int, Template] = {}

    def methods(self) -> dict[str, Any]:
        """Method path → handler."""
        service = "/inference.GRPCInferenceService/"
        return {
            f"{service}ModelInfer": self.infer,
            f"{service}ServerLive": self.server_live,
            f"{service}ServerReady": self.server_ready,
            f"{service}ModelReady": self.model_ready,
            f"{service}ServerMetadata": self.server_metadata,
            f"{service}ModelMetadata": self.model_metadata,
            **TritonGrpc(self._core, self._extras).methods(),
        }

    def glances(self) -> dict[str, Glance]:
        """Method path → what looks at the beginning of a message."""
        return {"/inference.GRPCInferenceService/ModelInfer": self.glance}

    def glance(self, exchange: Exchange, beginning: bytes) -> None:
        """Refuse a ModelInfer by its first chunk if it would be refused were it whole now.

        What comes before its tensors tells its form, if others of that form were answered. Who is
        let pass leaves no trace: it may yet end before it reaches a model.

        Raises:
            OverloadError: it need not come.
            MalformedRequest: its frame is none.
        """
        if len(beginning) < PREFIX.size:
            return
        compressed, size = read_prefix(beginning)
        template = None if compressed else self._templates.get(size)
        if template is None or not template.begins(memoryview(beginning)[PREFIX.size :]):
            return
        form = template.form
        try:
            served = self._core.catalog.find(form.model, form.version)
        except HeadraceError:
            return  # it is not there any more, or not in memory: who has the whole says so
        try:
            self._core.foresee(form, form.priority, served, exchange)
        except HeadraceError:
            exchange.served, exchange.priority = served, form.priority
            raise

    async def infer(self, exchange: Exchange) -> bytes:
        """ModelInfer."""
        body = exchange.body
        template = self._templates.get(len(body))
        if template is not None and template.fits(body):
            form = template.form
            served = self._core.find(exchange, form.model, form.version)
            request, places = form.request(body, exchange), None
        else:
            proto, raw = parse(body)
            version = metadata.read_version(proto.model_version)
            served = self._core.find(exchange, proto.model_name, version)
            places = _places(proto, self._extras.regions)
            request = _request(proto, version, raw, exchange, self._extras.regions)
            alone = request.id or request.sequence or places  # no other request is like it
            if not alone and "timeout" not in proto.parameters:
                self._remember(body, version, request)
        response = await self._core.run(exchange, served, request)
        if places:
            return self._share(response, places)
        return self._encode(served, response)

    def _remember(self, body: bytes | memoryview, version: int | None, request: Request) -> None:
        """Keep a template of this request, unless it is one of a kind."""
        if len(self._templates) < FORMS_KEPT or len(body) in self._templates:
            template = make_template(body, version, request)
            if template is not None:
                self._templates[len(body)] = template

    async def server_live(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """ServerLive."""
        return write("ServerLiveResponse", live=True)

    async def server_ready(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """ServerReady."""
        return write("ServerReadyResponse", ready=self._core.catalog.ready())

    async def model_ready(self, exchange: Exchange) -> bytes:
        """ModelReady."""
        asked = read("ModelReadyRequest", exchange.body)
        ready = self._core.catalog.ready(asked.name, metadata.read_version(asked.version))
        return write("ModelReadyResponse", ready=ready)

    async def server_metadata(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """ServerMetadata."""
        shared = self._extras.regions.enabled
        return write("ServerMetadataResponse", **metadata.server(shared_memory=shared))

    async def model_metadata(self, exchange: Exchange) -> bytes:
        """ModelMetadata."""
        asked = read("ModelMetadataRequest", exchange.body)
        version = metadata.read_version(asked.version)
        served = self._core.catalog.find(asked.name, version)
        return write("ModelMetadataResponse", **metadata.model(self._core.catalog, served))

    def _encode(self, served: ServedModel, response: Response) -> bytes:
        """Write a ModelInferResponse; all but id and data is the same from request to request."""
        outputs = response.outputs
        key = (served.name, response.version, *[(n, a.dtype, a.shape) for n, a in outputs.items()])
        head = self._heads.get(key)
        if head is None:
            head = _head(response)
            if len(self._heads) < _HEADERS_KEPT:
                self._heads[key] = head
        parts = [head]
        if response.id:
            identity = response.id.encode()
            parts += (_ID_TAG, wire.varint(len(identity)), identity)
        for array in outputs.values():
            data = to_raw(array)
            parts += (_RAW_OUTPUT_TAG, wire.varint(len(data)), data)
        return b"".join(parts)

    def _share(self, response: Response, places: Mapping[str, Place]) -> bytes:
        """Write a ModelInferResponse with some outputs, or all, in shared memory."""
        proto = InferResponse.FromString(_head(response))
        proto.id = response.id
        all_shared = places.keys() >= response.outputs.keys()
        for output, array in zip(proto.outputs, response.outputs.values(), strict=True):
            place, data = places.get(output.name), to_raw(array)
            if place is not None:
                self._extras.regions.write(output.name, place, data)
                output.parameters[REGION].string_param = place.region
                output.parameters[SIZE].int64_param = len(data)
                if place.offset:
                    output.parameters[OFFSET].int64_param = place.offset
            if not all_shared:  # by their order: an empty one stands for what is elsewhere
                proto.raw_output_contents.append(b"" if place is not None else data)
        return bytes(proto.SerializeToString())


def parse(body: bytes | memoryview) -> tuple[Any, list[bytes | memoryview]]:
    """Parse a ModelInferRequest and its raw tensors.

    Raises:
        MalformedRequest: the bytes are no such message.
    """
    if len(body) < SCAN_BYTES:
        proto = read("ModelInferRequest", body)
        return proto, list(proto.raw_input_contents)
    view = memoryview(body)
    raw: list[bytes | memoryview] = []
    rest: list[memoryview] = []
    for tag, start, data, end in wire.fields(view):
        if tag == wire.RAW_INPUT_TAG:
            raw.append(view[data:end])
        else:
            rest.append(view[start:end])
    return read("ModelInferRequest", b"".join(rest)), raw


def _request(
    proto: Any,
    version: int | None,
    raw: list[bytes | memoryview],
    exchange: Exchange,
    regions: Regions,
) -> Request:
    parameters = read_parameters(proto.parameters) if proto.parameters else {}
    timeout_s = metadata.parameter_timeout_s(parameters)
    return Request(
        model=proto.model_name,
        version=version,
        inputs=_inputs(proto, raw, regions),
        arrival_s=exchange.arrival_s,
        id=proto.id,
        outputs=_outputs(proto) if proto.outputs else (),
        timeout_s=smaller(exchange.timeout_s, timeout_s),
        priority=metadata.parameter_priority(parameters),
        sequence=parameter_sequence(parameters) if parameters else None,
    )


def _places(proto: Any, regions: Regions) -> dict[str, Place]:
    """Where outputs go that go to shared memory; checked before the model runs."""
    places = {}
    for output in proto.outputs:
        if REGION in output.parameters:
            place = read_place(output.name, read_parameters(output.parameters))
            if place is not None:
                regions.check(place)
                places[output.name] = place
    return places


def _inputs(proto: Any, raw: list[bytes | memoryview], regions: Regions) -> dict[str, Array]:
    shared = [tensor for tensor in proto.inputs if REGION in tensor.parameters]
    expected = len(proto.inputs) - len(shared)
    if raw and len(raw) != expected:
        raise InvalidInput(
            f"raw_input_contents has {len(raw)} tensors for {expected} inputs: send all of them "
            "raw, or none"
        )
    inputs: dict[str, Array] = {}
    rest, reading, strings = iter(raw), Reading(regions), 0
    for tensor in proto.inputs:
        name = tensor.name
        if name in inputs:
            raise InvalidInput(f"input {name!r} is given twice")
        dtype = read_dtype(name, tensor.datatype)
        shape = read_shape(name, tensor.shape)
        if dtype is DType.BYTES:
            strings += math.prod(shape)
            check_strings(name, strings)
        if (raw or REGION in tensor.parameters) and tensor.HasField("contents"):
            raise InvalidInput(f"input {name!r} has both contents and raw_input_contents")
        place = read_place(name, read_parameters(tensor.parameters)) if shared else None
        if place is not None:
            inputs[name] = from_raw(name, dtype, shape, reading.read(name, place))
        elif raw:
            inputs[name] = from_raw(name, dtype, shape, next(rest))
        else:
            inputs[name] = from_typed(name, dtype, shape, tensor.contents)
    return inputs


def _outputs(proto: Any) -> tuple[RequestedOutput, ...]:
    asked = []
    for output in proto.outputs:
        parameters = read_parameters(output.parameters) if output.parameters else {}
        asked.append(RequestedOutput(output.name, metadata.parameter_classes(parameters)))
    return tuple(asked)


def _head(response: Response) -> bytes:
    head = InferResponse(model_name=response.model, model_version=str(response.version))
    for name, array in response.outputs.items():
        head.outputs.add(name=name, datatype=DType.of(array.dtype).value, shape=array.shape)
    return bytes(head.SerializeToString())
