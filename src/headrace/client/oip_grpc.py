"""The Open Inference Protocol over gRPC: questions, and how to read their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import DecodeError

from headrace.client.failures import grpc_error, reading, writing
from headrace.client.question import Answer, Inference, Question, Value
from headrace.client.result import ModelMetadata, ModelState, Result, ServerMetadata
from headrace.client.tensors import raw
from headrace.engine.slots import pack_bytes
from headrace.errors import MalformedAnswer
from headrace.receiver.codecs.protobuf import message
from headrace.receiver.codecs.tensors import from_raw, read_dtype, read_shape
from headrace.receiver.codecs.typed import from_typed
from headrace.receiver.codecs.wire import RAW_INPUT_TAG, varint
from headrace.statuses import GrpcStatus
from headrace.values import Array, DType, TensorSpec

_SERVICE = "/inference.GRPCInferenceService/"
_FIRST_UNSIGNED = 2**63
_TAG = bytes((RAW_INPUT_TAG,))
_UNKNOWN = frozenset({"", "model_not_found", "version_not_found"})


class OipGrpc:
    """A codec; see ``question.Codec``."""

    def infer(self, inference: Inference) -> Question[Result]:
        """See ``question.Codec``."""
        with writing():
            head = message("inference.ModelInferRequest")(
                model_name=inference.model, model_version=inference.version, id=inference.id
            )
            _parameters(head.parameters, inference.parameters)
            for name in inference.outputs:
                output = head.outputs.add(name=name)
                if inference.classification is not None:
                    _parameters(output.parameters, {"classification": inference.classification})
            parts: list[bytes | memoryview] = [b""]
            for name, array in inference.inputs.items():
                dtype = DType.of(array.dtype)
                head.inputs.add(name=name, datatype=dtype.value, shape=array.shape)
                data = pack_bytes(array) if dtype is DType.BYTES else raw(array)
                # The last field, written by hand: large tensors are copied once, not three times.
                parts += (_TAG, varint(len(data)), data)
            parts[0] = head.SerializeToString()
        repeatable = "sequence_id" not in inference.parameters
        return Question(f"{_SERVICE}ModelInfer", b"".join(parts), _result, repeatable=repeatable)

    def live(self) -> Question[bool]:
        """See ``question.Codec``."""
        return _ask("ServerLive", lambda said: bool(said.live))

    def ready(self, model: str, version: str) -> Question[bool]:
        """See ``question.Codec``."""
        if not model:
            return _ask("ServerReady", lambda said: bool(said.ready))
        question = _ask("ModelReady", lambda said: bool(said.ready), name=model, version=version)

        def read(answer: Answer) -> bool:
            unknown = answer.headers.get("headrace-error", "") in _UNKNOWN
            if answer.status == GrpcStatus.NOT_FOUND and unknown:
                return False
            return question.read(answer)

        return Question(question.path, question.body, read)

    def server(self) -> Question[ServerMetadata]:
        """See ``question.Codec``."""
        return _ask("ServerMetadata", _server)

    def model(self, model: str, version: str) -> Question[ModelMetadata]:
        """See ``question.Codec``."""
        return _ask("ModelMetadata", _model, name=model, version=version)

    def models(self) -> Question[tuple[ModelState, ...]]:
        """See ``question.Codec``."""
        return _ask("RepositoryIndex", _models)


def _ask(method: str, read: Callable[[Any], Value], **fields: str) -> Question[Value]:
    answers = message(f"inference.{method}Response")
    with writing():
        body = message(f"inference.{method}Request")(**fields).SerializeToString()

    def read_answer(answer: Answer) -> Value:
        said = _parsed(answers, answer)
        with reading(method):
            return read(said)

    return Question(f"{_SERVICE}{method}", body, read_answer)


def _parsed(kind: Any, answer: Answer) -> Any:
    if answer.status != GrpcStatus.OK:
        raise grpc_error(answer)
    try:
        return kind.FromString(answer.body)
    except (DecodeError, ValueError) as error:
        raise MalformedAnswer(f"the answer is no {kind.DESCRIPTOR.name}: {error}") from error


def _parameters(into: Any, values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, bool):
            into[name].bool_param = value
        elif isinstance(value, int) and value >= _FIRST_UNSIGNED:
            into[name].uint64_param = value
        elif isinstance(value, int):
            into[name].int64_param = value
        else:
            into[name].string_param = value


def _result(answer: Answer) -> Result:
    said = _parsed(message("inference.ModelInferResponse"), answer)
    with reading("inference"):
        blobs = said.raw_output_contents
        if blobs and len(blobs) != len(said.outputs):
            raise MalformedAnswer(
                f"the answer has {len(said.outputs)} outputs and {len(blobs)} raw tensors"
            )
        outputs: dict[str, Array] = {}
        for place, tensor in enumerate(said.outputs):
            name = tensor.name
            dtype, shape = read_dtype(name, tensor.datatype), read_shape(name, tensor.shape)
            if blobs:
                outputs[name] = from_raw(name, dtype, shape, blobs[place])
            else:  # as KServe answers what its model gave as lists
                outputs[name] = from_typed(name, dtype, shape, tensor.contents)
        return Result(said.model_name, said.model_version, said.id, outputs)


def _server(said: Any) -> ServerMetadata:
    return ServerMetadata(said.name, said.version, tuple(said.extensions))


def _model(said: Any) -> ModelMetadata:
    inputs, outputs = _specs(said.inputs), _specs(said.outputs)
    return ModelMetadata(said.name, tuple(said.versions), said.platform, inputs, outputs)


def _models(said: Any) -> tuple[ModelState, ...]:
    return tuple(ModelState(one.name, one.version, one.state, one.reason) for one in said.models)


def _specs(tensors: Iterable[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            one.name,
            read_dtype(one.name, one.datatype),
            tuple(dim if dim >= 0 else None for dim in one.shape),
        )
        for one in tensors
    )
