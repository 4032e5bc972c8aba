"""Triton's ``generate``: a JSON object whose keys are inputs, an answer whose keys are outputs.

Source: Triton's docs/protocol/extension_generate.md. Used for one answer and for a stream.
"""

from __future__ import annotations

import reprlib
from typing import Any, NamedTuple

import numpy as np

from headrace.errors import BodyTooLarge, InvalidInput, MalformedRequest
from headrace.receiver import metadata
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.exchange import Core, Exchange, smaller
from headrace.receiver.sequence_calls import parameter_sequence
from headrace.values import Array, Request, Response, SequenceCall, Signature, TensorSpec

_PARAMETER_KINDS = (str, int, float, bool)
# Such a body is parsed on the event loop, in some 10 ms.
_MOST_BYTES = 2**20


class Asked(NamedTuple):
    """A body: its id, and every key with its value, those within ``parameters`` last."""

    id: str
    pairs: list[tuple[str, Any]]

    def sequence(self, signature: Signature) -> SequenceCall | None:
        """Which sequence it belongs to, by the keys that this signature has no input for.

        Raises:
            MalformedRequest: they cannot be read.
        """
        return parameter_sequence(
            {key: value for key, value in self.pairs if signature.input(key) is None}
        )


def read(body: bytes | memoryview) -> Asked:
    """Read a body.

    Raises:
        BodyTooLarge: it is more than a megabyte; texts are not, and tensors have ``infer``.
        MalformedRequest: it is no JSON object, or its id no text.
    """
    if len(body) > _MOST_BYTES:
        raise BodyTooLarge(
            f"generate takes {_MOST_BYTES} bytes, not {len(body)}: send tensors with infer"
        )
    asked = json_tensor.parse(body)
    identity = asked.pop("id", None)
    if not isinstance(identity, str | None):
        raise MalformedRequest("id must be a string")
    nested = asked.pop("parameters", None)
    if nested is not None and not isinstance(nested, dict):
        raise MalformedRequest('"parameters" must be an object')
    return Asked(identity or "", [*asked.items(), *(nested or {}).items()])


def decode(served: ServedModel, version: int | None, asked: Asked, exchange: Exchange) -> Request:
    """Make a request of a body: a key named as an input is that input, another a parameter.

    A value may lack leading axes, which are 1 then: a text is a tensor of one text. ``version`` is
    the one the client named.

    Raises:
        MalformedRequest: a parameter is of another kind than it should be.
        InvalidInput: a value does not fit its input, is given twice, or belongs nowhere.
        InvalidTimeout: the ``timeout`` cannot be read.
    """
    inputs: dict[str, Array] = {}
    parameters: dict[str, Any] = {}
    for key, value in asked.pairs:
        spec = served.signature.input(key)
        if spec is None:
            parameters[key] = _parameter(served, key, value)
        elif key in inputs:
            raise InvalidInput(f"input {key!r} is given twice: in and beside parameters")
        else:
            inputs[key] = _tensor(spec, value)
    return Request(
        model=served.name,
        version=version,
        inputs=inputs,
        arrival_s=exchange.arrival_s,
        id=asked.id,
        timeout_s=smaller(exchange.timeout_s, metadata.parameter_timeout_s(parameters)),
        priority=metadata.parameter_priority(parameters),
        sequence=parameter_sequence(parameters),
    )


async def infer(core: Core, exchange: Exchange, name: str, version: int | None) -> bytes:
    """Answer one body; a sequence is read by the signature of the version that has it.

    Raises:
        HeadraceError: whatever kept it from being answered.
    """
    served = core.find(exchange, name, version)
    asked = read(exchange.body)
    if version is None and served.settings.sequence is not None:
        served = core.reader(exchange, served, asked.sequence(served.signature))
    request = decode(served, version, asked, exchange)
    response = await core.run(exchange, served, request)
    large = await core.encode(exchange, Dialect.GENERATE, response)
    return encode(response) if large is None else large


def encode(response: Response) -> bytes:
    """Write the answer as JSON: an output of one element as it is, others as flat lists."""
    answer: dict[str, Any] = {
        "model_name": response.model,
        "model_version": str(response.version),
    }
    if response.id:
        answer["id"] = response.id
    arrays = []
    for name, array in response.outputs.items():
        value = json_tensor.to_json(np.ascontiguousarray(array).reshape(-1))
        if isinstance(value, np.ndarray):
            arrays.append(value)
        answer[name] = value[0] if array.size == 1 else value
    return json_tensor.dumps(answer, arrays=arrays)


def _parameter(served: ServedModel, key: str, value: Any) -> Any:
    if not isinstance(value, _PARAMETER_KINDS):
        names = ", ".join(spec.name for spec in served.signature.inputs)
        raise InvalidInput(
            f"{reprlib.repr(key)} is no input, and a parameter is one text, number or boolean; "
            f"inputs: {names}"
        )
    return value


def _tensor(spec: TensorSpec, value: Any) -> Array:
    array = json_tensor.to_tensor(spec.name, value, spec.dtype)
    missing = len(spec.shape) - array.ndim
    return array.reshape((1,) * missing + array.shape) if missing > 0 else array
