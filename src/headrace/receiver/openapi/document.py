"""The OpenAPI 3.1 document: every path that is answered, for every model that serves now.

A pure function of the paths and the models. Paths that have no description here are in it too, with
less to say about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import headrace
from headrace.receiver.catalog import ServedModel
from headrace.receiver.openapi import lives, schemas

Route = tuple[str, str]
"""Method and path, with ``{model}``, ``{version}`` and ``{label}`` in it."""

Operation = dict[str, Any]
_VERSION = "/versions/{version}"
_JSON = "application/json"
_STATUSES: dict[str, str] = {
    "400": "The request cannot be read, or does not fit the model.",
    "403": "A setting does not allow it; the message names the setting.",
    "404": "There is no such model, version or path.",
    "413": "The body, or a file in it, is over a limit.",
    "415": "A content encoding or a kind of file that is not taken.",
    "429": "Refused at once: the model is too busy to answer in time.",
    "500": "The model could not run this, or a bug of the server.",
    "501": "This server does not do that, or a setting has it off.",
    "503": "The model is loading, has failed, or the server is shutting down.",
    "504": "The deadline passed, or would have, while the request waited.",
}
_ASKED = ("400", "404", "500", "503")
_RUN = ("400", "404", "413", "415", "429", "500", "503", "504")
_ORDERED = (*_RUN, "403", "501")


class Described(NamedTuple):
    """What is known of a path: its group, a sentence, what is answered, and what it takes."""

    group: str
    summary: str
    answer: Mapping[str, Any] | None
    kind: str = _JSON
    body: Mapping[str, Any] | None = None
    also: Mapping[str, Any] = {}  # other statuses than 200 that are no errors


_FLAG: dict[str, Any] = {"type": "boolean"}
_ANY: dict[str, Any] = {"type": "object"}
_NOTHING: dict[str, Any] = {}  # an answer without a body
_LIST: dict[str, Any] = {"type": "array", "items": _ANY}
_READY = {"type": "object", "properties": {"ready": _FLAG}, "required": ["ready"]}
_LIVE = {"type": "object", "properties": {"live": _FLAG}, "required": ["live"]}
_TEXT: dict[str, Any] = {"type": "string"}
_SELF, _OIP, _TFS, _PLAIN = "server", "Open Inference Protocol", "TensorFlow Serving", "plain"


def _described_tfserving() -> dict[Route, Described]:
    metrics = Described(_TFS, "TensorFlow Serving's metrics.", _TEXT, "text/plain")
    found = {("GET", "/monitoring/prometheus/metrics"): metrics}
    for path in ("/v1/models/{model}", "/v1/models/{model}/labels/{label}"):
        found |= {
            ("GET", f"{path}/metadata"): Described(_TFS, "The signature.", _ANY),
            ("POST", f"{path}:classify"): Described(_TFS, "Labels and scores of examples.", _ANY),
            ("POST", f"{path}:regress"): Described(_TFS, "A value for each example.", _ANY),
        }
    found["POST", "/v1/models/{model}/labels/{label}:predict"] = Described(
        _TFS, "One inference of the version a label stands for.", _ANY
    )
    return found


def _described_triton() -> dict[Route, Described]:
    model, system, cuda = "/v2/models/{model}", "/v2/systemsharedmemory", "/v2/cudasharedmemory"
    region = "/region/{region}"
    events = "text/event-stream"
    rows: list[tuple[str, str, str, dict[str, Any] | None, str]] = [
        ("POST", f"{model}/generate", "One inference, keys as inputs.", _ANY, _JSON),
        ("POST", f"{model}/generate_stream", "The same as one event.", _TEXT, events),
        ("GET", f"{model}/config", "The configuration.", _ANY, _JSON),
        ("GET", f"{model}/stats", "Counts and times.", _ANY, _JSON),
        ("GET", "/v2/models/stats", "Counts and times of all models.", _ANY, _JSON),
        ("GET", f"{model}/trace/setting", "The trace settings.", _ANY, _JSON),
        ("POST", f"{model}/trace/setting", "Change the trace settings.", _ANY, _JSON),
        ("GET", "/v2/trace/setting", "The trace settings of all models.", _ANY, _JSON),
        ("POST", "/v2/trace/setting", "Change those of all models.", _ANY, _JSON),
        ("GET", "/v2/logging", "What the receiver logs.", _ANY, _JSON),
        ("POST", "/v2/logging", "Change what the receiver logs.", _ANY, _JSON),
        ("POST", "/v2/repository/index", "Every version and its state.", _LIST, _JSON),
        ("POST", "/v2/repository/{repository}/index", "400: there is one repository.", None, _JSON),
        ("POST", "/v2/repository/models/{model}/load", "Load a model, or again.", _NOTHING, _JSON),
        ("POST", "/v2/repository/models/{model}/unload", "Unload a model.", _NOTHING, _JSON),
        *(
            (verb, f"{kind}{where}/{end}", what, answer, _JSON)
            for kind in (system, cuda)
            for verb, where, end, what, answer in (
                ("GET", "", "status", "The registered regions.", _LIST),
                ("GET", region, "status", "A registered region.", _LIST),
                ("POST", region, "register", "Register a region.", _NOTHING),
                ("POST", "", "unregister", "Let go of all regions.", _NOTHING),
                ("POST", region, "unregister", "Let go of a region.", _NOTHING),
            )
        ),
    ]
    return {
        (verb, path): Described(_OIP, what, answer, kind) for verb, path, what, answer, kind in rows
    }


_DESCRIBED: dict[Route, Described] = {
    ("GET", "/"): Described(_SELF, "What there is.", _ANY),
    ("GET", "/livez"): Described(_SELF, "It answers.", _LIVE),
    ("GET", "/readyz"): Described(_SELF, "Whether all models serve.", _READY, also={"503": _READY}),
    ("GET", "/metrics"): Described(_SELF, "Metrics for Prometheus.", _TEXT, "text/plain"),
    ("GET", "/models"): Described(_SELF, "Every version, its state, its costs.", lives.LIVES),
    ("PATCH", "/models/{model}/labels"): Described(
        _SELF, "Move labels of a model.", lives.LABELS, body=lives.MOVED_LABELS
    ),
    ("GET", "/models/{model}/profile"): Described(_SELF, "What warm-up measured.", lives.PROFILE),
    ("GET", "/slowest"): Described(_SELF, "The slowest requests lately.", lives.SLOWEST),
    ("GET", "/models/{model}/slowest"): Described(
        _SELF, "Its slowest requests lately.", lives.SLOWEST
    ),
    ("GET", "/openapi.json"): Described(_SELF, "This document.", _ANY),
    ("GET", "/docs"): Described(_SELF, "The same for people.", _TEXT, "text/html"),
    ("POST", "/predict"): Described(_PLAIN, "The default model; there is none now.", None),
    ("GET", "/v1/models/{model}/labels/{label}"): Described(_TFS, "The state of a label.", _ANY),
    ("GET", "/v2"): Described(_OIP, "Name, version and extensions.", _ANY),
    ("GET", "/v2/"): Described(_OIP, "Name, version and extensions.", _ANY),
    ("GET", "/v2/health/live"): Described(_OIP, "It answers.", _LIVE),
    ("GET", "/v2/health/ready"): Described(
        _OIP, "Whether all models serve.", _READY, also={"503": _READY}
    ),
    ("GET", "/v2/models/{model}"): Described(_OIP, "Inputs, outputs and versions.", _ANY),
    ("GET", "/v2/models/{model}/ready"): Described(
        _OIP, "Whether the model serves.", _READY, also={"503": _READY}
    ),
    ("GET", "/v1/models/{model}"): Described(_TFS, "The states of the versions.", _ANY),
    **_described_tfserving(),
    **_described_triton(),
}


def document(
    routes: Sequence[Route], models: Sequence[ServedModel], default: ServedModel | None
) -> dict[str, Any]:
    """Write the document. Without a version in its path, a model is its newest."""
    newest = _newest(models)
    paths: dict[str, dict[str, Any]] = {}
    for method, template in routes:
        for path, served in _filled(template, models, newest, default):
            operation = _operation((method, template), served)
            paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": headrace.__version__,
            "description": "Every path of this server and every model that serves now.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": {"Error": _error()}, "responses": _refusals()},
        "x-headrace-models": [_model(served) for served in newest.values()],
    }


def _newest(models: Sequence[ServedModel]) -> dict[str, ServedModel]:
    found: dict[str, ServedModel] = {}
    for served in sorted(models, key=lambda one: (one.name, one.version)):
        found[served.name] = served
    return found


def _filled(
    template: str,
    models: Sequence[ServedModel],
    newest: Mapping[str, ServedModel],
    default: ServedModel | None,
) -> Iterator[tuple[str, ServedModel | None]]:
    """The paths that a template stands for, each with its model."""
    if "{model}" not in template:
        yield template, default
        return
    for served in models if "{version}" in template else newest.values():
        path = template.replace("{model}", served.name)
        yield path.replace("{version}", str(served.version)), served


def _operation(route: Route, served: ServedModel | None) -> Operation:
    method, template = route
    plain = template.replace(_VERSION, "")
    about: Operation = {"x-headrace-route": template}
    if served is not None and "{model}" in template:
        about["x-headrace-model"] = served.name
    named = [name for name in ("label", "region", "repository") if f"{{{name}}}" in template]
    if named:
        about["parameters"] = [_parameter(name, "path", _TEXT) for name in named]
    inference = _INFERENCES.get((method, plain))
    if inference is not None and served is not None:
        return about | inference(served)
    described = _DESCRIBED.get((method, plain))
    if described is None:
        statuses = _ASKED if method == "GET" else _ORDERED
        return about | {
            "tags": ["other"],
            "responses": {"200": {"description": "Answered."}} | _errors(statuses),
        }
    responses: dict[str, Any] = _errors(_ASKED if method == "GET" else _ORDERED)
    if described.answer == _NOTHING:
        responses["200"] = {"description": "Done."}
    elif described.answer is not None:
        responses["200"] = _answer(described.answer, described.kind)
    for status, schema in described.also.items():
        responses[status] = _answer({"anyOf": [schema, _reference("schemas")]}, described.kind)
    if described.body is not None:
        about["requestBody"] = {"required": True, "content": {_JSON: {"schema": described.body}}}
    return about | {
        "tags": [described.group],
        "summary": described.summary,
        "responses": responses,
    }


def _plain(served: ServedModel) -> Operation:
    content: dict[str, Any] = {_JSON: {"schema": schemas.plain_request(served)}}
    given = schemas.example(served)
    if given is not None:
        content[_JSON]["example"] = given
    inputs = {spec.name for spec in served.signature.inputs}
    kinds = [medium.kind for medium in served.media]
    for medium in served.media:
        if inputs <= set(medium.feeds) and kinds.count(medium.kind) == 1:
            kind = {"text": "text/plain"}.get(medium.kind, f"{medium.kind}/*")
            content[kind] = {"schema": {}}
    if served.media:
        content["multipart/form-data"] = schemas.form(served)
    return _inference(_PLAIN, "One inference.", content, schemas.plain_answer(served))


def _tfserving(served: ServedModel) -> Operation:
    content = {_JSON: {"schema": schemas.tfserving_request(served)}}
    return _inference(_TFS, "One inference.", content, schemas.tfserving_answer(served))


def _oip(served: ServedModel) -> Operation:
    content: dict[str, Any] = {_JSON: {"schema": schemas.oip_request(served)}}
    content["application/octet-stream"] = {"schema": {}}
    operation = _inference(_OIP, "One inference.", content, schemas.oip_answer())
    length: dict[str, Any] = {"type": "integer", "minimum": 0}
    operation["parameters"] += [_parameter("Inference-Header-Content-Length", "header", length)]
    operation["responses"]["200"]["content"]["application/octet-stream"] = {"schema": {}}
    return operation


_INFERENCES: dict[Route, Callable[[ServedModel], Operation]] = {
    ("POST", "/predict/{model}"): _plain,
    ("POST", "/predict"): _plain,
    ("POST", "/v1/models/{model}:predict"): _tfserving,
    ("POST", "/v2/models/{model}/infer"): _oip,
}


def _inference(
    group: str, summary: str, content: Mapping[str, Any], answer: Mapping[str, Any]
) -> Operation:
    timeout: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0}
    return {
        "tags": [group],
        "summary": summary,
        "parameters": [_parameter("headrace-timeout-ms", "header", timeout)],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _answer(answer, _JSON), **_errors(_RUN)},
    }


def _parameter(name: str, where: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _answer(schema: Mapping[str, Any] | None, kind: str) -> dict[str, Any]:
    return {"description": "Answered.", "content": {kind: {"schema": schema}}}


def _errors(statuses: Sequence[str]) -> dict[str, Any]:
    return {status: _reference("responses", f"Error{status}") for status in statuses}


def _reference(group: str, name: str = "Error") -> dict[str, str]:
    return {"$ref": f"#/components/{group}/{name}"}


def _error() -> dict[str, Any]:
    message = {"type": "string", "description": "What is wrong, and what to change."}
    return {"type": "object", "properties": {"error": message}, "required": ["error"]}


def _refusals() -> dict[str, Any]:
    code = {"description": "The stable code of the error.", "schema": _TEXT}
    later = {"description": "When to come again, in seconds.", "schema": {"type": "integer"}}
    return {
        f"Error{status}": {
            "description": meaning,
            "headers": {"headrace-error": code, "retry-after": later},
            "content": {_JSON: {"schema": _reference("schemas")}},
        }
        for status, meaning in _STATUSES.items()
    }


def _model(served: ServedModel) -> dict[str, Any]:
    """What the page needs to know of a model."""
    return {
        "name": served.name,
        "version": served.version,
        "backend": f"{served.profile.backend} {served.profile.precision}",
        "inputs": [_tensor(spec) for spec in served.signature.inputs],
        "outputs": [_tensor(spec) for spec in served.signature.outputs],
        "classes": [one.output for one in served.settings.results if one.apply == "top_k"],
        "files": [
            {"name": medium.name, "kind": medium.kind, "feeds": list(medium.feeds)}
            for medium in served.media
        ],
        "example": schemas.example(served, beside_files=True),
    }


def _tensor(spec: Any) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.wire_shape)}
