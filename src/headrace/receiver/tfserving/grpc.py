"""TensorFlow Serving over gRPC: ``PredictionService``, and ``ModelService/GetModelStatus``.

Source: tensorflow_serving/apis/*.proto and tensorflow_serving/servables/tensorflow/*.cc.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from headrace.errors import (
    HeadraceError,
    InvalidArgument,
    InvalidInput,
    MalformedRequest,
    RouteNotFound,
    SignatureNotFound,
)
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs.protobuf import message, parse
from headrace.receiver.codecs.wire import delimited
from headrace.receiver.exchange import Core, Exchange
from headrace.receiver.handover.client import LARGE_BYTES
from headrace.receiver.handover.messages import Reading
from headrace.receiver.tfserving import examples as tfserving_examples
from headrace.receiver.tfserving import results as tfserving_results
from headrace.receiver.tfserving import signature as tfserving_signature
from headrace.receiver.tfserving import status
from headrace.receiver.tfserving.tensors import takes_long, to_array, write_tensor
from headrace.receiver.tfserving.written import classification_result, regression_result
from headrace.values import Array, Request, RequestedOutput, Response, Signature

_Message = {
    name: message(f"tensorflow.serving.{name}")
    for name in (
        "PredictRequest",
        "ModelSpec",
        "ClassificationRequest",
        "RegressionRequest",
        "MultiInferenceRequest",
        "GetModelMetadataRequest",
        "GetModelStatusRequest",
        "GetModelStatusResponse",
    )
}
# Fields of the answers: of PredictResponse, a map; of the others; of an InferenceResult.
_OUTPUTS, _KEY, _OF_KEY = 1, 1, 2
_RESULT, _SPEC = 1, 2
_SPEC_OF_TASK, _CLASSIFICATION, _REGRESSION = 1, 2, 3


class TfServingGrpc:
    """The ``tensorflow.serving`` services."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def methods(self) -> dict[str, Any]:
        """Method path → handler."""
        service = "/tensorflow.serving.PredictionService"
        return {
            f"{service}/Predict": self.predict,
            f"{service}/Classify": self.classify,
            f"{service}/Regress": self.regress,
            f"{service}/MultiInference": self.multi_inference,
            f"{service}/GetModelMetadata": self.metadata,
            "/tensorflow.serving.ModelService/GetModelStatus": self.status,
        }

    async def predict(self, exchange: Exchange) -> bytes:
        """Predict."""
        with status.Counted(self._core, exchange, "Predict", "GRPC") as counted:
            proto = parse(_Message["PredictRequest"], exchange.body)
            served = self._served(exchange, proto.model_spec)
            asked = proto.model_spec.signature_name
            words = 'Serving signature key "{}" not found.'
            status.check_signature(served, asked, SignatureNotFound, words)
            request = Request(
                model=served.name,
                version=served.version if _names_version(proto.model_spec) else None,
                inputs=_inputs(proto.inputs, served.signature),
                arrival_s=exchange.arrival_s,
                outputs=_filter(proto.output_filter, served.signature),
                timeout_s=exchange.timeout_s,
            )
            response = await counted.run(served, request)
            slow = filter(takes_long, response.outputs.values())
            return await _beside(slow, _write_outputs, served, response)

    async def classify(self, exchange: Exchange) -> bytes:
        """Classify."""
        with status.Counted(self._core, exchange, "Classify", "GRPC") as counted:
            proto = parse(_Message["ClassificationRequest"], exchange.body)
            served = self._served(exchange, proto.model_spec)
            _check_signature(served, proto.model_spec, "No signature was found with the name: {}")
            found = tfserving_results.class_outputs(served.signature)
            inputs = tfserving_examples.read(served.signature, proto.input)
            request = tfserving_examples.to_request(
                served, exchange, inputs, found.names, named=_names_version(proto.model_spec)
            )
            response = await counted.run(served, request)
            reading = tfserving_results.class_reading(
                served, found, tfserving_examples.count(inputs)
            )
            outputs = response.outputs
            result = await _beside(outputs.values(), _write_classes, reading, outputs)
            return delimited(_RESULT, result) + delimited(_SPEC, _write_spec(served, response))

    async def regress(self, exchange: Exchange) -> bytes:
        """Regress."""
        with status.Counted(self._core, exchange, "Regress", "GRPC") as counted:
            proto = parse(_Message["RegressionRequest"], exchange.body)
            served = self._served(exchange, proto.model_spec)
            _check_signature(served, proto.model_spec, "No signature was found with the name: {}")
            output = tfserving_results.regress_output(served.signature)
            inputs = tfserving_examples.read(served.signature, proto.input)
            request = tfserving_examples.to_request(
                served, exchange, inputs, [output], named=_names_version(proto.model_spec)
            )
            response = await counted.run(served, request)
            examples = tfserving_examples.count(inputs)
            result = _write_values(response.outputs[output], examples)
            return delimited(_RESULT, result) + delimited(_SPEC, _write_spec(served, response))

    async def multi_inference(self, exchange: Exchange) -> bytes:
        """MultiInference: several readings of one run."""
        with status.Counted(self._core, exchange, "MultiInference", "GRPC") as counted:
            proto = parse(_Message["MultiInferenceRequest"], exchange.body)
            _check_models(proto.tasks)
            served = self._served(exchange, proto.tasks[0].model_spec)
            _check_tasks(served, proto.tasks)
            wanted = _task_outputs(proto.tasks, served.signature)
            inputs = tfserving_examples.read(served.signature, proto.input)
            request = tfserving_examples.to_request(
                served, exchange, inputs, wanted, named=_names_version(proto.tasks[0].model_spec)
            )
            response = await counted.run(served, request)
            examples = tfserving_examples.count(inputs)
            methods = [task.method_name for task in proto.tasks]
            outputs = response.outputs.values()
            return await _beside(outputs, _write_tasks, methods, served, response, examples)

    async def metadata(self, exchange: Exchange) -> bytes:
        """GetModelMetadata."""
        proto = parse(_Message["GetModelMetadataRequest"], exchange.body)
        name, which = read_model(proto.model_spec)
        tfserving_signature.check_fields(proto.metadata_field)
        served = status.look_up(self._core.catalog, name, which)
        return bytes(tfserving_signature.as_message(served).SerializeToString())

    async def status(self, exchange: Exchange) -> bytes:
        """GetModelStatus."""
        proto = parse(_Message["GetModelStatusRequest"], exchange.body)
        name, which = read_model(proto.model_spec)
        answer = _Message["GetModelStatusResponse"]()
        for one in status.find(self._core.catalog, name, which):
            row = answer.model_version_status.add(version=one.version, state=one.number)
            row.status.error_code = one.error_number
            row.status.error_message = one.message
        return bytes(answer.SerializeToString())

    def _served(self, exchange: Exchange, spec: Any) -> ServedModel:
        name, which = read_model(spec)
        return status.find_served(self._core, exchange, name, which)


