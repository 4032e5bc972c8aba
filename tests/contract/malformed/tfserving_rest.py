"""TensorFlow Serving over REST, in the words its clients look for."""

from __future__ import annotations

from tests.contract.calls import Call
from tests.contract.malformed.case import Case, http, invalid, malformed


def tf(
    body: object, model: str = "linear", *, method: str = "POST", call: str = ":predict"
) -> Call:
    return http(f"/v1/models/{model}{call}", body, method=method)


def servable(name: str, call: Call, error: str, message: str) -> Case:
    return Case(name, call, 404, error, message)


GOOD_ROWS = {"instances": [[1, 2, 3, 4]]}

CASES = [
    servable(
        "tfserving-rest: unknown model",
        tf(GOOD_ROWS, "nope"),
        "model_not_found",
        r"Servable not found for request: Latest\(nope\)",
    ),
    servable(
        "tfserving-rest: unknown version",
        tf(GOOD_ROWS, "linear/versions/2"),
        "version_not_found",
        r"Servable not found for request: Specific\(linear, 2\)",
    ),
    Case(
        "tfserving-rest: unknown label",
        tf(GOOD_ROWS, "linear/labels/canary"),
        400,
        "invalid_argument",
        "Unrecognized servable version label: canary",
    ),
    Case(
        "tfserving-rest: unknown signature",
        tf({"signature_name": "other", **GOOD_ROWS}),
        400,
        "signature_not_found",
        'Serving signature name: "other" not found in signature def',
    ),
    malformed(
        "tfserving-rest: signature that is no string",
        tf({"signature_name": 1, **GOOD_ROWS}),
        "'signature_name' key must be a string value",
    ),
    malformed("tfserving-rest: no JSON", tf(b"instances"), "JSON Parse error: .* at offset: "),
    malformed("tfserving-rest: neither key", tf({}), "Missing 'inputs' or 'instances' key"),
    malformed(
        "tfserving-rest: both keys", tf({**GOOD_ROWS, "inputs": []}), "expecting only one of"
    ),
    invalid(
        "tfserving-rest: no instances", tf({"instances": []}), "No values in 'instances' array"
    ),
    invalid(
        "tfserving-rest: instances in an object",
        tf({"instances": {}}),
        "Expecting 'instances' to be an list",
    ),
    invalid(
        "tfserving-rest: a boolean among numbers",
        tf({"instances": [[1, 2, 3, True]]}),
        "JSON has booleans",
    ),
    invalid("tfserving-rest: rows of other lengths", tf({"instances": [[1], [1, 2]]}), "ragged"),
    invalid("tfserving-rest: row too short", tf({"instances": [[1, 2]]}), r"got \[1, 2\]"),
    invalid("tfserving-rest: row of strings", tf({"instances": [["a"] * 4]}), "JSON has strings"),
    invalid(
        "tfserving-rest: bare row for two inputs",
        tf({"instances": [[1, 2]]}, "pair"),
        "expecting list of objects .*: left,right",
    ),
    invalid(
        "tfserving-rest: rows of other names",
        tf({"instances": [{"left": [1, 2], "right": [1, 2]}, {"left": [1, 2]}]}, "pair"),
        "Failed to process element: 1 of 'instances' list.* must be equal to: left,right",
    ),
    invalid(
        "tfserving-rest: unknown input in a row",
        tf({"instances": [{"z": 1}]}),
        "keys 'z' must be equal to: x",
    ),
    invalid("tfserving-rest: empty row", tf({"instances": [{}]}), "keys none must be equal to: x"),
    invalid(
        "tfserving-rest: missing input in a row",
        tf({"instances": [{"left": [1, 2]}]}, "pair"),
        "keys 'left' must be equal to: left,right",
    ),
    invalid(
        "tfserving-rest: bare column for two inputs",
        tf({"inputs": [1, 2]}, "pair"),
        "expecting an object .*: left,right",
    ),
    invalid("tfserving-rest: unknown column", tf({"inputs": {"z": [1]}}), "Missing named input: x"),
    invalid(
        "tfserving-rest: columns of other rows",
        tf({"inputs": {"left": [[1, 2]], "right": [[1, 2], [3, 4]]}}, "pair"),
        "'right' has 2 rows",
    ),
    invalid(
        "tfserving-rest: broken base64",
        tf({"instances": [{"b64": "§"}]}, "words"),
        "broken base64",
    ),
    malformed(
        "tfserving-rest: unknown verb of a model",
        tf(GOOD_ROWS, call=":explain"),
        "Malformed request: POST /v1/models/linear:explain",
    ),
    malformed(
        "tfserving-rest: unknown path",
        http("/v1/nothing", method="GET"),
        "Malformed request: GET /v1/nothing",
    ),
    malformed(
        "tfserving-rest: no model",
        http("/v1/models", method="GET"),
        "Missing model name in request",
    ),
    malformed(
        "tfserving-rest: wrong verb",
        http("/v1/models/linear:predict", method="GET"),
        "Malformed request: GET /v1/models/linear:predict",
    ),
    *(
        malformed(f"tfserving-rest: {name}", tf(body, call=":classify"), message)
        for name, body, message in (
            ("no JSON to classify", b"[", "JSON Parse error"),
            ("no examples", {}, "key 'examples' is expected and was not found"),
            ("examples in an object", {"examples": {}}, "Expecting 'examples' value to be"),
            ("empty examples", {"examples": []}, "'examples' value is an empty array"),
            ("example that is no object", {"examples": [1]}, "Example must be JSON object"),
            ("context that is no object", {"examples": [{}], "context": 1}, "must be JSON object"),
        )
    ),
    *(
        invalid(f"tfserving-rest: {name}", tf({"examples": [features]}, call=":classify"), message)
        for name, features, message in (
            ("missing feature", {"z": 1}, "Feature: x .* is required but could not be found"),
            ("feature of lists", {"x": [[1], [2]]}, "Feature: x has element with unexpected JSON"),
            ("null feature", {"x": None}, "Feature: x has element with unexpected JSON type: null"),
            ("feature of strings", {"x": ["a"] * 4}, "the JSON has strings"),
            ("feature too long", {"x": [1] * 5}, r"Values size: 5 but output shape: \[4\]"),
        )
    ),
    Case(
        "tfserving-rest: unknown signature to classify",
        tf({"signature_name": "other", "examples": [{}]}, call=":classify"),
        400,
        "invalid_argument",
        "No signature was found with the name: other",
    ),
    invalid(
        "tfserving-rest: no classifier",
        tf({"examples": [{}]}, "small", call=":classify"),
        'at least one of "classes" or "scores"',
    ),
    invalid(
        "tfserving-rest: no regressor",
        tf({"examples": [{}]}, call=":regress"),
        r"either \[batch_size\] or \[batch_size, 1\] but got \[\?,4\]",
    ),
    Case(
        "tfserving-rest: metadata of an unknown model",
        http("/v1/models/nope/metadata", method="GET"),
        404,
        "model_not_found",
        r"Servable not found for request: Latest\(nope\)",
    ),
    malformed(
        "tfserving-rest: version of too many digits",
        http(f"/v1/models/linear/versions/{'9' * 30}", method="GET"),
        "Failed to convert version: 9+ to numeric.",
    ),
    Case(
        "tfserving-rest: status of an unknown label",
        http("/v1/models/linear/labels/canary", method="GET"),
        400,
        "invalid_argument",
        "Unrecognized servable version label: canary",
    ),
    Case(
        "tfserving-rest: preflight without an origin",
        http("/v1/models/linear:predict", method="OPTIONS"),
        400,
        "invalid_argument",
        "Origin header is missing in CORS preflight",
    ),
    servable(
        "tfserving-rest: status of an unknown model",
        http("/v1/models/nope", method="GET"),
        "model_not_found",
        "Could not find any versions of model nope",
    ),
    servable(
        "tfserving-rest: status of an unknown version",
        http("/v1/models/linear/versions/2", method="GET"),
        "version_not_found",
        "Could not find version 2 of model linear",
    ),
]
