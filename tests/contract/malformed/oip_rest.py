"""Open Inference Protocol over REST, tensors as JSON."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.calls import Call
from tests.contract.malformed.case import DIGITS, Case, http, invalid, malformed, timeout

X: dict[str, Any] = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
LEFT: dict[str, Any] = {"name": "left", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
RIGHT: dict[str, Any] = {"name": "right", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]}
SMALL: dict[str, Any] = {"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}
FLAG: dict[str, Any] = {"name": "flag", "shape": [1], "datatype": "BOOL", "data": [True]}
TEXT: dict[str, Any] = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}


def oip(*inputs: object, model: str = "linear", **more: Any) -> Call:
    """POST …/infer with these inputs."""
    return http(f"/v2/models/{model}/infer", {"inputs": list(inputs), **more})


INFER = "/v2/models/linear/infer"

CASES = [
    Case(
        "oip-rest: unknown model",
        oip(X, model="nope"),
        404,
        "model_not_found",
        "unknown model 'nope'; models: .*linear",
    ),
    Case(
        "oip-rest: unknown version",
        oip(X, model="linear/versions/2"),
        404,
        "version_not_found",
        "'linear' has no version 2; versions: 1, 3",
    ),
    Case(
        "oip-rest: version of 5000 digits",
        oip(X, model=f"linear/versions/{DIGITS}"),
        404,
        "version_not_found",
        "versions are numbers",
    ),
    Case(
        "oip-rest: version that is no number",
        oip(X, model="linear/versions/one"),
        404,
        "route_not_found",
        "nothing answers POST /v2/models/linear/versions/one/infer",
    ),
    Case(
        "oip-rest: name that is percent-encoded twice",
        oip(X, model="lin%2565ar"),
        404,
        "model_not_found",
        "unknown model 'lin%65ar'",
    ),
    Case(
        "oip-rest: model that failed",
        oip(X, model="broken"),
        503,
        "model_failed",
        "model 'broken' failed",
    ),
    malformed("oip-rest: empty body", http(INFER), "JSON Parse error: .* at offset: 0"),
    malformed("oip-rest: no JSON", http(INFER, b"hello"), "JSON Parse error"),
    malformed("oip-rest: half a JSON", http(INFER, b'{"inputs": [{"na'), "JSON Parse error"),
    malformed("oip-rest: two JSONs", http(INFER, b"{} {}"), "JSON Parse error.* offset: 3"),
    malformed("oip-rest: bad UTF-8", http(INFER, b'{"id": "\xff"}'), "JSON Parse error"),
    malformed("oip-rest: half a surrogate", http(INFER, b'{"id": "\\ud800"}'), "JSON Parse error"),
    malformed(
        "oip-rest: half a surrogate beside NaN",
        http(INFER, b'{"id": "\\ud800", "x": NaN}'),
        "JSON Parse error",
    ),
    malformed("oip-rest: endless nesting", http(INFER, b"[" * 100_000), "JSON Parse error"),
    malformed("oip-rest: a list", http(INFER, []), "must be a JSON object, not a list"),
    malformed("oip-rest: null", http(INFER, None), "must be a JSON object, not null"),
    malformed("oip-rest: a number", http(INFER, 7), "must be a JSON object, not a number"),
    malformed("oip-rest: no inputs", http(INFER, {"id": "a"}), 'needs "inputs"'),
    malformed("oip-rest: empty inputs", oip(), 'needs "inputs"'),
    malformed(
        "oip-rest: inputs in an object", http(INFER, {"inputs": {"x": [1]}}), 'needs "inputs"'
    ),
    malformed(
        "oip-rest: input that is no object", oip("x"), 'every input is an object with a "name"'
    ),
    malformed("oip-rest: input without a name", oip({**X, "name": None}), 'object with a "name"'),
    invalid("oip-rest: input given twice", oip(X, X), "input 'x' is given twice"),
    invalid(
        "oip-rest: unknown input", oip({**X, "name": "z"}), "unknown input 'z'; the model has x"
    ),
    invalid("oip-rest: missing input", oip(LEFT, model="pair"), "input 'right' is missing"),
    invalid("oip-rest: extra input", oip(X, {**X, "name": "z"}), "unknown input 'z'"),
    invalid("oip-rest: wrong dtype", oip({**X, "datatype": "FP64"}), "'x' is FP32, not FP64"),
    invalid(
        "oip-rest: unknown dtype", oip({**X, "datatype": "FP33"}), "datatype 'FP33'; one of BOOL"
    ),
    invalid("oip-rest: no dtype", oip({**X, "datatype": None}), "unknown datatype None"),
    invalid("oip-rest: dtype in a list", oip({**X, "datatype": [["FP32"]]}), "unknown datatype"),
    invalid("oip-rest: no shape", oip({**X, "shape": None}), 'needs a "shape"'),
    invalid("oip-rest: shape in a string", oip({**X, "shape": "1,4"}), 'needs a "shape"'),
    invalid("oip-rest: negative dimension", oip({**X, "shape": [-1, 4]}), "has a dimension -1"),
    invalid("oip-rest: fractional dimension", oip({**X, "shape": [1.0, 4]}), "has a dimension 1.0"),
    invalid(
        "oip-rest: true as a dimension", oip({**X, "shape": [True, 4]}), "has a dimension True"
    ),
    invalid("oip-rest: huge dimensions", oip({**X, "shape": [2**40, 2**40]}), "too large"),
    invalid("oip-rest: huge dimension beside 0", oip({**X, "shape": [0, 2**62]}), "too large"),
    invalid("oip-rest: a hundred axes", oip({**X, "shape": [1] * 100}), "too large"),
    invalid(
        "oip-rest: wrong rank", oip({**X, "shape": [4]}), r"'x' has shape \[-1, 4\], got \[4\]"
    ),
    invalid(
        "oip-rest: wrong size",
        oip({**X, "shape": [1, 5], "data": [1] * 5}),
        r"'x' has shape \[-1, 4\], got \[1, 5\]",
    ),
    invalid("oip-rest: too few numbers", oip({**X, "data": [1, 2]}), "has 4 elements, the data 2"),
    invalid(
        "oip-rest: ragged",
        oip({**X, "shape": [2, 4], "data": [[1, 2, 3, 4], [1, 2, 3]]}),
        "ragged",
    ),
    invalid("oip-rest: no rows", oip({**X, "shape": [0, 4], "data": []}), "no rows"),
    invalid(
        "oip-rest: rows that differ",
        oip(LEFT, {**RIGHT, "shape": [2, 2], "data": [1, 2, 3, 4]}, model="pair"),
        "'right' has 2 rows, the inputs before it have 1",
    ),
    invalid("oip-rest: strings for numbers", oip({**X, "data": ["1"] * 4}), "the JSON has strings"),
    invalid(
        "oip-rest: null among numbers", oip({**X, "data": [1, None, 3, 4]}), "null, objects or"
    ),
    invalid("oip-rest: objects for numbers", oip({**X, "data": [{}] * 4}), "null, objects or"),
    invalid("oip-rest: booleans for numbers", oip({**X, "data": [True] * 4}), "JSON has booleans"),
    invalid(
        "oip-rest: a boolean among numbers",
        oip({**X, "data": [1.5, 2, 3, True]}),
        "JSON has booleans",
    ),
    invalid(
        "oip-rest: numbers for booleans",
        oip(SMALL, {**FLAG, "data": [1]}, model="small"),
        "'flag' is BOOL, the JSON has integers",
    ),
    invalid(
        "oip-rest: number too large for INT8",
        oip({**SMALL, "data": [300]}, FLAG, model="small"),
        "does not fit INT8",
    ),
    invalid(
        "oip-rest: number too large for FP32",
        oip({**X, "data": [1e39, 2, 3, 4]}),
        "does not fit FP32",
    ),
    malformed(
        "oip-rest: number too large for JSON",
        http(INFER, json.dumps({"inputs": [X]}).replace("[1, 2, 3, 4]", "[1e400]").encode()),
        "JSON Parse error: number is infinity",
    ),
    invalid(
        "oip-rest: number too large for INT64",
        oip(LEFT, {**RIGHT, "data": [2**70, 1]}, model="pair"),
        "more than 64 bits",
    ),
    invalid(
        "oip-rest: fractions for INT64",
        oip(LEFT, {**RIGHT, "data": [1.5, 1]}, model="pair"),
        "'right' is INT64, the JSON has fractions",
    ),
    invalid(
        "oip-rest: FP16 as JSON",
        oip({**X, "datatype": "FP16"}, model="free"),
        "FP16 cannot be sent as JSON, send it as binary data",
    ),
    invalid(
        "oip-rest: numbers for BYTES", oip({**TEXT, "data": [1]}, model="words"), "is BYTES: give"
    ),
    invalid(
        "oip-rest: broken base64",
        oip({**TEXT, "data": [{"b64": "a"}]}, model="words"),
        "broken base64",
    ),
    invalid(
        "oip-rest: ragged strings",
        oip({**TEXT, "shape": [3], "data": [["a"], ["b", "c"]]}, model="words"),
        "ragged",
    ),
    invalid(
        "oip-rest: neither data nor size",
        oip({name: X[name] for name in ("name", "shape", "datatype")}),
        'neither "data" nor binary_data_size',
    ),
    malformed("oip-rest: id that is no string", oip(X, id=7), "id must be a string"),
    malformed("oip-rest: parameters in a list", oip(X, parameters=[1]), '"parameters" must be an'),
    timeout("oip-rest: timeout in words", oip(X, parameters={"timeout": "soon"})),
    timeout("oip-rest: negative timeout", oip(X, parameters={"timeout": -1})),
    timeout("oip-rest: fractional timeout", oip(X, parameters={"timeout": 0.5})),
    timeout("oip-rest: timeout past 64 bits", oip(X, parameters={"timeout": DIGITS})),
    timeout(
        "oip-rest: timeout in lists of lists",
        http(
            INFER,
            b'{"inputs": [%b], "parameters": {"timeout": %b1%b}}'
            % (json.dumps(X).encode(), b"[" * 1000, b"]" * 1000),
        ),
    ),
    malformed("oip-rest: priority in words", oip(X, parameters={"priority": "high"}), "priority"),
    malformed("oip-rest: negative priority", oip(X, parameters={"priority": -1}), "priority"),
    invalid("oip-rest: unknown output", oip(X, outputs=[{"name": "w"}]), "unknown output 'w'"),
    malformed("oip-rest: output without a name", oip(X, outputs=[{}]), 'object with a "name"'),
    malformed("oip-rest: outputs in an object", oip(X, outputs={"name": "y"}), "must be a list"),
    invalid(
        "oip-rest: classification of 0",
        oip(X, outputs=[{"name": "y", "parameters": {"classification": 0}}]),
        "classification must be a whole number",
    ),
    invalid(
        "oip-rest: classification of strings",
        oip(
            TEXT,
            model="words",
            outputs=[{"name": "text_bytes", "parameters": {"classification": 1}}],
        ),
        "only numbers can be classified",
    ),
]
