"""TensorFlow Serving over REST: ``:predict``, row and columnar, and the model status.

Source: tensorflow_serving/g3doc/api_rest.md and util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from headrace.errors import InvalidInput, MalformedRequest, SignatureNotFound
from headrace.receiver import json_tensor, tfserving_status
from headrace.receiver.decoded import Decoded, Dialect
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.values import Array, Request, Signature


class TfServingRest:
    """The ``/v1`` front."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def status(self, exchange: Exchange, name: str, version: int | None) -> Reply:  # noqa: ARG002
        """``GET /v1/models/{name}[/versions/{version}]``."""
        rows = [
            {
                "version": str(one.version),
                "state": one.state,
                "status": {"error_code": one.error_code, "error_message": one.message},
            }
            for one in tfserving_status.find(self._core.catalog, name, version)
        ]
        return Reply(200, orjson.dumps({"model_version_status": rows}, option=orjson.OPT_INDENT_2))

    async def label(self, exchange: Exchange, name: str, label: str) -> Reply:  # noqa: ARG002
        """Labels are not assigned yet: say so as TensorFlow Serving says it of an unknown one."""
        self._core.catalog.states(name)
        raise tfserving_status.unknown_label(label)

    async def predict(self, exchange: Exchange, name: str, version: int | None) -> Reply:
        """``POST /v1/models/{name}[/versions/{version}]:predict``."""
        served = tfserving_status.find_served(self._core, exchange, name, version)
        body = await self._core.parse(exchange, Dialect.TFSERVING, served.profile.signature)
        signature_name = body.get("signature_name", "")
        if not isinstance(signature_name, str):
            raise MalformedRequest("signature_name must be a string")
        if signature_name not in tfserving_status.SIGNATURES:
            raise SignatureNotFound(
                f'Serving signature name: "{signature_name}" not found in signature def'
            )
        inputs, rows = decode(body, served.profile.signature.unwrap())
        request = Request(
            model=name,
            version=None,
            inputs=inputs,
            arrival_s=exchange.arrival_s,
            timeout_s=exchange.timeout_s,
        )
        response = await self._core.run(exchange, served, request)
        large = await self._core.encode(Dialect.TFSERVING, served, response.outputs, rows=rows)
        if large is not None:
            return Reply(200, large)
        return encode(served.name, response.outputs, rows=rows)


def decode(body: Mapping[str, Any], signature: Signature) -> tuple[dict[str, Array], bool]:
    """Read ``instances`` (rows) or ``inputs`` (columns); say which it was.

    Raises:
        MalformedRequest: none or both of them.
        InvalidInput: they do not fit the signature.
    """
    if "instances" in body and "inputs" in body:
        raise MalformedRequest('Not formatted correctly: give "instances" or "inputs", not both')
    if "instances" in body:
        return _rows(body["instances"], signature), True
    if "inputs" in body:
        return _columns(body["inputs"], signature), False
    raise MalformedRequest("Missing 'inputs' or 'instances' key")


def _rows(instances: Any, signature: Signature) -> dict[str, Array]:
    if isinstance(instances, Decoded):
        return instances.take()
    if not isinstance(instances, list | np.ndarray) or len(instances) == 0:
        raise InvalidInput('"instances" must be a list with at least one element')
    names = [spec.name for spec in signature.inputs]
    if not _named(instances[0]):
        if len(names) != 1:
            raise InvalidInput(f"every instance must be an object of {', '.join(names)}")
        columns: dict[str, Any] = {names[0]: instances}
    else:
        columns = {name: [] for name in instances[0]}
        for number, instance in enumerate(instances):
            if not _named(instance) or instance.keys() != columns.keys():
                raise InvalidInput(f"instance {number} has other inputs than instance 0")
            for name, value in instance.items():
                columns[name].append(value)
    return _tensors(columns, signature)


def _columns(inputs: Any, signature: Signature) -> dict[str, Array]:
    if isinstance(inputs, Decoded):
        return inputs.take()
    if _named(inputs):
        return _tensors(inputs, signature)
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidInput(f'"inputs" must be an object of {names}')
    return _tensors({signature.inputs[0].name: inputs}, signature)


def _named(value: Any) -> bool:
    """Whether it is an object of named values; ``{"b64": ...}`` alone is a string."""
    return isinstance(value, dict) and list(value) != ["b64"]


def _tensors(columns: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    tensors = {}
    for name, value in columns.items():
        spec = signature.input(name)
        if spec is None:
            names = ", ".join(one.name for one in signature.inputs)
            raise InvalidInput(f"unknown input {name!r}; the model has {names}")
        tensors[name] = json_tensor.to_tensor(name, value, spec.dtype)
    return tensors


def encode(model: str, outputs: Mapping[str, Array], *, rows: bool) -> Reply:
    """Write ``predictions`` (rows) or ``outputs`` (columns).

    Raises:
        InvalidInput: rows are asked of outputs that have none in common.
    """
    values = {
        name: json_tensor.to_json(array, base64_bytes=name.endswith("_bytes"))
        for name, array in outputs.items()
    }
    if not rows:
        only = next(iter(values.values())) if len(values) == 1 else values
        return Reply(200, json_tensor.dumps({"outputs": only}, arrays=outputs.values()))
    lengths = {array.shape[:1] for array in outputs.values()}
    if len(lengths) != 1 or lengths == {()}:
        raise InvalidInput(
            f'the outputs of {model!r} have no rows in common: ask with "inputs", in columns'
        )
    if len(values) == 1:
        predictions: Any = next(iter(values.values()))
    else:
        count = lengths.pop()[0]
        predictions = [{name: value[row] for name, value in values.items()} for row in range(count)]
    return Reply(200, json_tensor.dumps({"predictions": predictions}, arrays=outputs.values()))
