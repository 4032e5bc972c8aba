"""Open Inference Protocol over gRPC: decode ModelInfer, call ``infer``, encode.

Source: kserve/open-inference-protocol specification/protocol/inference_grpc.md, and Triton's
extensions for ``classification``, ``priority`` and ``timeout``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.errors import InvalidInput
from headrace.receiver import metadata, wire
from headrace.receiver.catalog import ServedModel
from headrace.receiver.exchange import Core, Exchange, smaller
from headrace.receiver.forms import FORMS_KEPT
from headrace.receiver.oip_template import Template, make_template
from headrace.receiver.protobuf import message, read
from headrace.receiver.tensors import from_raw, read_dtype, read_shape, to_raw
from headrace.values import Array, DType, Request, RequestedOutput, Response

InferRequest = message("inference.ModelInferRequest")
InferResponse = message("inference.ModelInferResponse")

# Larger messages are scanned for their raw tensors instead of being copied by the parser.
_SCAN_BYTES = 64 * 1024
_RAW_OUTPUT_TAG = b"\x32"  # field 6, length-delimited
_ID_TAG = b"\x1a"  # field 3, length-delimited
_HEADERS_KEPT = 4096

_CONTENTS: dict[DType, str] = {
    DType.BOOL: "bool_contents",
    DType.INT8: "int_contents",
    DType.INT16: "int_contents",
    DType.INT32: "int_contents",
    DType.INT64: "int64_contents",
    DType.UINT8: "uint_contents",
    DType.UINT16: "uint_contents",
    DType.UINT32: "uint_contents",
    DType.UINT64: "uint64_contents",
    DType.FP32: "fp32_contents",
    DType.FP64: "fp64_contents",
    DType.BYTES: "bytes_contents",
}
_ALL_CONTENTS = tuple(dict.fromkeys(_CONTENTS.values()))


class OipGrpc:
    """The ``inference.GRPCInferenceService`` front."""

    def __init__(self, core: Core) -> None:
        self._core = core
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
        }

    async def infer(self, exchange: Exchange) -> bytes:
        """ModelInfer."""
        body = exchange.body
        template = self._templates.get(len(body))
        if template is not None and template.fits(body):
            form = template.form
            served = self._core.find(exchange, form.model, form.version)
            request = form.request(body, exchange)
        else:
            proto, raw = parse(body)
            version = metadata.read_version(proto.model_version)
            served = self._core.find(exchange, proto.model_name, version)
            request = _request(proto, raw, exchange)
            if "timeout" not in proto.parameters:
                self._remember(body, version, request)
        response = await self._core.run(exchange, served, request)
        return self._encode(served, response)

    def _remember(self, body: bytes | memoryview, version: int | None, request: Request) -> None:
        """Keep a template of this request, unless it is one of a kind."""
        if len(self._templates) < FORMS_KEPT or len(body) in self._templates:
            template = make_template(bytes(body), version, request)
            if template is not None:
                self._templates[len(body)] = template

    async def server_live(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """ServerLive."""
        return _reply("ServerLiveResponse", live=True)

    async def server_ready(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """ServerReady."""
        return _reply("ServerReadyResponse", ready=self._core.catalog.ready())

    async def model_ready(self, exchange: Exchange) -> bytes:
        """ModelReady."""
        asked = read(message("inference.ModelReadyRequest"), exchange.body)
        ready = self._core.catalog.ready(asked.name, metadata.read_version(asked.version))
        return _reply("ModelReadyResponse", ready=ready)

    async def server_metadata(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """ServerMetadata."""
        return _reply("ServerMetadataResponse", **metadata.server())

    async def model_metadata(self, exchange: Exchange) -> bytes:
        """ModelMetadata."""
        asked = read(message("inference.ModelMetadataRequest"), exchange.body)
        version = metadata.read_version(asked.version)
        served = self._core.catalog.find(asked.name, version)
        return _reply("ModelMetadataResponse", **metadata.model(self._core.catalog, served))

    def _encode(self, served: ServedModel, response: Response) -> bytes:
        """Write a ModelInferResponse; all but id and data is the same from request to request."""
        outputs = response.outputs
        key = (served.name, served.version, *[(n, a.dtype, a.shape) for n, a in outputs.items()])
        head = self._heads.get(key)
        if head is None:
            head = _head(served, outputs)
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


def parse(body: bytes | memoryview) -> tuple[Any, list[bytes | memoryview]]:
    """Parse a ModelInferRequest and its raw tensors.

    Raises:
        MalformedRequest: the bytes are no such message.
    """
    if len(body) < _SCAN_BYTES:
        proto = read(InferRequest, body)
        return proto, list(proto.raw_input_contents)
    view = memoryview(body)
    raw: list[bytes | memoryview] = []
    rest: list[memoryview] = []
    for tag, start, data, end in wire.fields(view):
        if tag == wire.RAW_INPUT_TAG:
            raw.append(view[data:end])
        else:
            rest.append(view[start:end])
    return read(InferRequest, b"".join(rest)), raw


def _request(proto: Any, raw: list[bytes | memoryview], exchange: Exchange) -> Request:
    parameters = read_parameters(proto.parameters) if proto.parameters else {}
    timeout_s = metadata.parameter_timeout_s(parameters)
    return Request(
        model=proto.model_name,
        version=None,
        inputs=_inputs(proto, raw),
        arrival_s=exchange.arrival_s,
        id=proto.id,
        outputs=_outputs(proto) if proto.outputs else (),
        timeout_s=smaller(exchange.timeout_s, timeout_s),
        priority=metadata.parameter_priority(parameters),
    )


def _inputs(proto: Any, raw: list[bytes | memoryview]) -> dict[str, Array]:
    if raw and len(raw) != len(proto.inputs):
        raise InvalidInput(
            f"raw_input_contents has {len(raw)} tensors for {len(proto.inputs)} inputs: send all "
            "of them raw, or none"
        )
    inputs: dict[str, Array] = {}
    for index, tensor in enumerate(proto.inputs):
        name = tensor.name
        if name in inputs:
            raise InvalidInput(f"input {name!r} is given twice")
        dtype = read_dtype(name, tensor.datatype)
        shape = read_shape(name, tensor.shape)
        if raw:
            if tensor.HasField("contents"):
                raise InvalidInput(f"input {name!r} has both contents and raw_input_contents")
            inputs[name] = from_raw(name, dtype, shape, raw[index])
        else:
            inputs[name] = _typed(name, dtype, shape, tensor.contents)
    return inputs


def _typed(name: str, dtype: DType, shape: tuple[int, ...], contents: Any) -> Array:
    field = _CONTENTS.get(dtype)
    if field is None:
        raise InvalidInput(f"input {name!r}: {dtype.value} has no typed contents, send it raw")
    others = [f for f in _ALL_CONTENTS if f != field and len(getattr(contents, f))]
    if others:
        raise InvalidInput(f"input {name!r} is {dtype.value}: fill {field}, not {others[0]}")
    values = getattr(contents, field)
    if dtype is DType.BYTES:
        array = np.empty(len(values), object)
        array[:] = list(values)
    else:
        # Numbers on both sides of 2**63 would become fractions.
        wide = np.asarray(values, np.uint64 if dtype is DType.UINT64 else None)
        array = wide.astype(dtype.numpy)
        if dtype.numpy.kind in "iu" and not np.array_equal(array, wide):
            raise InvalidInput(f"input {name!r}: a number does not fit {dtype.value}")
    if array.size != math.prod(shape):
        raise InvalidInput(
            f"input {name!r}: shape {list(shape)} and {array.size} elements in {field} do not agree"
        )
    return array.reshape(shape)


def _outputs(proto: Any) -> tuple[RequestedOutput, ...]:
    asked = []
    for output in proto.outputs:
        parameters = read_parameters(output.parameters) if output.parameters else {}
        asked.append(RequestedOutput(output.name, metadata.parameter_classes(parameters)))
    return tuple(asked)


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Unwrap InferParameters."""
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        field = parameter.WhichOneof("parameter_choice")
        found[name] = getattr(parameter, field) if field else None
    return found


def _head(served: ServedModel, outputs: Mapping[str, Array]) -> bytes:
    response = InferResponse(model_name=served.name, model_version=str(served.version))
    for name, array in outputs.items():
        response.outputs.add(name=name, datatype=DType.of(array.dtype).value, shape=array.shape)
    return bytes(response.SerializeToString())


def _reply(kind: str, /, **fields: Any) -> bytes:
    return bytes(message(f"inference.{kind}")(**fields).SerializeToString())
