"""TensorFlow Serving over gRPC, in the words its clients look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.receiver.codecs.protobuf import message
from headrace.statuses import GrpcStatus
from tests.contract.calls import Call, frame, framed
from tests.contract.malformed.case import NOT_FOUND, ROW, UNIMPLEMENTED, Case, refused

PredictRequest = message("tensorflow.serving.PredictRequest")
StatusRequest = message("tensorflow.serving.GetModelStatusRequest")
_SERVICE = "/tensorflow.serving.PredictionService"
TF_PREDICT = f"{_SERVICE}/Predict"


def predict(
    inputs: Mapping[str, Mapping[str, Any]],
    *,
    model: str = "linear",
    version: int | None = None,
    label: str | None = None,
    signature: str = "",
    outputs: Sequence[str] = (),
) -> Call:
    """PredictionService/Predict; an input is the fields of its TensorProto, ``shape`` apart."""
    request = PredictRequest(output_filter=outputs)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, fields in inputs.items():
        proto = request.inputs[name]
        for size in fields.get("shape", ()):
            proto.tensor_shape.dim.add(size=size)
        for field, value in fields.items():
            if isinstance(value, list):
                getattr(proto, field).extend(value)
            elif field == "unknown_rank":
                proto.tensor_shape.unknown_rank = value
            elif field != "shape":
                setattr(proto, field, value)
    return framed(TF_PREDICT, frame(bytes(request.SerializeToString())))


def by_examples(
    method: str,
    message_name: str,
    features: Mapping[str, Sequence[Any]] | None,
    *,
    model: str = "linear",
    signature: str = "",
) -> Call:
    """Classify or Regress one example; without features there is none."""
    request = message(f"tensorflow.serving.{message_name}Request")()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if features is not None:
        example = request.input.example_list.examples.add()
        for name, values in features.items():
            field = {float: "float_list", int: "int64_list", bytes: "bytes_list"}[type(values[0])]
            getattr(example.features.feature[name], field).value.extend(values)
    return framed(f"{_SERVICE}/{method}", frame(bytes(request.SerializeToString())))


def classify(features: Mapping[str, Sequence[Any]] | None, **spec: str) -> Call:
    return by_examples("Classify", "Classification", features, **spec)


def regress(features: Mapping[str, Sequence[Any]] | None, **spec: str) -> Call:
    return by_examples("Regress", "Regression", features, **spec)


def by_context(model: str, name: str, values: Sequence[float], examples: int) -> Call:
    """Classify examples that have nothing but their context."""
    request = message("tensorflow.serving.ClassificationRequest")()
    request.model_spec.name = model
    source = request.input.example_list_with_context
    source.context.features.feature[name].float_list.value.extend(values)
    for _ in range(examples):
        source.examples.add()
    return framed(f"{_SERVICE}/Classify", frame(bytes(request.SerializeToString())))


def metadata(*fields: str, model: str = "linear") -> Call:
    request = message("tensorflow.serving.GetModelMetadataRequest")(metadata_field=fields)
    request.model_spec.name = model
    path = f"{_SERVICE}/GetModelMetadata"
    return framed(path, frame(bytes(request.SerializeToString())))


def several(*methods: str, model: str = "linear") -> Call:
    """MultiInference without examples."""
    request = message("tensorflow.serving.MultiInferenceRequest")()
    for method in methods:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = model
    path = f"{_SERVICE}/MultiInference"
    return framed(path, frame(bytes(request.SerializeToString())))


def model_status(model: str, version: int | None = None) -> Call:
    request = StatusRequest()
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    path = "/tensorflow.serving.ModelService/GetModelStatus"
    return framed(path, frame(bytes(request.SerializeToString())))


FLOAT, HALF, STRING, INT8, BOOL, INT64 = 1, 19, 7, 6, 10, 9
TX = {"dtype": FLOAT, "shape": (1, 4), "tensor_content": ROW}


def tf_grpc(
    name: str, call: Call, message: str, error: str = "invalid_input", status: int | None = None
) -> Case:
    return refused(f"tfserving-grpc: {name}", call, message, error, status)


CASES = [
    tf_grpc(
        "unknown model",
        predict({"x": TX}, model="nope"),
        r"Servable not found for request: Latest\(nope\)",
        "model_not_found",
        NOT_FOUND,
    ),
    tf_grpc(
        "unknown version",
        predict({"x": TX}, version=2),
        r"Servable not found for request: Specific\(linear, 2\)",
        "version_not_found",
        NOT_FOUND,
    ),
    tf_grpc(
        "negative version",
        predict({"x": TX}, version=-1),
        r"Specific\(linear, -1\)",
        "version_not_found",
        NOT_FOUND,
    ),
    tf_grpc(
        "unknown label",
        predict({"x": TX}, label="canary"),
        "Unrecognized servable version label: canary",
        "invalid_argument",
    ),
    tf_grpc("no model", predict({"x": TX}, model=""), "Missing ModelSpec", "malformed_request"),
    tf_grpc(
        "empty message", framed(TF_PREDICT, frame(b"")), "Missing ModelSpec", "malformed_request"
    ),
    tf_grpc(
        "unknown signature",
        predict({"x": TX}, signature="other"),
        'Serving signature key "other" not found.',
        "signature_not_found",
        int(GrpcStatus.FAILED_PRECONDITION),
    ),
    tf_grpc(
        "no message",
        framed(TF_PREDICT, frame(b"\xff" * 9)),
        "is no PredictRequest",
        "malformed_request",
    ),
    tf_grpc(
        "unknown input",
        predict({"z": TX}),
        r"input tensor alias not found in signature: z\. Inputs expected to be in the set \{x\}",
    ),
    tf_grpc("missing input", predict({}), r"0!=1 len\(\{\}\) != .*Missing but required: \{x\}"),
    tf_grpc(
        "extra input",
        predict({"x": TX, "z": TX}),
        r"input size does not match signature: 2!=1 len\(\{x,z\}\) != len\(\{x\}\)\. "
        r"Sent extra: \{z\}\. Missing but required: \{\}\.",
    ),
    tf_grpc("wrong dtype", predict({"x": {**TX, "dtype": 3}}), "'x' is FP32, not INT32"),
    tf_grpc("no dtype", predict({"x": {**TX, "dtype": 0}}), "dtype 0 cannot be served"),
    tf_grpc("dtype of complex numbers", predict({"x": {**TX, "dtype": 8}}), "dtype 8 cannot be"),
    tf_grpc("no shape", predict({"x": {**TX, "unknown_rank": True}}), "'x' has no shape"),
    tf_grpc("negative dimension", predict({"x": {**TX, "shape": (-1, 4)}}), "has a dimension -1"),
    tf_grpc("huge dimension", predict({"x": {**TX, "shape": (2**62, 4)}}), "is too large"),
    tf_grpc("wrong rank", predict({"x": {**TX, "shape": (4,)}}), r"got \[4\]"),
    tf_grpc("content cut off", predict({"x": {**TX, "tensor_content": ROW[:-1]}}), "bytes, got 15"),
    tf_grpc(
        "strings in the content",
        predict({"text": {"dtype": STRING, "shape": (1,), "tensor_content": b"a"}}, model="words"),
        "strings go into string_val",
    ),
    tf_grpc(
        "no values for billions",
        predict({"x": {"dtype": FLOAT, "shape": (2**30, 4)}}),
        "for 4294967296 elements",
    ),
    tf_grpc(
        "too many values",
        predict({"x": {"dtype": FLOAT, "shape": (1, 4), "float_val": [1.0] * 5}}),
        "has 4 elements, float_val 5",
    ),
    tf_grpc(
        "values in the wrong field",
        predict({"x": {"dtype": FLOAT, "shape": (1, 4), "double_val": [1.0] * 4}}),
        "has 4 elements, float_val 0",
    ),
    tf_grpc(
        "one value for billions",
        predict({"x": {"dtype": FLOAT, "shape": (2**30, 4), "float_val": [1.0]}}),
        "1 values for 4294967296 elements",
    ),
    tf_grpc(
        "many values for many more",
        predict({"x": {"dtype": FLOAT, "shape": (2**26, 4), "float_val": [1.0] * 256}}),
        "256 values for 268435456 elements",
    ),
    tf_grpc(
        "a long string for many",
        predict(
            {"text": {"dtype": STRING, "shape": (2**14,), "string_val": [b"a" * 2**14]}},
            model="words",
        ),
        "1 values for 16384 elements",
    ),
    tf_grpc(
        "an empty string for too many",
        predict(
            {"text": {"dtype": STRING, "shape": (2**18 + 1,), "string_val": [b""]}}, model="words"
        ),
        "262,145 strings in a request",
    ),
    tf_grpc(
        "number too large",
        predict(
            {
                "x": {"dtype": INT8, "shape": (1,), "int_val": [300]},
                "flag": {"dtype": BOOL, "shape": (1,), "bool_val": [True]},
            },
            model="small",
        ),
        "does not fit INT8",
    ),
    tf_grpc(
        "rows that differ",
        predict(
            {
                "left": {"dtype": FLOAT, "shape": (1, 2), "float_val": [1.0]},
                "right": {"dtype": INT64, "shape": (2, 2), "int64_val": [1]},
            },
            model="pair",
        ),
        "'right' has 2 rows",
    ),
    tf_grpc(
        "rows of nothing",
        predict({"x": {"dtype": HALF, "shape": (10**9, 0)}}, model="free"),
        "not one element",
    ),
    tf_grpc(
        "unknown output",
        predict({"x": TX}, outputs=["w"]),
        r"output tensor alias not found in signature: w Outputs expected to be in the set \{y\}",
    ),
    tf_grpc(
        "output twice",
        predict({"x": TX}, outputs=["y", "y"]),
        "duplicate output tensor alias: y",
    ),
    tf_grpc(
        "unknown method",
        framed("/tensorflow.serving.PredictionService/Explain", frame(b"")),
        "unknown gRPC method",
        "route_not_found",
        UNIMPLEMENTED,
    ),
    tf_grpc(
        "status of an unknown model",
        model_status("nope"),
        "Could not find any versions of model nope",
        "model_not_found",
        NOT_FOUND,
    ),
    tf_grpc(
        "status of an unknown version",
        model_status("linear", 2),
        "Could not find version 2 of model linear",
        "version_not_found",
        NOT_FOUND,
    ),
    tf_grpc("status of nothing", model_status(""), "Missing ModelSpec", "malformed_request"),
    *(
        tf_grpc(
            f"no message for {method}",
            framed(f"{_SERVICE}/{method}", frame(b"\xff" * 9)),
            f"is no {name}Request",
            "malformed_request",
        )
        for method, name in (
            ("Classify", "Classification"),
            ("Regress", "Regression"),
            ("MultiInference", "MultiInference"),
            ("GetModelMetadata", "GetModelMetadata"),
        )
    ),
    *(
        tf_grpc(
            f"unknown model of {name}",
            call({"x": [1.0] * 4}, model="nope"),
            r"Servable not found for request: Latest\(nope\)",
            "model_not_found",
            NOT_FOUND,
        )
        for name, call in (("Classify", classify), ("Regress", regress))
    ),
    tf_grpc("no examples", classify(None), "Input is empty."),
    tf_grpc("missing feature", classify({"z": [1.0]}), "Feature: x .* is required but could not"),
    tf_grpc("feature too short", classify({"x": [1.0]}), r"Values size: 1 but output shape: \[4\]"),
    tf_grpc("feature of another kind", classify({"x": [1]}), "Expected type: float, got int64"),
    tf_grpc(
        "unknown signature of Classify",
        classify({"x": [1.0] * 4}, signature="other"),
        "No signature was found with the name: other",
        "invalid_argument",
    ),
    tf_grpc(
        "context times examples",
        by_context("wide", "x", [1.0] * 2**12, 2**14),
        "4096 of the context, 16384 times: values that are sent once",
    ),
    tf_grpc("no classifier", classify(None, model="small"), 'at least one of "classes" or'),
    tf_grpc("no regressor", regress({"x": [1.0] * 4}), r"\[batch_size, 1\] but got \[\?,4\]"),
    tf_grpc("no single output", regress(None, model="pair"), "Expected one output Tensor."),
    tf_grpc("no tasks", several(), "Missing ModelSpec", "malformed_request"),
    tf_grpc(
        "task of no method",
        several("predict"),
        "Unsupported signature method_name: predict",
        "route_not_found",
        UNIMPLEMENTED,
    ),
    tf_grpc(
        "task twice",
        several(*["tensorflow/serving/classify"] * 2),
        "Duplicate evaluation of signature",
        "invalid_argument",
    ),
    tf_grpc("tasks without examples", several("tensorflow/serving/classify"), "Input is empty."),
    tf_grpc(
        "metadata of nothing",
        metadata("signature_def", model=""),
        "Missing ModelSpec",
        "malformed_request",
    ),
    tf_grpc("no metadata", metadata(), "at least one metadata_field", "malformed_request"),
    tf_grpc(
        "unknown metadata",
        metadata("signature_def", "graph"),
        "Metadata field graph is not supported",
        "invalid_argument",
    ),
    tf_grpc(
        "metadata of an unknown model",
        metadata("signature_def", model="nope"),
        r"Servable not found for request: Latest\(nope\)",
        "model_not_found",
        NOT_FOUND,
    ),
]
