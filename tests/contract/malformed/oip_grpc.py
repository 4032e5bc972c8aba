"""Open Inference Protocol over gRPC."""

from __future__ import annotations

from headrace.statuses import GrpcStatus
from tests.contract.calls import PREFIX, Call, frame, framed
from tests.contract.malformed.case import DIGITS, NOT_FOUND, ROW, Case, refused
from tests.contract.malformed.grpc_framing import GOOD_MESSAGE, GX, OIP, infer


def oip_grpc(
    name: str, call: Call, message: str, error: str = "invalid_input", status: int | None = None
) -> Case:
    return refused(f"oip-grpc: {name}", call, message, error, status)


def raw_message(data: bytes, method: str = "ModelInfer") -> Call:
    return framed(f"{OIP}/{method}", frame(data))


LARGE = infer(("x", "FP32", (20_000, 4)), raw=[bytes(320_000)]).body[PREFIX.size :]

CASES = [
    oip_grpc(
        "unknown model",
        infer(GX, raw=[ROW], model="nope"),
        "unknown model 'nope'",
        "model_not_found",
        NOT_FOUND,
    ),
    oip_grpc("no model", raw_message(b""), "unknown model ''", "model_not_found", NOT_FOUND),
    oip_grpc(
        "unknown version",
        infer(GX, raw=[ROW], version="2"),
        "no version 2",
        "version_not_found",
        NOT_FOUND,
    ),
    oip_grpc(
        "version that is no number",
        infer(GX, raw=[ROW], version="one"),
        "versions are numbers",
        "version_not_found",
        NOT_FOUND,
    ),
    oip_grpc(
        "version of 5000 digits",
        infer(GX, raw=[ROW], version=DIGITS),
        "version",
        "version_not_found",
        NOT_FOUND,
    ),
    oip_grpc(
        "model that failed",
        infer(GX, raw=[ROW], model="broken"),
        "model 'broken' failed",
        "model_failed",
        int(GrpcStatus.UNAVAILABLE),
    ),
    oip_grpc(
        "no message", raw_message(b"\xff" * 20), "is no ModelInferRequest", "malformed_request"
    ),
    oip_grpc(
        "message cut off",
        raw_message(GOOD_MESSAGE[:-3]),
        "no ModelInferRequest",
        "malformed_request",
    ),
    oip_grpc("large message cut off", raw_message(LARGE[:-3]), "is cut off", "malformed_request"),
    oip_grpc(
        "large message of zeros",
        raw_message(bytes(100_000)),
        "ModelInferRequest",
        "malformed_request",
    ),
    oip_grpc(
        "bad UTF-8",
        raw_message(b"\x0a\x02\xff\xfe"),
        "is no ModelInferRequest",
        "malformed_request",
    ),
    oip_grpc(
        "metadata of no message",
        raw_message(b"\x0a\x09", "ModelMetadata"),
        "is no ModelMetadataRequest",
        "malformed_request",
    ),
    oip_grpc(
        "metadata of an unknown model",
        raw_message(b"\x0a\x04nope", "ModelMetadata"),
        "unknown model 'nope'",
        "model_not_found",
        NOT_FOUND,
    ),
    oip_grpc("no inputs", infer(), "input 'x' is missing"),
    oip_grpc("unknown input", infer(("z", "FP32", (1, 4)), raw=[ROW]), "unknown input 'z'"),
    oip_grpc(
        "missing input",
        infer(("left", "FP32", (1, 2)), raw=[ROW[:8]], model="pair"),
        "'right' is missing",
    ),
    oip_grpc("input given twice", infer(GX, GX, raw=[ROW, ROW]), "'x' is given twice"),
    oip_grpc("both raw and typed", infer(GX, raw=[ROW], typed={"fp32_contents": [1] * 4}), "both"),
    oip_grpc("more raw than inputs", infer(GX, raw=[ROW, ROW]), "has 2 tensors for 1 inputs"),
    oip_grpc(
        "fewer raw than inputs",
        infer(("left", "FP32", (1, 2)), ("right", "INT64", (1, 2)), raw=[ROW[:8]], model="pair"),
        "has 1 tensors for 2 inputs",
    ),
    oip_grpc("raw tensor cut off", infer(GX, raw=[ROW[:-1]]), "is 16 bytes, got 15"),
    oip_grpc("raw tensor too long", infer(GX, raw=[ROW + b"!"]), "is 16 bytes, got 17"),
    oip_grpc("wrong dtype", infer(("x", "INT32", (1, 4)), raw=[ROW]), "'x' is FP32, not INT32"),
    oip_grpc("unknown dtype", infer(("x", "FLOAT", (1, 4)), raw=[ROW]), "unknown datatype 'FLOAT'"),
    oip_grpc("no dtype", infer(("x", "", (1, 4)), raw=[ROW]), "unknown datatype ''"),
    oip_grpc("wrong rank", infer(("x", "FP32", (4,)), raw=[ROW]), r"got \[4\]"),
    oip_grpc("wrong size", infer(("x", "FP32", (2, 2)), raw=[ROW]), r"got \[2, 2\]"),
    oip_grpc("negative dimension", infer(("x", "FP32", (-1, -4)), raw=[ROW]), "has a dimension -1"),
    oip_grpc("huge dimension", infer(("x", "FP32", (2**62, 4)), raw=[ROW]), "is too large"),
    oip_grpc("huge dimension beside 0", infer(("x", "FP32", (2**62, 0)), raw=[b""]), "too large"),
    oip_grpc("no rows", infer(("x", "FP32", (0, 4)), raw=[b""]), "no rows"),
    oip_grpc(
        "rows of nothing",
        infer(("x", "FP16", (10**9, 0)), raw=[b""], model="free"),
        "1000000000 rows and not one element",
    ),
    oip_grpc(
        "rows that differ",
        infer(
            ("left", "FP32", (1, 2)),
            ("right", "INT64", (2, 2)),
            raw=[ROW[:8], ROW * 2],
            model="pair",
        ),
        "'right' has 2 rows, the inputs before it have 1",
    ),
    oip_grpc("too few typed", infer(GX, typed={"fp32_contents": [1, 2]}), "2 elements in fp32"),
    oip_grpc("nothing typed", infer(GX), "0 elements in fp32_contents do not agree"),
    oip_grpc(
        "typed in the wrong field",
        infer(GX, typed={"fp64_contents": [1] * 4}),
        "fill fp32_contents, not fp64_contents",
    ),
    oip_grpc(
        "typed FP16",
        infer(("x", "FP16", (1, 1)), typed={"fp32_contents": [1]}, model="free"),
        "FP16 has no typed contents, send it raw",
    ),
    oip_grpc(
        "typed number too large",
        infer(("x", "INT8", (1,)), typed={"int_contents": [300]}, model="small"),
        "does not fit INT8",
    ),
    oip_grpc(
        "string cut off",
        infer(("text", "BYTES", (1,)), raw=[b"\x09\0\0\0short"], model="words"),
        "is cut off",
    ),
    oip_grpc(
        "too many strings, in three inputs",
        infer(
            *[(name, "BYTES", (2**17,)) for name in ("text", "more", "rest")],
            typed={"bytes_contents": [b""] * 2**17},
            model="words",
        ),
        "393,216 strings in a request, which may have 262,144",
    ),
    oip_grpc("unknown output", infer(GX, raw=[ROW], outputs=["w"]), "unknown output 'w'"),
    oip_grpc(
        "classification of 0",
        infer(GX, raw=[ROW], outputs=["y"], classes=0),
        "classification must be",
    ),
    oip_grpc(
        "negative timeout",
        infer(GX, raw=[ROW], parameters={"timeout": -1}),
        "timeout must be whole microseconds",
        "invalid_timeout",
    ),
    oip_grpc(
        "timeout in words",
        infer(GX, raw=[ROW], parameters={"timeout": "soon"}),
        "timeout must be whole microseconds",
        "invalid_timeout",
    ),
    oip_grpc(
        "negative priority",
        infer(GX, raw=[ROW], parameters={"priority": -7}),
        "priority must be a whole number",
        "malformed_request",
    ),
]
