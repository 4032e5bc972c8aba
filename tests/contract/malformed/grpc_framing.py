"""gRPC itself: frames, encodings, timeouts, methods. And how ModelInfer is asked."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.receiver.codecs.protobuf import message
from tests.contract.calls import PREFIX, Call, frame, framed
from tests.contract.malformed.case import LIMIT_BYTES, ROW, TOO_MUCH, UNIMPLEMENTED, Case, refused

InferRequest = message("inference.ModelInferRequest")
OIP = "/inference.GRPCInferenceService"
MODEL_INFER = f"{OIP}/ModelInfer"


def infer(
    *inputs: tuple[str, str, Sequence[int]],
    raw: Sequence[bytes] = (),
    model: str = "linear",
    version: str = "",
    typed: Mapping[str, Sequence[Any]] | None = None,
    outputs: Sequence[str] = (),
    parameters: Mapping[str, int | str] | None = None,
    classes: int | None = None,
    **headers: str,
) -> Call:
    """ModelInfer; ``typed`` goes into the contents of every input."""
    request = InferRequest(model_name=model, model_version=version, raw_input_contents=raw)
    for name, datatype, shape in inputs:
        row = request.inputs.add(name=name, datatype=datatype, shape=shape)
        for field, values in (typed or {}).items():
            getattr(row.contents, field).extend(values)
    for name in outputs:
        output = request.outputs.add(name=name)
        if classes is not None:
            output.parameters["classification"].int64_param = classes
    for name, value in (parameters or {}).items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(request.parameters[name], kind, value)
    return framed(MODEL_INFER, frame(bytes(request.SerializeToString())), **headers)


GX = ("x", "FP32", (1, 4))
GOOD_INFER = infer(GX, raw=[ROW])
GOOD_MESSAGE = GOOD_INFER.body[PREFIX.size :]


def framing(
    name: str,
    body: bytes,
    message: str,
    error: str = "malformed_request",
    status: int | None = None,
    **headers: str,
) -> Case:
    return refused(f"grpc: {name}", framed(MODEL_INFER, body, **headers), message, error, status)


CASES = [
    framing("empty body", b"", "no 5-byte prefix"),
    framing("half a prefix", b"\0\0\0", "no 5-byte prefix"),
    framing("message cut off", GOOD_INFER.body[:-1], "announces .* bytes and .* came"),
    framing("prefix without its message", PREFIX.pack(0, 7), "announces 7 bytes and 0 came"),
    framing("two messages", GOOD_INFER.body * 2, "exactly one whole message"),
    framing("message of 4 GiB announced", PREFIX.pack(0, 2**32 - 1), "announces 4294967295 bytes"),
    framing("unknown flag", frame(GOOD_MESSAGE, flag=2), "compressed flag is 2, not 0 or 1"),
    framing("compressed nobody knows how", frame(GOOD_MESSAGE, flag=1), "does not say how"),
    framing(
        "unknown encoding",
        frame(GOOD_MESSAGE, flag=1),
        "grpc-encoding snappy is not spoken",
        "unsupported_encoding",
        UNIMPLEMENTED,
        grpc_encoding="snappy",
    ),
    framing("no gzip", frame(b"gzip", flag=1), "gzip data is broken", grpc_encoding="gzip"),
    framing(
        "gzip cut off",
        frame(gzip.compress(GOOD_MESSAGE)[:-10], flag=1),
        "gzip data is cut off",
        grpc_encoding="gzip",
    ),
    framing(
        "gzip bomb",
        frame(gzip.compress(bytes(100 * LIMIT_BYTES), 9), flag=1),
        "inflates to more than the limit",
        "body_too_large",
        TOO_MUCH,
        grpc_encoding="gzip",
    ),
    framing(
        "deflate bomb",
        frame(zlib.compress(bytes(100 * LIMIT_BYTES), 9), flag=1),
        "inflates to more than the limit",
        "body_too_large",
        TOO_MUCH,
        grpc_encoding="deflate",
    ),
    framing(
        "message too large",
        frame(bytes(LIMIT_BYTES + 1)),
        "larger than .* bytes",
        "body_too_large",
        TOO_MUCH,
    ),
    refused(
        "grpc: unknown method",
        framed(f"{OIP}/ModelInferNever", frame(b"")),
        "unknown gRPC method /inference.GRPCInferenceService/ModelInferNever",
        "route_not_found",
        UNIMPLEMENTED,
    ),
    refused(
        "grpc: unknown service",
        framed("/helloworld.Greeter/SayHello", frame(b"")),
        "unknown gRPC method",
        "route_not_found",
        UNIMPLEMENTED,
    ),
    refused(
        "grpc: path of HTTP",
        framed("/v2/models/linear/infer", frame(GOOD_MESSAGE)),
        "unknown gRPC method",
        "route_not_found",
        UNIMPLEMENTED,
    ),
    *(
        refused(
            f"grpc: timeout {value!r}",
            infer(GX, raw=[ROW], grpc_timeout=value),
            "grpc-timeout .* is not 1 to 8 digits",
            "invalid_timeout",
        )
        for value in (
            "5",
            "S",
            "5x",
            "5s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
            "1S1S",
            "soon",
        )
    ),
]
