"""TensorFlow Serving over REST: ``:predict``, ``:classify``, ``:regress``, status and metadata.

Source: tensorflow_serving/g3doc/api_rest.md and util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.errors import (
    ClientError,
    InvalidArgument,
    InvalidInput,
    MalformedRequest,
    SignatureNotFound,
)
from headrace.observe.together import Topic
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import Decoded, Dialect
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.handover.messages import Reading
from headrace.receiver.tfserving import examples as tfserving_examples
from headrace.receiver.tfserving import json as tfserving_json
from headrace.receiver.tfserving import results as tfserving_results
from headrace.receiver.tfserving import signature as tfserving_signature
from headrace.receiver.tfserving import status
from headrace.receiver.tfserving.status import Which
from headrace.values import Array, Request, Signature


class TfServingRest:
    """The ``/v1`` front, and TensorFlow Serving's page of metrics."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def status(self, exchange: Exchange, name: str, which: Which) -> Reply:  # noqa: ARG002
        """``GET /v1/models/{name}[/versions/{version}|/labels/{label}]``."""
        rows = [
            {
                "version": str(one.version),
                "state": one.state,
                "status": {"error_code": one.error_code, "error_message": one.message},
            }
            for one in status.find(self._core.catalog, name, which)
        ]
        return Reply(200, tfserving_signature.printed({"model_version_status": rows}).encode())

    async def metadata(self, exchange: Exchange, name: str, which: Which) -> Reply:  # noqa: ARG002
        """``GET .../metadata``: the signature."""
        served = status.look_up(self._core.catalog, name, which)
        return Reply(200, tfserving_signature.as_json(served).encode())

    async def metrics(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /monitoring/prometheus/metrics``."""
        page = await self._core.together(Topic.TFSERVING)
        return Reply(200, page.encode(), ((b"content-type", b"text/plain"),))

    async def options(self, exchange: Exchange) -> Reply:
        """``OPTIONS``: nothing, to a browser; Envoy adds who may ask."""
        if not exchange.headers.get(b"origin", b"").startswith((b"http://", b"https://")):
            raise InvalidArgument("Origin header is missing in CORS preflight")
        return Reply(200, b"")

    async def predict(self, exchange: Exchange, name: str, which: Which) -> Reply:
        """``POST ...:predict``."""
        with status.Counted(self._core, exchange, "predict", "REST") as counted:
            served = status.find_served(self._core, exchange, name, which)
            body = await self._core.parse(exchange, Dialect.TFSERVING, served.signature)
            _check_signature(
                served,
                body,
                SignatureNotFound,
                'Serving signature name: "{}" not found in signature def',
            )
            inputs, rows = decode(body, served.signature, extra_columns=True)
            request = Request(
                model=name,
                version=None if which is None else served.version,
                inputs=inputs,
                arrival_s=exchange.arrival_s,
                timeout_s=exchange.timeout_s,
            )
            response = await counted.run(served, request)
            large = await self._core.encode(exchange, Dialect.TFSERVING, response, rows=rows)
            if large is not None:
                return Reply(200, large)
            return encode(served.name, response.outputs, rows=rows)

    async def classify(self, exchange: Exchange, name: str, which: Which) -> Reply:
        """``POST ...:classify``."""
        with status.Counted(self._core, exchange, "classify", "REST") as counted:
            served = status.find_served(self._core, exchange, name, which)
            body = await self._core.parse(exchange, Dialect.EXAMPLES, served.signature)
            _check_signature(
                served, body, InvalidArgument, "No signature was found with the name: {}"
            )
            found = tfserving_results.class_outputs(served.signature)
            inputs = tfserving_examples.read_json(served.signature, body)
            request = tfserving_examples.to_request(
                served, exchange, inputs, found.names, named=which is not None
            )
            response = await counted.run(served, request)
            examples = tfserving_examples.count(inputs)
            reading = tfserving_results.class_reading(served, found, examples)
            large = await self._core.encode(exchange, Dialect.CLASSIFY, response, reading=reading)
            return Reply(200, large or encode_classes(reading, response.outputs))

    async def regress(self, exchange: Exchange, name: str, which: Which) -> Reply:
        """``POST ...:regress``."""
        with status.Counted(self._core, exchange, "regress", "REST") as counted:
            served = status.find_served(self._core, exchange, name, which)
            body = await self._core.parse(exchange, Dialect.EXAMPLES, served.signature)
            _check_signature(
                served, body, InvalidArgument, "No signature was found with the name: {}"
            )
            output = tfserving_results.regress_output(served.signature)
            inputs = tfserving_examples.read_json(served.signature, body)
            request = tfserving_examples.to_request(
                served, exchange, inputs, [output], named=which is not None
            )
            response = await counted.run(served, request)
            reading = Reading(examples=tfserving_examples.count(inputs))
            large = await self._core.encode(exchange, Dialect.REGRESS, response, reading=reading)
            return Reply(200, large or encode_values(reading, response.outputs))


def _check_signature(
    served: ServedModel, body: Mapping[str, Any], error: type[ClientError], words: str
) -> None:
    name = body.get("signature_name", "")
    if not isinstance(name, str):
        raise MalformedRequest("'signature_name' key must be a string value.")
    status.check_signature(served, name, error, words)


def decode(
    body: Mapping[str, Any], signature: Signature, *, extra_columns: bool = False
) -> tuple[dict[str, Array], bool]:
    """Read ``instances`` (rows) or ``inputs`` (columns); say which it was.

    Columns that the model has no input for are an error, or with ``extra_columns`` not looked at,
    as in TensorFlow Serving.

    Raises:
        MalformedRequest: none or both of them.
        InvalidInput: they do not fit the signature.
    """
    if "instances" in body and "inputs" in body:
        raise MalformedRequest(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in body:
        return _rows(body["instances"], signature), True
    if "inputs" in body:
        return _columns(body["inputs"], signature, extra=extra_columns), False
    raise MalformedRequest("Missing 'inputs' or 'instances' key")


def _rows(instances: Any, signature: Signature) -> dict[str, Array]:
    if isinstance(instances, Decoded):
        return instances.take()
    if not isinstance(instances, list | np.ndarray):
        raise InvalidInput("Expecting 'instances' to be an list/array")
    if len(instances) == 0:
        raise InvalidInput("No values in 'instances' array")
    names = [spec.name for spec in signature.inputs]
    if not is_named(instances[0]):
        if len(names) != 1:
            raise InvalidInput(
                "instances is a plain list, but expecting list of objects as multiple input "
                f"tensors required as per tensorinfo_map: {','.join(names)}"
            )
        return _tensors({names[0]: instances}, signature)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, instance in enumerate(instances):
        if not is_named(instance):
            raise InvalidInput(f"Expecting object but got list at item {number} of input list")
        if instance.keys() != columns.keys():
            raise InvalidInput(
                f"Failed to process element: {number} of 'instances' list. JSON object: keys "
                f"{','.join(map(repr, instance)) or 'none'} must be equal to: {','.join(names)}"
            )
        for name, value in instance.items():
            columns[name].append(value)
    return _tensors(columns, signature)


def _columns(inputs: Any, signature: Signature, *, extra: bool) -> dict[str, Array]:
    if isinstance(inputs, Decoded):
        return inputs.take()
    names = [spec.name for spec in signature.inputs]
    if not is_named(inputs):
        if len(names) != 1:
            raise InvalidInput(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                f"required as per tensorinfo_map: {','.join(names)}"
            )
        return _tensors({names[0]: inputs}, signature)
    for name in names:
        if name not in inputs:
            raise InvalidInput(f"Missing named input: {name} in 'inputs' object.")
    for name in inputs:
        if name not in names and not extra:
            raise InvalidInput(f"unknown input {name!r}; the model has {', '.join(names)}")
    return _tensors({name: inputs[name] for name in names}, signature)


def is_named(value: Any) -> bool:
    """Whether it is an object of named values; ``{"b64": ...}`` alone is a string."""
    return isinstance(value, dict) and list(value) != ["b64"]


def _tensors(columns: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    return {
        spec.name: json_tensor.to_tensor(spec.name, columns[spec.name], spec.dtype)
        for spec in signature.inputs
    }


def encode(model: str, outputs: Mapping[str, Array], *, rows: bool) -> Reply:
    """Write ``predictions`` (rows) or ``outputs`` (columns).

    Raises:
        InvalidInput: rows are asked of outputs that have none in common.
    """
    if not rows:
        return Reply(200, tfserving_json.columns(outputs))
    lengths = {array.shape[:1] for array in outputs.values()}
    if len(lengths) != 1 or lengths == {()}:
        raise InvalidInput(
            f'the outputs of {model!r} have no rows in common: ask with "inputs", in columns'
        )
    return Reply(200, tfserving_json.predictions(outputs))


def encode_classes(reading: Reading, outputs: Mapping[str, Array]) -> bytes:
    """Write what a classification is.

    Raises:
        InvalidInput: the outputs do not go together, or with the examples.
    """
    return tfserving_json.results(tfserving_results.read_classes(reading, outputs).pairs())


def encode_values(reading: Reading, outputs: Mapping[str, Array]) -> bytes:
    """Write what a regression is, of the only output.

    Raises:
        InvalidInput: it is no column, or not of the examples.
    """
    (array,) = outputs.values()
    return tfserving_json.values(tfserving_results.regressions(array, reading.examples))
