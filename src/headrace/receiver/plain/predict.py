"""Plain HTTP: ``POST /predict/<model>``, or ``POST /predict`` for the only or the default model.

The body is ``{"input": tensor}``, ``{"inputs": {name: tensor}}`` or ``{"instances": [...]}``; where
the model's card accepts files, also one of those, or a form of them (``uploads``). The answer is
``{"output": tensor}``, or ``{"output": {name: tensor}}`` for several outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from headrace.errors import InvalidInput
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.exchange import Core, Exchange, Reply, smaller
from headrace.receiver.handover.client import LARGE_BYTES
from headrace.receiver.plain import uploads
from headrace.receiver.plain.decoding import Decoding, Job
from headrace.receiver.plain.uploads import Upload
from headrace.receiver.run.validate import refuse_other_names
from headrace.receiver.tfserving import rest as tfserving_rest
from headrace.values import Array, Request, Signature

# Python has its lock while a form or JSON is taken apart: more threads would only take from the
# event loop's time. One that takes long does not hold up the others.
_PARTING_THREADS = 2


class Predict:
    """The plain front."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._decoding = Decoding()
        self._parting = Decoding(most_threads=_PARTING_THREADS)

    async def predict_default(self, exchange: Exchange) -> Reply:
        """``POST /predict``."""
        return await self.predict(exchange, self._core.catalog.default(), None)

    async def predict(self, exchange: Exchange, name: str, version: int | None) -> Reply:
        """``POST /predict/{name}``."""
        served = self._core.find_reader(exchange, name, version)
        upload = await self._read(exchange, served)
        if upload is None:
            body = await self._core.parse(exchange, Dialect.PLAIN, served.signature)
            inputs = _decode(body, served.signature)
        else:
            inputs = await self._tensors(upload, served, exchange)
        request = Request(
            model=name,
            version=version,
            inputs=inputs,
            arrival_s=exchange.arrival_s,
            timeout_s=exchange.timeout_s,
        )
        response = await self._core.run(exchange, served, request)
        large = await self._core.encode(exchange, Dialect.PLAIN, response)
        return Reply(200, encode(response.outputs) if large is None else large)

    async def _read(self, exchange: Exchange, served: ServedModel) -> Upload | None:
        """Find the files of a request; large forms and JSON are taken apart in a thread.

        Not in those that decode, where it would wait its turn twice, but within bounds as there.
        """
        headers, body = exchange.headers, exchange.body
        if len(body) <= LARGE_BYTES or not uploads.takes_long(headers, served):
            return uploads.read(headers, body, served)
        job = Job(lambda whole: uploads.read(headers, whole, served), body)
        upload: Upload | None
        (upload,) = await self._parting.run([job], _deadline_s(served, exchange))
        return upload

    async def _tensors(
        self, upload: Upload, served: ServedModel, exchange: Exchange
    ) -> dict[str, Array]:
        """Decode the files of a request, in threads."""
        media = [medium for medium in served.media if medium.name in upload.files]
        jobs = [Job(one.read, data) for one in media for data in upload.files[one.name]]
        found = iter(await self._decoding.run(jobs, _deadline_s(served, exchange)))
        inputs = dict(upload.tensors)
        for medium in media:
            rows = list(itertools.islice(found, len(upload.files[medium.name])))
            for name, tensor in medium.gather(rows).items():
                if name in inputs:
                    raise InvalidInput(
                        f"input {name!r} is given as a tensor and by {medium.name!r}: give one"
                    )
                inputs[name] = tensor
        return inputs


def encode(outputs: Mapping[str, Array]) -> bytes:
    """Write ``output``: a tensor, or an object of them."""
    values = {key: json_tensor.to_json(array) for key, array in outputs.items()}
    only = next(iter(values.values())) if len(values) == 1 else values
    return json_tensor.dumps({"output": only}, arrays=outputs.values())


def _deadline_s(served: ServedModel, exchange: Exchange) -> float | None:
    slo_s = None if served.settings.slo_ms is None else served.settings.slo_ms / 1e3
    allowed_s = smaller(slo_s, exchange.timeout_s)
    return None if allowed_s is None else exchange.arrival_s + allowed_s


def _decode(body: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    if "input" in body:
        if len(body) > 1 and ("inputs" in body or "instances" in body):
            raise InvalidInput('give one of "input", "inputs" and "instances"')
        if tfserving_rest.is_named(body["input"]):
            refuse_other_names(body["input"], signature)
        return tfserving_rest.decode({"inputs": body["input"]}, signature)[0]
    if "inputs" not in body and "instances" not in body:
        raise InvalidInput('the body needs "input": a tensor, or an object of named tensors')
    return tfserving_rest.decode(body, signature)[0]
