"""Plain JSON: ``POST /predict/<model>``, or ``POST /predict`` for the only or the default model.

The body is ``{"input": tensor}``, ``{"inputs": {name: tensor}}`` or ``{"instances": [...]}``; the
answer is ``{"output": tensor}``, or ``{"output": {name: tensor}}`` for several outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.errors import InvalidInput
from headrace.receiver import json_tensor, tfserving_rest
from headrace.receiver.decoded import Dialect
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.values import Array, Request, Signature


class Predict:
    """The plain front."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def predict_default(self, exchange: Exchange) -> Reply:
        """``POST /predict``."""
        return await self.predict(exchange, self._core.catalog.default(), None)

    async def predict(self, exchange: Exchange, name: str, version: int | None) -> Reply:
        """``POST /predict/{name}``."""
        served = self._core.find(exchange, name, version)
        body = await self._core.parse(exchange, Dialect.PLAIN, served.profile.signature)
        request = Request(
            model=name,
            version=None,
            inputs=_decode(body, served.profile.signature.unwrap()),
            arrival_s=exchange.arrival_s,
            timeout_s=exchange.timeout_s,
        )
        response = await self._core.run(exchange, served, request)
        large = await self._core.encode(Dialect.PLAIN, served, response.outputs)
        return Reply(200, encode(response.outputs) if large is None else large)


def encode(outputs: Mapping[str, Array]) -> bytes:
    """Write ``output``: a tensor, or an object of them."""
    values = {key: json_tensor.to_json(array) for key, array in outputs.items()}
    only = next(iter(values.values())) if len(values) == 1 else values
    return json_tensor.dumps({"output": only}, arrays=outputs.values())


def _decode(body: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    if "input" in body:
        if len(body) > 1 and ("inputs" in body or "instances" in body):
            raise InvalidInput('give one of "input", "inputs" and "instances"')
        return tfserving_rest.decode({"inputs": body["input"]}, signature)[0]
    if "inputs" not in body and "instances" not in body:
        raise InvalidInput('the body needs "input": a tensor, or an object of named tensors')
    return tfserving_rest.decode(body, signature)[0]
