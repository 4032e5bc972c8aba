"""A model's signature as TensorFlow Serving tells it: SignatureDef, as a message and as JSON.

Source: tensorflow/core/protobuf/meta_graph.proto, tensorflow_serving/apis/get_model_metadata.proto
and what protobuf's JSON printer makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from headrace.errors import InvalidArgument, MalformedRequest
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs.protobuf import message
from headrace.receiver.tfserving.tensors import NAMES, NUMBERS
from headrace.values import TensorSpec

METHOD = "tensorflow/serving/predict"
FIELD = "signature_def"
"""The one field of metadata there is."""

MetadataResponse = message("tensorflow.serving.GetModelMetadataResponse")
_SignatureDefMap = message("tensorflow.serving.SignatureDefMap")
_TYPE_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


def check_fields(fields: Iterable[str]) -> None:
    """Check which metadata is asked for.

    Raises:
        MalformedRequest: none.
        InvalidArgument: one that there is not.
    """
    wanted = list(fields)
    if not wanted:
        raise MalformedRequest(
            "GetModelMetadataRequest must specify at least one metadata_field: signature_def"
        )
    for field in wanted:
        if field != FIELD:
            raise InvalidArgument(f"Metadata field {field} is not supported; ask for {FIELD}")


def as_message(served: ServedModel) -> Any:
    """The GetModelMetadataResponse of a version."""
    signatures = _SignatureDefMap()
    signature = signatures.signature_def[served.signature_name]
    for spec in served.signature.inputs:
        _fill(signature.inputs[spec.name], spec)
    for spec in served.signature.outputs:
        _fill(signature.outputs[spec.name], spec)
    signature.method_name = METHOD
    answer = MetadataResponse()
    answer.model_spec.name = served.name
    answer.model_spec.version.value = served.version
    answer.metadata[FIELD].type_url = _TYPE_URL
    answer.metadata[FIELD].value = signatures.SerializeToString()
    return answer


def as_json(served: ServedModel) -> str:
    """The same as protobuf prints it: names as they are, 64-bit numbers as text, defaults too."""
    signature = {
        "inputs": {spec.name: _info(spec) for spec in served.signature.inputs},
        "outputs": {spec.name: _info(spec) for spec in served.signature.outputs},
        "method_name": METHOD,
        "defaults": {},
    }
    spec = {"name": served.name, "signature_name": "", "version": str(served.version)}
    return (
        f'{{\n"model_spec":{printed(spec)},\n"metadata": {{"{FIELD}": '
        f"{printed({FIELD: {served.signature_name: signature}})}}}\n}}\n"
    )


def printed(message: Mapping[str, Any]) -> str:
    """What protobuf's JSON printer makes of a message of these fields."""
    return json.dumps(message, indent=1, ensure_ascii=False) + "\n"


def _fill(info: Any, spec: TensorSpec) -> None:
    info.name = _tensor_name(spec)
    info.dtype = NUMBERS[spec.dtype]
    info.tensor_shape.SetInParent()  # a scalar has a shape too: one of no dimensions
    for size, name in _dims(spec):
        info.tensor_shape.dim.add(size=size, name=name)


def _info(spec: TensorSpec) -> dict[str, Any]:
    dims = [{"size": str(size), "name": name} for size, name in _dims(spec)]
    shape = {"dim": dims, "unknown_rank": False}
    return {"dtype": NAMES[spec.dtype], "tensor_shape": shape, "name": _tensor_name(spec)}


def _tensor_name(spec: TensorSpec) -> str:
    """The name as TensorFlow's graphs have it, with the number of an output; some come so."""
    return spec.name if ":" in spec.name else f"{spec.name}:0"


def _dims(spec: TensorSpec) -> list[tuple[int, str]]:
    """Sizes, -1 for a free one, without names: SavedModels have none."""
    return [(size, "") for size in spec.wire_shape]
