"""Open Inference Protocol over REST, tensors as bytes after the JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from tests.contract.calls import Call
from tests.contract.malformed.case import DIGITS, ROW, http, invalid, malformed


def binary(
    data: bytes,
    tensor: Mapping[str, Any] | None = None,
    *,
    size: object = None,
    length: str | None = None,
    model: str = "linear",
) -> Call:
    """POST …/infer with one binary tensor."""
    row = {"name": "x", "shape": [1, 4], "datatype": "FP32", **(tensor or {})}
    row["parameters"] = {"binary_data_size": len(data) if size is None else size}
    head = json.dumps({"inputs": [row]}).encode()
    headers = {"inference-header-content-length": str(len(head)) if length is None else length}
    return http(f"/v2/models/{model}/infer", head + data, headers=headers)


WORDS = {"name": "text", "shape": [1], "datatype": "BYTES"}

CASES = [
    malformed(
        "oip-rest-binary: length that is no number",
        binary(ROW, length="many"),
        "Inference-Header-Content-Length 'many' does not fit",
    ),
    malformed("oip-rest-binary: negative length", binary(ROW, length="-1"), "does not fit a body"),
    invalid(
        "oip-rest-binary: raw request of another size",
        binary(ROW, length="0"),
        r"shape \[1, 4\] of FP32 is 16 bytes, got",
    ),
    invalid(
        "oip-rest-binary: raw request for two inputs",
        binary(ROW, length="0", model="pair"),
        "a raw binary request has one input, model 'pair' has 2",
    ),
    malformed("oip-rest-binary: length past the body", binary(ROW, length="9999"), "does not fit"),
    malformed(
        "oip-rest-binary: length of 5000 digits", binary(ROW, length=DIGITS), "does not fit a body"
    ),
    malformed(
        "oip-rest-binary: length into the JSON", binary(ROW, length="20"), "JSON Parse error"
    ),
    malformed(
        "oip-rest-binary: length into the tensor", binary(ROW, length="120"), "JSON Parse error"
    ),
    invalid(
        "oip-rest-binary: tensor cut off", binary(ROW[:-1], size=16), "does not fit the 15 bytes"
    ),
    invalid(
        "oip-rest-binary: bytes left over", binary(ROW + b"!", size=16), "1 bytes of binary data"
    ),
    invalid("oip-rest-binary: size of another shape", binary(ROW[:8]), "is 16 bytes, got 8"),
    invalid("oip-rest-binary: size in a string", binary(ROW, size="16"), "'16' does not fit"),
    invalid(
        "oip-rest-binary: size in lists of lists",
        http(
            "/v2/models/linear/infer",
            b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": '
            b'{"binary_data_size": %b%b}}]}' % (b"[" * 1000, b"]" * 1000),
        ),
        "does not fit",
    ),
    invalid("oip-rest-binary: negative size", binary(ROW, size=-1), "-1 does not fit"),
    invalid("oip-rest-binary: size of true", binary(ROW, size=True), "True does not fit"),
    invalid(
        "oip-rest-binary: both data and size",
        binary(ROW, {"data": [1, 2, 3, 4]}),
        'both "data" and binary_data_size',
    ),
    invalid(
        "oip-rest-binary: string cut off",
        binary(struct.pack("<I", 9) + b"short", WORDS, model="words"),
        "BYTES element 0 of 9 bytes is cut off",
    ),
    invalid(
        "oip-rest-binary: string too many",
        binary(struct.pack("<I1sI1s", 1, b"a", 1, b"b"), WORDS, model="words"),
        "5 bytes after its 1 elements",
    ),
    invalid(
        "oip-rest-binary: more strings than bytes",
        binary(b"\0\0\0\0", {**WORDS, "shape": [2**18]}, model="words"),
        "4 bytes cannot hold 262144 BYTES elements",
    ),
    invalid(
        "oip-rest-binary: too many strings",
        binary(b"\0\0\0\0", {**WORDS, "shape": [2**39]}, model="words"),
        "549,755,813,888 strings in a request",
    ),
    invalid(
        "oip-rest-binary: rows of nothing",
        binary(b"", {"shape": [10**9, 0], "datatype": "FP16"}, model="free"),
        "1000000000 rows and not one element",
    ),
]