def read_model(spec: Any) -> tuple[str, status.Which]:
    """Read a ModelSpec: a name, and a version or a label.

    Raises:
        MalformedRequest: it names no model.
    """
    if not spec.name:
        raise MalformedRequest("Missing ModelSpec: model_spec.name is empty")
    if spec.HasField("version_label"):
        return spec.name, spec.version_label
    return spec.name, spec.version.value if spec.HasField("version") else None


def _names_version(spec: Any) -> bool:
    return spec.WhichOneof("version_choice") is not None


def _inputs(inputs: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    """Read the inputs; no more than the model has, each of which may grow far beyond its bytes."""
    wanted = {spec.name for spec in signature.inputs}
    if len(inputs) != len(wanted):
        sent = set(inputs)
        raise InvalidInput(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_braced(sent)}) != len({_braced(wanted)}). Sent extra: "
            f"{_braced(sent - wanted)}. Missing but required: {_braced(wanted - sent)}."
        )
    for name in inputs:
        if name not in wanted:
            raise InvalidInput(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in the "
                f"set {_braced(wanted)}."
            )
    return {name: to_array(name, tensor) for name, tensor in inputs.items()}


def _filter(names: Collection[str], signature: Signature) -> tuple[RequestedOutput, ...]:
    known = {spec.name for spec in signature.outputs}
    for name in names:
        if name not in known:
            raise InvalidInput(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {_braced(known)}."
            )
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InvalidInput(f"duplicate output tensor alias: {twice}")
    return tuple(RequestedOutput(name) for name in names)


