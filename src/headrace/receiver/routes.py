"""Which front answers which path.

Paths with a model in them are matched once and remembered, so that a stream of equal paths costs
one look-up.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import headrace
from headrace.errors import (
    HeadraceError,
    MalformedRequest,
    MethodNotAllowed,
    RouteNotFound,
    VersionNotFound,
)
from headrace.observe.together import Topic
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.http import json_reply
from headrace.receiver.metadata import read_version
from headrace.receiver.oip.extras import Extras
from headrace.receiver.oip.generate_stream import GenerateStream
from headrace.receiver.oip.repository import OipRepository
from headrace.receiver.oip.rest import OipRest
from headrace.receiver.oip.triton_rest import TritonRest
from headrace.receiver.openapi.page import DocsPage
from headrace.receiver.plain.models import Models
from headrace.receiver.plain.predict import Predict
from headrace.receiver.plain.slowest import SlowestRequests
from headrace.receiver.tfserving.rest import TfServingRest
from headrace.server_settings import ServerSettings

Handler = Callable[[Exchange], Awaitable[Reply]]

_REMEMBERED = 4096
# A path may be longer, of a model that nobody has.
_LONGEST = 512
# What may stand in a template. Of what is in brackets, one of the choices may be there.
_GROUPS = {
    "{model}": "([^/:]+)",
    "{repository}": "([^/:]+)",
    "{label}": "([^/:]+)",
    "{region}": "([^/]+)",
    "{version}": "([0-9]+)",
}
_CHOICE = re.compile(r"\[(.*?)\]")
_VERSION = "[/versions/{version}]"
_EITHER = "[/versions/{version}|/labels/{label}]"


class Pattern(NamedTuple):
    """A path with a model in it: ``handler(exchange, name, version)``.

    With ``label`` it is one of TensorFlow Serving's: it may have a version's label instead, a text,
    a version must be a number, and the case of its letters does not matter.
    """

    method: str
    template: str
    handler: Callable[[Exchange, str, Any], Awaitable[Reply]]
    path: re.Pattern[str]
    label: bool = False

    @classmethod
    def of(
        cls,
        method: str,
        template: str,
        handler: Callable[[Exchange, str, Any], Awaitable[Reply]],
        *,
        label: bool = False,
    ) -> Pattern:
        """Compile a template: ``/predict/{model}[/versions/{version}]``."""
        text = _CHOICE.sub(r"(?:\1)?", template)
        for name, group in _GROUPS.items():
            text = text.replace(name, group)
        return cls(
            method, template, handler, re.compile(text, re.IGNORECASE if label else 0), label
        )

    def paths(self) -> list[str]:
        """Its paths, without what may be left out and with each choice of that."""
        found = _CHOICE.search(self.template)
        if found is None:
            return [self.template]
        return [_CHOICE.sub(choice, self.template) for choice in ("", *found[1].split("|"))]


class Routes:
    """The HTTP fronts behind their paths."""

    def __init__(self, core: Core, extras: Extras | None = None) -> None:
        extras = extras or Extras(ServerSettings())
        oip, tfserving, predict = OipRest(core, extras), TfServingRest(core), Predict(core)
        triton = TritonRest(core, extras)
        repository, models = OipRepository(core), Models(core)
        slowest = SlowestRequests(core)
        self._together = core.together
        self._exact: dict[tuple[str, str], Handler] = {
            ("GET", "/"): self._front_page,
            ("GET", "/livez"): oip.live,
            ("GET", "/readyz"): oip.ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/v2"): oip.server,
            ("GET", "/v2/"): oip.server,
            ("GET", "/v2/health/live"): oip.live,
            ("GET", "/v2/health/ready"): oip.ready,
            ("POST", "/v2/repository/index"): repository.index,
            ("GET", "/monitoring/prometheus/metrics"): tfserving.metrics,
            ("POST", "/predict"): predict.predict_default,
            ("GET", "/models"): models.index,
            ("GET", "/slowest"): slowest.index,
            **_triton_paths(triton),
        }
        v1, v2 = f"/v1/models/{{model}}{_EITHER}", f"/v2/models/{{model}}{_VERSION}"
        stored = "/v2/repository/models/{model}"
        self._patterns = (
            Pattern.of("POST", f"{v2}/infer", oip.infer),
            Pattern.of("GET", f"{v2}/ready", oip.model_ready),
            Pattern.of("GET", v2, oip.model),
            *_triton_patterns(triton, v2),
            Pattern.of("POST", f"{v2}/generate_stream", GenerateStream(core).generate),
            Pattern.of("POST", f"{stored}/load", repository.load),
            Pattern.of("POST", f"{stored}/unload", repository.unload),
            Pattern.of("POST", "/v2/repository/{repository}/index", repository.named),
            Pattern.of("POST", f"{v1}:predict", tfserving.predict, label=True),
            Pattern.of("POST", f"{v1}:classify", tfserving.classify, label=True),
            Pattern.of("POST", f"{v1}:regress", tfserving.regress, label=True),
            Pattern.of("GET", v1, tfserving.status, label=True),
            Pattern.of("GET", f"{v1}/metadata", tfserving.metadata, label=True),
            Pattern.of("POST", f"/predict/{{model}}{_VERSION}", predict.predict),
            Pattern.of("PATCH", "/models/{model}/labels", models.label),
            Pattern.of("GET", f"/models/{{model}}{_VERSION}/profile", models.profile),
            Pattern.of("GET", f"/models/{{model}}{_VERSION}/slowest", slowest.of_model),
        )
        self._options = tfserving.options
        documented = [*self.listing(), ("GET", "/docs"), ("GET", "/openapi.json")]
        docs = DocsPage(core.catalog, documented)
        self._exact |= {("GET", "/docs"): docs.page, ("GET", "/openapi.json"): docs.openapi}
        self._seen: dict[tuple[str, str], Handler] = {}

    def listing(self) -> list[tuple[str, str]]:
        """Every method and path, with ``{model}``, ``{version}`` and ``{label}`` in it."""
        patterns = [(one.method, path) for one in self._patterns for path in one.paths()]
        return [*self._exact, *patterns]

    def find(self, method: str, path: str) -> Handler:
        """Return what answers this request; ``path`` is percent-decoded.

        Raises:
            RouteNotFound: nothing answers this path.
            MethodNotAllowed: something does, with another method.
            MalformedRequest: a ``/v1`` path that TensorFlow Serving would not know either.
            VersionNotFound: a version of more digits than a number has.
        """
        key = (method, path)
        handler = self._exact.get(key) or self._seen.get(key)
        if handler is None:
            handler = self._match(method, path)
            if len(self._seen) < _REMEMBERED and len(path) <= _LONGEST:
                self._seen[key] = handler
        return handler

    def _match(self, method: str, path: str) -> Handler:
        if method == "OPTIONS" and _is_tfserving(path):
            return self._options
        allowed = {verb for verb, known in self._exact if known == path}
        for pattern in self._patterns:
            if found := pattern.path.fullmatch(path):
                if pattern.method == method:
                    return _bind(pattern, *found.groups())
                allowed.add(pattern.method)
        raise _refuse(method, path, allowed)

    async def _metrics(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        page = await self._together(Topic.METRICS)
        return Reply(200, page.encode(), (kind,))

    async def _front_page(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        return json_reply(
            {
                "name": "headrace",
                "version": headrace.__version__,
                "open_inference_protocol": "/v2",
                "tensorflow_serving": "/v1/models/<model>:predict",
                "plain": "/predict/<model>",
                "models": "/models",
                "slowest": "/slowest",
                "docs": "/docs",
                "openapi": "/openapi.json",
                "ready": "/readyz",
                "metrics": "/metrics",
            }
        )


def _triton_paths(triton: TritonRest) -> dict[tuple[str, str], Handler]:
    return {
        ("GET", "/v2/models/stats"): triton.all_stats,
        ("GET", "/v2/systemsharedmemory/status"): triton.system_status,
        ("POST", "/v2/systemsharedmemory/unregister"): triton.system_unregister,
        ("GET", "/v2/cudasharedmemory/status"): triton.cuda_status,
        ("POST", "/v2/cudasharedmemory/unregister"): triton.cuda_unregister,
        ("GET", "/v2/trace/setting"): triton.read_trace,
        ("POST", "/v2/trace/setting"): triton.change_trace,
        ("GET", "/v2/logging"): triton.read_logging,
        ("POST", "/v2/logging"): triton.change_logging,
    }


def _triton_patterns(triton: TritonRest, model: str) -> list[Pattern]:
    region = "sharedmemory/region/{region}"
    rows: list[tuple[str, str, Callable[..., Awaitable[Reply]]]] = [
        ("POST", f"{model}/generate", triton.generate),
        ("GET", f"{model}/config", triton.config),
        ("GET", f"{model}/stats", triton.stats),
        ("GET", f"{model}/trace/setting", triton.read_trace),
        ("POST", f"{model}/trace/setting", triton.change_trace),
        ("GET", f"/v2/system{region}/status", triton.system_status),
        ("POST", f"/v2/system{region}/register", triton.system_register),
        ("POST", f"/v2/system{region}/unregister", triton.system_unregister),
        ("GET", f"/v2/cuda{region}/status", triton.cuda_status),
        ("POST", f"/v2/cuda{region}/register", triton.cuda_register),
        ("POST", f"/v2/cuda{region}/unregister", triton.cuda_unregister),
    ]
    return [Pattern.of(verb, path, handler) for verb, path, handler in rows]


def _bind(
    pattern: Pattern, name: str, version: str | None = None, label: str | None = None
) -> Handler:
    handler = pattern.handler
    which = _version(pattern, version or "") if label is None else label

    def answer(exchange: Exchange) -> Awaitable[Reply]:
        return handler(exchange, name, which)

    return answer


def _version(pattern: Pattern, text: str) -> int | None:
    try:
        return read_version(text)
    except VersionNotFound as error:
        if not pattern.label:
            raise
        raise MalformedRequest(f"Failed to convert version: {text} to numeric.") from error


def _is_tfserving(path: str) -> bool:
    return path[:4].lower() == "/v1/"


def _refuse(method: str, path: str, allowed: set[str]) -> HeadraceError:
    if path.rstrip("/").lower() == "/v1/models" and method == "GET":
        return MalformedRequest("Missing model name in request.")
    if _is_tfserving(path):
        return MalformedRequest(f"Malformed request: {method} {path}")
    if allowed:
        verbs = tuple(sorted(allowed))
        return MethodNotAllowed(f"{path} takes {' or '.join(verbs)}, not {method}", allowed=verbs)
    return RouteNotFound(f"nothing answers {method} {path}; GET / lists what there is")
