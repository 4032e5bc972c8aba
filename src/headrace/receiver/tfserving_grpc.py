"""TensorFlow Serving over gRPC: ``PredictionService/Predict`` and ``ModelService/GetModelStatus``.

Source: tensorflow_serving/apis/{predict,model,get_model_status}.proto and
tensorflow/core/framework/{tensor,types}.proto.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from headrace.errors import InvalidInput, MalformedRequest, SignatureNotFound
from headrace.receiver import tfserving_status
from headrace.receiver.exchange import Core, Exchange
from headrace.receiver.protobuf import message
from headrace.receiver.tensors import from_raw, read_shape
from headrace.values import Array, DType, Request, RequestedOutput, Signature

PredictRequest = message("tensorflow.serving.PredictRequest")
PredictResponse = message("tensorflow.serving.PredictResponse")
StatusRequest = message("tensorflow.serving.GetModelStatusRequest")
StatusResponse = message("tensorflow.serving.GetModelStatusResponse")
TensorProto = message("tensorflow.TensorProto")

# tensorflow/core/framework/types.proto: number, our dtype, the typed field.
_TYPES: tuple[tuple[int, DType, str], ...] = (
    (1, DType.FP32, "float_val"),
    (2, DType.FP64, "double_val"),
    (3, DType.INT32, "int_val"),
    (4, DType.UINT8, "int_val"),
    (5, DType.INT16, "int_val"),
    (6, DType.INT8, "int_val"),
    (7, DType.BYTES, "string_val"),
    (9, DType.INT64, "int64_val"),
    (10, DType.BOOL, "bool_val"),
    (14, DType.BF16, "half_val"),
    (17, DType.UINT16, "int_val"),
    (19, DType.FP16, "half_val"),
    (22, DType.UINT32, "uint32_val"),
    (23, DType.UINT64, "uint64_val"),
)
_BY_NUMBER = {number: (dtype, field) for number, dtype, field in _TYPES}
_NUMBERS = {dtype: number for number, dtype, _ in _TYPES}


class TfServingGrpc:
    """The ``tensorflow.serving`` services."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def methods(self) -> dict[str, Any]:
        """Method path → handler."""
        return {
            "/tensorflow.serving.PredictionService/Predict": self.predict,
            "/tensorflow.serving.ModelService/GetModelStatus": self.status,
        }

    async def predict(self, exchange: Exchange) -> bytes:
        """Predict."""
        proto = _parse(PredictRequest, exchange.body)
        name, version = read_model(proto.model_spec)
        served = tfserving_status.find_served(self._core, exchange, name, version)
        if proto.model_spec.signature_name not in tfserving_status.SIGNATURES:
            raise SignatureNotFound(
                f'Serving signature key "{proto.model_spec.signature_name}" not found.'
            )
        request = Request(
            model=name,
            version=version,
            inputs=_inputs(proto, served.signature),
            arrival_s=exchange.arrival_s,
            outputs=tuple(RequestedOutput(output) for output in proto.output_filter),
            timeout_s=exchange.timeout_s,
        )
        response = await self._core.run(exchange, served, request)
        answer = PredictResponse()
        for key, array in response.outputs.items():
            fill(answer.outputs[key], array)
        answer.model_spec.name = served.name
        answer.model_spec.version.value = response.version
        answer.model_spec.signature_name = "serving_default"
        return bytes(answer.SerializeToString())

    async def status(self, exchange: Exchange) -> bytes:
        """GetModelStatus."""
        proto = _parse(StatusRequest, exchange.body)
        name, version = read_model(proto.model_spec)
        answer = StatusResponse()
        for one in tfserving_status.find(self._core.catalog, name, version):
            row = answer.model_version_status.add(version=one.version, state=one.number)
            row.status.error_code = one.error_number
            row.status.error_message = one.message
        return bytes(answer.SerializeToString())


def read_model(spec: Any) -> tuple[str, int | None]:
    """Read a ModelSpec.

    Raises:
        MalformedRequest: it names no model.
        ClientError: it asks for a label; labels are not assigned here.
    """
    if not spec.name:
        raise MalformedRequest("Missing ModelSpec: model_spec.name is empty")
    if spec.HasField("version_label"):
        raise tfserving_status.unknown_label(spec.version_label)
    return spec.name, spec.version.value if spec.HasField("version") else None


def _inputs(proto: Any, signature: Signature) -> dict[str, Array]:
    """Read the inputs; no more than the model has, each of which may grow far beyond its bytes."""
    for name in proto.inputs:
        if signature.input(name) is None:
            names = ", ".join(spec.name for spec in signature.inputs)
            raise InvalidInput(f"unknown input {name!r}; the model has {names}")
    return {name: to_array(name, tensor) for name, tensor in proto.inputs.items()}


def to_array(name: str, tensor: Any) -> Array:
    """Read a TensorProto: raw content, or typed values of which the last repeats.

    Raises:
        InvalidInput: its dtype, shape and values do not go together.
    """
    if tensor.dtype not in _BY_NUMBER:
        raise InvalidInput(f"input {name!r}: dtype {tensor.dtype} cannot be served")
    dtype, field = _BY_NUMBER[tensor.dtype]
    if tensor.tensor_shape.unknown_rank:
        raise InvalidInput(f"input {name!r} has no shape")
    shape = read_shape(name, [dim.size for dim in tensor.tensor_shape.dim])
    if tensor.tensor_content:
        if dtype is DType.BYTES:
            raise InvalidInput(f"input {name!r}: strings go into string_val, not tensor_content")
        return from_raw(name, dtype, shape, tensor.tensor_content)
    values = list(getattr(tensor, field))
    count = math.prod(shape)
    if (not values and count) or len(values) > count:
        raise InvalidInput(
            f"input {name!r}: shape {list(shape)} has {count} elements, {field} {len(values)}"
        )
    # One value stands for all, but a few bytes must not become gigabytes.
    if count > max(len(values), 1) * 2**20:
        raise InvalidInput(f"input {name!r}: {len(values)} values for {count} elements")
    array = _typed(name, dtype, values)
    if len(values) < count:
        array = np.concatenate([array, np.repeat(array[-1:], count - len(values))])
    return array.reshape(shape)


def _typed(name: str, dtype: DType, values: list[Any]) -> Array:
    if dtype is DType.BYTES:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    try:
        if dtype in {DType.FP16, DType.BF16}:
            return np.array(values, np.int64).astype(np.uint16).view(dtype.numpy)
        return np.array(values, dtype.numpy)
    except OverflowError as error:
        raise InvalidInput(f"input {name!r}: a number does not fit {dtype.value}") from error


def fill(tensor: Any, array: Array) -> None:
    """Write an array into a TensorProto: strings as values, everything else as raw content."""
    dtype = DType.of(array.dtype)
    tensor.dtype = _NUMBERS[dtype]
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if dtype is DType.BYTES:
        tensor.string_val.extend(
            element.encode() if isinstance(element, str) else element for element in array.ravel()
        )
    else:
        tensor.tensor_content = array.tobytes()


def _parse(kind: Any, body: bytes | memoryview) -> Any:
    try:
        return kind.FromString(bytes(body))
    except Exception as error:  # upb raises DecodeError, or ValueError for bad UTF-8
        raise MalformedRequest(f"the message is no {kind.DESCRIPTOR.name}: {error}") from error
