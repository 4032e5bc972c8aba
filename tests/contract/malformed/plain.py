"""Plain JSON, encodings and limits of bodies, the timeout header, paths, and what is no HTTP."""

from __future__ import annotations

import gzip
import json

from tests.contract.calls import Call
from tests.contract.malformed.case import LIMIT_BYTES, Case, http, invalid, timeout

GOOD_INPUT = {"input": [[1, 2, 3, 4]]}


def plain(body: object, model: str = "linear", **headers: str) -> Call:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http(f"/predict/{model}", body, headers=named)


def encoded(name: str, body: bytes, encoding: str, status: int, error: str, message: str) -> Case:
    return Case(name, plain(body, content_encoding=encoding), status, error, message)


GZIPPED = gzip.compress(json.dumps(GOOD_INPUT).encode())

PREDICT = [
    Case("predict: unknown model", plain(GOOD_INPUT, "nope"), 404, "model_not_found", "'nope'"),
    Case(
        "predict: unknown version",
        plain(GOOD_INPUT, "linear/versions/7"),
        404,
        "version_not_found",
        "no version 7",
    ),
    invalid("predict: no key", plain({"data": [1]}), 'the body needs "input"'),
    invalid("predict: two keys", plain({**GOOD_INPUT, "inputs": []}), 'give one of "input"'),
    invalid("predict: ragged", plain({"input": [[1], [2, 3]]}), "ragged"),
    invalid(
        "predict: an unknown input",
        plain({"input": {"z": [[1, 2, 3, 4]]}}),
        "unknown input 'z'; the model has x",
    ),
    invalid("predict: a missing input", plain({"input": {}}), "input 'x' is missing"),
    invalid(
        "predict: a boolean among numbers", plain({"input": [[0.5, False]]}), "JSON has booleans"
    ),
    invalid("predict: too deep", plain(b'{"input": %b1%b}' % (b"[" * 99, b"]" * 99)), "input 'x'"),
    invalid("predict: a string", plain({"input": "1"}), "the JSON has strings"),
    *(
        Case(
            f"predict: {kind} to a model of tensors",
            plain(b"data", content_type=kind),
            415,
            "unsupported_encoding",
            f"takes JSON and no {kind}: its card does not say `accepts`",
        )
        for kind in ("image/png", "audio/wav", "multipart/form-data")
    ),
    Case(
        "predict: wrong verb",
        http("/predict/linear", method="GET"),
        405,
        "method_not_allowed",
        "takes POST, not GET",
    ),
    encoded(
        "predict: unknown encoding", b"{}", "br", 415, "unsupported_encoding", "'br' is not spoken"
    ),
    encoded(
        "predict: encoded twice", GZIPPED, "gzip, gzip", 415, "unsupported_encoding", "not spoken"
    ),
    encoded("predict: no gzip", b"{}", "gzip", 400, "malformed_request", "gzip data is broken"),
    encoded(
        "predict: gzip cut off",
        GZIPPED[:-9],
        "gzip",
        400,
        "malformed_request",
        "gzip data is cut off",
    ),
    encoded(
        "predict: gzip with more after it",
        GZIPPED + b"{}",
        "gzip",
        400,
        "malformed_request",
        "follow the end of the gzip data",
    ),
    encoded(
        "predict: gzip of a wrong sum",
        GZIPPED[:-8] + bytes(4) + GZIPPED[-4:],
        "gzip",
        400,
        "malformed_request",
        "gzip data is broken: .*incorrect data check",
    ),
    encoded("predict: no deflate", b"{}", "deflate", 400, "malformed_request", "deflate data is"),
    encoded(
        "predict: gzip bomb",
        gzip.compress(bytes(100 * LIMIT_BYTES), 9),
        "gzip",
        413,
        "body_too_large",
        "inflates to more than the limit of 1048576 bytes",
    ),
    Case(
        "predict: body too large",
        plain(b" " * (LIMIT_BYTES + 1)),
        413,
        "body_too_large",
        "larger than 1048576 bytes: .* raise server.max_body_mib",
    ),
    timeout("predict: timeout in words", plain(GOOD_INPUT, headrace_timeout_ms="soon")),
    timeout("predict: negative timeout", plain(GOOD_INPUT, headrace_timeout_ms="-5")),
    timeout("predict: timeout of 0", plain(GOOD_INPUT, headrace_timeout_ms="0")),
    timeout("predict: timeout of nan", plain(GOOD_INPUT, headrace_timeout_ms="nan")),
    timeout("predict: endless timeout", plain(GOOD_INPUT, headrace_timeout_ms="inf")),
]


def path(name: str, method: str, where: str, status: int, error: str, message: str) -> Case:
    return Case(f"http: {name}", http(where, method=method), status, error, message)


def wire(name: str, data: bytes) -> Case:
    """What Envoy refuses by itself."""
    return Case(f"http: {name}", Call("socket", body=data), 400, None, "")


HTTP = [
    path("unknown path", "GET", "/nowhere", 404, "route_not_found", "nothing answers GET /nowhere"),
    path("path without a model", "POST", "/v2/models//infer", 404, "route_not_found", "nothing"),
    path(
        "path with a slash in the name",
        "POST",
        "/v2/models/a%2Fb/infer",
        404,
        "route_not_found",
        "",
    ),
    path("path that is not UTF-8", "GET", "/v2/models/%ff%fe", 400, "malformed_request", "path"),
    path(
        "wrong verb for health", "POST", "/v2/health/live", 405, "method_not_allowed", "takes GET"
    ),
    path(
        "wrong verb for infer",
        "GET",
        "/v2/models/linear/infer",
        405,
        "method_not_allowed",
        "takes POST, not GET",
    ),
    path("wrong verb for metrics", "DELETE", "/metrics", 405, "method_not_allowed", "takes GET"),
    path("wrong verb for predict", "PUT", "/predict", 405, "method_not_allowed", "takes POST"),
    path(
        "gRPC method without gRPC",
        "POST",
        "/inference.GRPCInferenceService/ModelInfer",
        404,
        "route_not_found",
        "nothing answers",
    ),
    path(
        "metadata of an unknown model", "GET", "/v2/models/nope", 404, "model_not_found", "'nope'"
    ),
    path("unknown model ready", "GET", "/v2/models/nope/ready", 404, "model_not_found", "'nope'"),
    wire("unknown verb", b"FROB /predict/linear HTTP/1.1\r\nhost: a\r\n\r\n"),
    wire("no HTTP at all", b"\x16\x03\x01hello\r\n\r\n"),
    wire("header without a colon", b"GET / HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n"),
    wire("no host", b"GET / HTTP/1.1\r\n\r\n"),
    wire("negative length", b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
    wire(
        "length and chunks",
        b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    wire(
        "chunk of a bad length",
        b"POST /predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    ),
]


CASES = (*PREDICT, *HTTP)
