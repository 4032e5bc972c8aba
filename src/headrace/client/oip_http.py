"""The Open Inference Protocol over REST: questions, and how to read their answers.

Tensors go as bytes (Triton's binary tensor extension), or as JSON to servers without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import orjson

from headrace.client.failures import http_error, reading, writing
from headrace.client.question import Answer, Inference, Question
from headrace.client.result import ModelMetadata, ModelState, Result, ServerMetadata
from headrace.client.tensors import raw
from headrace.engine.slots import pack_bytes
from headrace.errors import InvalidInput
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.tensors import from_raw, read_dtype, read_shape
from headrace.values import Array, DType, TensorSpec

_LENGTH = "inference-header-content-length"
_OK = 200
_NO = frozenset({400, 503})  # how the protocol's servers say that they are not ready
_NO_JSON = (DType.FP16, DType.BF16)


class OipHttp:
    """A codec; see ``question.Codec``. ``binary``: tensors go, and come, as bytes."""

    def __init__(self, prefix: str, *, binary: bool = True) -> None:
        self._root = f"{prefix}/v2"
        self._binary = binary

    def infer(self, inference: Inference) -> Question[Result]:
        """See ``question.Codec``."""
        with writing():
            return self._infer(inference)

    def _infer(self, inference: Inference) -> Question[Result]:
        head: dict[str, Any] = {}
        if inference.id:
            head["id"] = inference.id
        parameters = dict(inference.parameters)
        if self._binary:
            parameters["binary_data_output"] = True
        if parameters:
            head["parameters"] = parameters
        blobs: list[bytes | memoryview] = []
        head["inputs"] = [
            self._input(name, array, blobs) for name, array in inference.inputs.items()
        ]
        if inference.outputs:
            head["outputs"] = list(self._outputs(inference))
        text = _json(head, numbers=not self._binary)
        headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
        if self._binary:
            headers = (("content-type", "application/octet-stream"), (_LENGTH, str(len(text))))
        return Question(
            f"{self._path(inference.model, inference.version)}/infer",
            b"".join((text, *blobs)),
            _result,
            headers=headers,
            repeatable="sequence_id" not in inference.parameters,
        )

    def live(self) -> Question[bool]:
        """See ``question.Codec``."""
        return self._get(f"{self._root}/health/live", lambda answer: _yes(answer, "live"))

    def ready(self, model: str, version: str) -> Question[bool]:
        """See ``question.Codec``."""
        path = f"{self._path(model, version)}/ready" if model else f"{self._root}/health/ready"
        return self._get(path, _ready)

    def server(self) -> Question[ServerMetadata]:
        """See ``question.Codec``."""
        return self._get(self._root, _server)

    def model(self, model: str, version: str) -> Question[ModelMetadata]:
        """See ``question.Codec``."""
        return self._get(self._path(model, version), _model)

    def models(self) -> Question[tuple[ModelState, ...]]:
        """See ``question.Codec``."""
        return Question(f"{self._root}/repository/index", b"{}", _models)

    def _path(self, model: str, version: str) -> str:
        with writing():
            path = f"{self._root}/models/{quote(model, safe='')}"
            return f"{path}/versions/{quote(version, safe='')}" if version else path

    def _get(self, path: str, read: Any) -> Question[Any]:
        return Question(path, b"", read, method="GET")

    def _input(self, name: str, array: Array, blobs: list[bytes | memoryview]) -> dict[str, Any]:
        dtype = DType.of(array.dtype)
        tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": dtype.value}
        if self._binary:
            data = pack_bytes(array) if dtype is DType.BYTES else raw(array)
            tensor["parameters"] = {"binary_data_size": len(data)}
            blobs.append(data)
        elif dtype in _NO_JSON:
            raise InvalidInput(f"input {name!r}: {dtype.value} cannot go as JSON, only binary")
        else:
            tensor["data"] = _texts(name, array) if dtype is DType.BYTES else array.ravel().tolist()
        return tensor

    def _outputs(self, inference: Inference) -> Iterable[dict[str, Any]]:
        parameters: dict[str, Any] = {"binary_data": True} if self._binary else {}
        if inference.classification is not None:
            parameters["classification"] = inference.classification
        for name in inference.outputs:
            yield {"name": name, "parameters": parameters} if parameters else {"name": name}


def _json(head: dict[str, Any], *, numbers: bool) -> bytes:
    if numbers:  # orjson would write null for NaN
        return json.dumps(head).encode()
    return orjson.dumps(head)


def _texts(name: str, array: Array) -> list[str]:
    try:
        return [one if isinstance(one, str) else one.decode() for one in array.flat]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"input {name!r}: bytes that are no text cannot go as JSON") from error


def _result(answer: Answer) -> Result:
    _check(answer)
    with reading("inference"):
        size = int(answer.headers.get(_LENGTH, len(answer.body)))
        head = json_tensor.parse(answer.body[:size])
        data, at = memoryview(answer.body)[size:], 0
        outputs: dict[str, Array] = {}
        for tensor in head["outputs"]:
            name = tensor["name"]
            dtype, shape = read_dtype(name, tensor["datatype"]), read_shape(name, tensor["shape"])
            length = (tensor.get("parameters") or {}).get("binary_data_size")
            if length is None:
                outputs[name] = json_tensor.to_tensor(name, tensor["data"], dtype, shape)
            else:
                outputs[name] = from_raw(name, dtype, shape, data[at : at + length])
                at += length
        version = str(_text(head, "model_version"))
        return Result(_text(head, "model_name"), version, _text(head, "id"), outputs)


def _text(said: dict[str, Any], key: str) -> Any:
    """What stands there, or nothing: KServe writes null for what it does not say."""
    value = said.get(key)
    return "" if value is None else value


def _ready(answer: Answer) -> bool:
    code = answer.headers.get("headrace-error", "")
    unknown = answer.status == 404 and code != "route_not_found"  # noqa: PLR2004
    return False if unknown else _yes(answer, "ready")


def _yes(answer: Answer, key: str) -> bool:
    if answer.status in _NO:
        return False
    _check(answer)
    if not answer.body.strip():  # Triton says it with the status alone
        return True
    with reading("health"):
        return json_tensor.parse(answer.body).get(key, True) is True


def _server(answer: Answer) -> ServerMetadata:
    _check(answer)
    with reading("server"):
        said = json_tensor.parse(answer.body)
        extensions = tuple(said.get("extensions") or ())
        return ServerMetadata(said["name"], _text(said, "version"), extensions)


def _model(answer: Answer) -> ModelMetadata:
    _check(answer)
    with reading("model"):
        said = json_tensor.parse(answer.body)
        inputs, outputs = _specs(said["inputs"]), _specs(said["outputs"])
        versions = tuple(said.get("versions") or ())
        return ModelMetadata(said["name"], versions, _text(said, "platform"), inputs, outputs)


def _models(answer: Answer) -> tuple[ModelState, ...]:
    _check(answer)
    with reading("repository"):
        return tuple(
            ModelState(one["name"], *(_text(one, key) for key in ("version", "state", "reason")))
            for one in orjson.loads(answer.body)
        )


def _specs(tensors: Iterable[Any] | None) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            one["name"],
            read_dtype(one["name"], one["datatype"]),
            tuple(int(dim) if int(dim) >= 0 else None for dim in one["shape"]),
        )
        for one in tensors or ()
    )


def _check(answer: Answer) -> None:
    if answer.status != _OK:
        raise http_error(answer)
