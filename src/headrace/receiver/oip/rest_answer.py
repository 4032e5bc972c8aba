"""An answer of the Open Inference Protocol over REST: JSON, binary tensors after it, or both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.tensors import to_raw
from headrace.receiver.exchange import Reply
from headrace.receiver.http import LENGTH_HEADER
from headrace.receiver.oip.rest_request import Wanted
from headrace.receiver.oip.shared_memory import OFFSET, REGION, SIZE, Place, Regions
from headrace.values import Array, DType, Response


def encode(served: ServedModel, response: Response, wanted: Wanted, regions: Regions) -> Reply:
    """Write an answer, each output where the request wants it.

    Raises:
        InvalidInput: a region of shared memory is gone, or too small.
    """
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
    head = _dumps(answer)
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
