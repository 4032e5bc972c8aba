"""Open Inference Protocol over REST, with Triton's binary tensor extension.

Source: kserve/open-inference-protocol specification/protocol/inference_rest.md and Triton's
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import reprlib
from typing import Any, NamedTuple

from headrace.errors import MalformedRequest
from headrace.receiver import metadata
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.codecs.tensors import to_raw
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.forms import FORM_BYTES, FORMS_KEPT, Form, make_form
from headrace.receiver.handover.client import LARGE_BYTES
from headrace.receiver.http import LENGTH_HEADER, json_reply
from headrace.receiver.oip.extras import Extras
from headrace.receiver.oip.raw import raw_request
from headrace.receiver.oip.rest_answer import encode
from headrace.receiver.oip.rest_request import ALL_BINARY, Wanted, read_object, read_request
from headrace.values import DType, Request, Response

_NO_JSON = (DType.FP16, DType.BF16)
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
        key = (name, version, bytes(body[:size]) if size <= FORM_BYTES else b"")
        known = self._forms.get(key)
        if known is not None and known.body_bytes == len(body):
            request, wanted = known.form.request(body, exchange), known.wanted
        else:
            view = memoryview(body)
            if size == 0 and LENGTH_HEADER in exchange.headers:
                served = self._core.find_reader(exchange, name, version)
                request, wanted = raw_request(served, version, view, exchange), ALL_BINARY
            else:
                if size > LARGE_BYTES:
                    header = await self._core.parse(exchange, Dialect.OIP, text=view[:size])
                else:
                    header = json_tensor.parse(view[:size])
                request, wanted = read_request(
                    name, version, header, view[size:], exchange, self._regions
                )
                if "timeout" not in read_object(header, "parameters") and not wanted.places:
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
            return encode(served, response, wanted, self._regions)
        tensors = [(name, array.dtype, array.shape) for name, array in outputs.items()]
        key = (served.name, response.version, *tensors)
        head = self._heads.get(key)
        if head is None:
            reply = encode(served, response, wanted, self._regions)
            if not any(array.dtype.hasobject for array in outputs.values()):
                size = len(reply.body) - sum(array.nbytes for array in outputs.values())
                if len(self._heads) < _HEADS_KEPT:
                    self._heads[key] = Head(reply.body[:size], reply.headers)
            return reply
        parts = [head.text, *[to_raw(array) for array in outputs.values()]]
        return Reply(200, b"".join(parts), head.headers)


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