def _braced(names: Collection[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"


def _check_signature(served: ServedModel, spec: Any, words: str) -> None:
    status.check_signature(served, spec.signature_name, InvalidArgument, words)


def _check_models(tasks: Sequence[Any]) -> None:
    """Refuse tasks that are none, or of several models."""
    if not tasks:
        raise MalformedRequest("Missing ModelSpec: the request has no tasks")
    model = tasks[0].model_spec.name
    for task in tasks:
        if not task.model_spec.name:
            raise MalformedRequest("Found ModelSpec with an empty model name.")
        if task.model_spec.name != model:
            raise InvalidArgument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )


def _check_tasks(served: ServedModel, tasks: Sequence[Any]) -> None:
    """Refuse tasks of a signature that there is not, or the same twice."""
    seen: set[str] = set()
    words = "Requested signature not found in model graph: {}"
    for task in tasks:
        _check_signature(served, task.model_spec, words)
        if task.method_name in seen:
            name = served.signature_name
            raise InvalidArgument(
                f"Duplicate evaluation of signature: {name}: ask for each method once"
            )
        seen.add(task.method_name)


def _task_outputs(tasks: Collection[Any], signature: Signature) -> list[str]:
    """Name every output that one of the tasks is read from, once."""
    names: dict[str, None] = {}
    for task in tasks:
        if task.method_name == tfserving_results.CLASSIFY:
            names |= dict.fromkeys(tfserving_results.class_outputs(signature).names)
        elif task.method_name == tfserving_results.REGRESS:
            names[tfserving_results.regress_output(signature)] = None
        else:
            raise _unsupported(task.method_name)
    return list(names)


def _unsupported(method: str) -> HeadraceError:
    known = f"{tfserving_results.CLASSIFY} or {tfserving_results.REGRESS}"
    return RouteNotFound(f"Unsupported signature method_name: {method}; ask for {known}")


async def _beside(slow: Iterable[Array], write: Callable[..., bytes], *arguments: Any) -> bytes:
    """Write an answer in a thread if what is slow to write is large: most of that is numpy's."""
    if sum(array.nbytes for array in slow) <= LARGE_BYTES:
        return write(*arguments)
    return await asyncio.to_thread(write, *arguments)


def _write_spec(served: ServedModel, response: Response) -> bytes:
    spec = _Message["ModelSpec"](name=served.name, signature_name=served.signature_name)
    spec.version.value = response.version
    return bytes(spec.SerializeToString())


def _write_outputs(served: ServedModel, response: Response) -> bytes:
    entries = [
        delimited(_OUTPUTS, delimited(_KEY, key.encode()) + delimited(_OF_KEY, write_tensor(array)))
        for key, array in response.outputs.items()
    ]
    return b"".join((*entries, delimited(_SPEC, _write_spec(served, response))))


def _write_classes(reading: Reading, outputs: Mapping[str, Array]) -> bytes:
    return classification_result(tfserving_results.read_classes(reading, outputs))


def _write_values(array: Array, examples: int) -> bytes:
    return regression_result(tfserving_results.regressions(array, examples))


def _write_tasks(
    methods: Sequence[str], served: ServedModel, response: Response, examples: int
) -> bytes:
    spec = delimited(_SPEC_OF_TASK, _write_spec(served, response))
    results = [_write_task(method, served, response.outputs, examples) for method in methods]
    return b"".join(delimited(_RESULT, spec + result) for result in results)


def _write_task(
    method: str, served: ServedModel, outputs: Mapping[str, Array], examples: int
) -> bytes:
    if method == tfserving_results.REGRESS:
        output = tfserving_results.regress_output(served.signature)
        return delimited(_REGRESSION, _write_values(outputs[output], examples))
    found = tfserving_results.class_outputs(served.signature)
    reading = tfserving_results.class_reading(served, found, examples)
    return delimited(_CLASSIFICATION, _write_classes(reading, outputs))
