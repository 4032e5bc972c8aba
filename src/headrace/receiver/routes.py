"""Which front answers which path.

Paths with a model in them are matched once and remembered, so that a stream of equal paths costs
one look-up.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import headrace
from headrace.errors import HeadraceError, MalformedRequest, MethodNotAllowed, RouteNotFound
from headrace.receiver.docs_page import DocsPage
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.http import json_reply
from headrace.receiver.metadata import read_version
from headrace.receiver.oip_rest import OipRest
from headrace.receiver.predict import Predict
from headrace.receiver.tfserving_rest import TfServingRest

Handler = Callable[[Exchange], Awaitable[Reply]]

_REMEMBERED = 4096
_NAME, _NUMBER = r"([^/:]+)", r"([0-9]+)"
_VERSION = rf"(?:/versions/{_NUMBER})?"


class Pattern(NamedTuple):
    """A path with a model in it: ``handler(exchange, name, version or label)``."""

    method: str
    path: re.Pattern[str]
    handler: Callable[[Exchange, str, Any], Awaitable[Reply]]
    label: bool = False


class Routes:
    """The HTTP fronts behind their paths."""

    def __init__(self, core: Core, metrics_page: Callable[[], bytes]) -> None:
        oip, tfserving, predict = OipRest(core), TfServingRest(core), Predict(core)
        self._metrics_page = metrics_page
        self._exact: dict[tuple[str, str], Handler] = {
            ("GET", "/"): self._front_page,
            ("GET", "/livez"): oip.live,
            ("GET", "/readyz"): oip.ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/v2"): oip.server,
            ("GET", "/v2/"): oip.server,
            ("GET", "/v2/health/live"): oip.live,
            ("GET", "/v2/health/ready"): oip.ready,
            ("POST", "/predict"): predict.predict_default,
        }
        v1 = rf"(?i:/v1/models/{_NAME}"
        self._patterns = (
            Pattern("POST", re.compile(rf"/v2/models/{_NAME}{_VERSION}/infer"), oip.infer),
            Pattern("GET", re.compile(rf"/v2/models/{_NAME}{_VERSION}/ready"), oip.model_ready),
            Pattern("GET", re.compile(rf"/v2/models/{_NAME}{_VERSION}"), oip.model),
            Pattern("POST", re.compile(rf"{v1}{_VERSION}:predict)"), tfserving.predict),
            Pattern("GET", re.compile(rf"{v1}{_VERSION})"), tfserving.status),
            Pattern(
                "POST", re.compile(rf"{v1}/labels/{_NAME}:predict)"), tfserving.label, label=True
            ),
            Pattern("GET", re.compile(rf"{v1}/labels/{_NAME})"), tfserving.label, label=True),
            Pattern("POST", re.compile(rf"/predict/{_NAME}{_VERSION}"), predict.predict),
        )
        documented = [*self.listing(), ("GET", "/docs"), ("GET", "/openapi.json")]
        docs = DocsPage(core.catalog, documented)
        self._exact |= {("GET", "/docs"): docs.page, ("GET", "/openapi.json"): docs.openapi}
        self._seen: dict[tuple[str, str], Handler] = {}

    def listing(self) -> list[tuple[str, str]]:
        """Every method and path, with ``{model}``, ``{version}`` and ``{label}`` in it."""
        patterns = [(one.method, path) for one in self._patterns for path in _templates(one)]
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
            if len(self._seen) < _REMEMBERED:
                self._seen[key] = handler
        return handler

    def _match(self, method: str, path: str) -> Handler:
        allowed = {verb for verb, known in self._exact if known == path}
        for pattern in self._patterns:
            if found := pattern.path.fullmatch(path):
                if pattern.method == method:
                    return _bind(pattern, found[1], found[2])
                allowed.add(pattern.method)
        raise _refuse(method, path, allowed)

    async def _metrics(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        return Reply(200, self._metrics_page(), (kind,))

    async def _front_page(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        return json_reply(
            {
                "name": "headrace",
                "version": headrace.__version__,
                "open_inference_protocol": "/v2",
                "tensorflow_serving": "/v1/models/<model>:predict",
                "plain": "/predict/<model>",
                "docs": "/docs",
                "openapi": "/openapi.json",
                "ready": "/readyz",
                "metrics": "/metrics",
            }
        )


def _templates(pattern: Pattern) -> list[str]:
    """The paths that a pattern stands for, with names where it has groups."""
    path = pattern.path.pattern.replace(_NAME, "{model}", 1).replace(_NAME, "{label}")
    return _spelled_out(path.replace(_NUMBER, "{version}").replace("\\", ""))


def _spelled_out(path: str) -> list[str]:
    """Write a path once for each choice its first group leaves, then the same of the rest."""
    start = path.find("(")
    if start < 0:
        return [path]
    end, depth = start, 0
    for end in range(start, len(path)):
        depth += {"(": 1, ")": -1}.get(path[end], 0)
        if not depth:
            break
    inside, rest = re.sub(r"^\?i?:", "", path[start + 1 : end]), path[end + 1 :]
    choices = [inside] if "(" in inside else inside.split("|")
    if rest.startswith("?"):
        choices, rest = ["", *choices], rest[1:]
    return [found for one in choices for found in _spelled_out(path[:start] + one + rest)]


def _bind(pattern: Pattern, name: str, more: str | None) -> Handler:
    handler = pattern.handler
    second = more if pattern.label else read_version(more or "")

    def answer(exchange: Exchange) -> Awaitable[Reply]:
        return handler(exchange, name, second)

    return answer


def _refuse(method: str, path: str, allowed: set[str]) -> HeadraceError:
    if allowed:
        verbs = tuple(sorted(allowed))
        return MethodNotAllowed(f"{path} takes {' or '.join(verbs)}, not {method}", allowed=verbs)
    if path.rstrip("/") == "/v1/models" and method == "GET":
        return MalformedRequest("Missing model name in request.")
    if path.startswith("/v1/"):
        return MalformedRequest(f"Malformed request: {method} {path}")
    return RouteNotFound(f"nothing answers {method} {path}; GET / lists what there is")
