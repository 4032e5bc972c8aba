"""Ask a running server for its models, and order it to load, unload and label them.

With the standard library alone, so that the base install can.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from headrace.codes import of_status, rebuild
from headrace.errors import (
    ConnectionFailed,
    ConnectionLost,
    HeadraceError,
    MalformedAnswer,
    RouteNotFound,
    SettingsError,
)

DEFAULT_URL = "http://127.0.0.1:8000"

# What is only looked up is answered at once, or something is wrong; a load may take its time.
_TIMEOUT_S = 10.0
_LOAD_TIMEOUT_S = 3600.0
# Of an inference that a person waits for; a model that is on demand may be loaded first.
_PREDICT_TIMEOUT_S = 120.0
_OK = 200
_NUMBER = (int, float)
_Needed = Mapping[str, type | tuple[type, ...]]
# What is read of a version, whatever state it is in, and of a request.
_VERSION: _Needed = {
    "name": str,
    "version": int,
    "state": str,
    "reason": str,
    "since_unix_s": _NUMBER,
    "labels": list,
}
_REQUEST: _Needed = {
    "model": str,
    "version": int,
    "id": str,
    "outcome": str,
    "ended_unix_s": _NUMBER,
    "total_s": _NUMBER,
    "phases_s": dict,
    "batch_rows": int,
}
# Nothing there has such a path, or does what is asked.
_NOT_THERE = frozenset({404, 405, 501})
_FROM_SERVERS = 500
# What of a path is sent as it is written.
_IN_PATHS = "/%:@!$&'()*+,;=~"


class Predicted(NamedTuple):
    """An answer of ``/predict``, and where its time went: the value of ``Server-Timing``."""

    document: Any
    timing: str


class ServerModels:
    """The models of one server.

    Every method raises a ``HeadraceError``: the server's own, that it cannot be reached, or that
    what answers is none of ours.

    Raises:
        SettingsError: the address is none.
    """

    def __init__(self, url: str, timeout_s: float = _TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._secure, self._host, self._port, self._base = _parts(url)

    def index(self) -> list[dict[str, Any]]:
        """Every version, as ``GET /models`` has it."""
        return self._list("/models", "models", _VERSION)

    def slowest(self, name: str | None = None, version: int | None = None) -> list[dict[str, Any]]:
        """The requests of the last minutes that took longest: of all, a model, or a version."""
        part = "" if version is None else f"/versions/{version}"
        path = "" if name is None else f"/models/{quote(name, safe='')}{part}"
        return self._list(f"{path}/slowest", "requests", _REQUEST)

    def described(self) -> list[dict[str, Any]]:
        """What the models that serve take and give, as the page at ``/docs`` is made of."""
        return self._list("/openapi.json", "x-headrace-models", {})

    def metrics(self) -> str:
        """The page for Prometheus."""
        _, said = self._send("GET", "/metrics", None, self._timeout_s)
        return said.decode("utf-8", "replace")

    def predict(self, name: str, version: int, body: Mapping[str, Any]) -> Predicted:
        """Have a version answer a plain request."""
        path = f"/predict/{quote(name, safe='')}/versions/{version}"
        answer, said = self._send("POST", path, body, _PREDICT_TIMEOUT_S, {"headrace-timing": "1"})
        return Predicted(_parsed(said, self._url), answer.getheader("server-timing") or "")

    def _list(self, path: str, key: str, needed: _Needed) -> list[dict[str, Any]]:
        try:
            found = self._ask("GET", path, None, self._timeout_s)
        except RouteNotFound as error:
            raise MalformedAnswer(f"{self._url} is no Headrace server, or an old one") from error
        if not _has(found, {key: list}) or not all(_has(one, needed) for one in found[key]):
            raise self._foreign()
        return list(found[key])

    def profile(self, name: str, version: int | None = None) -> dict[str, Any]:
        """What warm-up measured of a version, or of the newest that serves."""
        part = "" if version is None else f"/versions/{version}"
        path = f"/models/{quote(name, safe='')}{part}/profile"
        try:
            found = self._ask("GET", path, None, self._timeout_s)
        except RouteNotFound as error:
            raise MalformedAnswer(
                f"{self._url} does not tell its profiles: it is no Headrace server, or an old one"
            ) from error
        if not isinstance(found, dict):
            raise self._foreign()
        return found

    def load(self, name: str) -> None:
        """Load a model, or look again where it lies; returns when it serves."""
        path = f"/v2/repository/models/{quote(name, safe='')}/load"
        self._ask("POST", path, {}, _LOAD_TIMEOUT_S)

    def unload(self, name: str) -> None:
        """Unload every version of a model; returns when what it had is answered."""
        path = f"/v2/repository/models/{quote(name, safe='')}/unload"
        self._ask("POST", path, {}, _LOAD_TIMEOUT_S)

    def label(self, name: str, versions: Mapping[str, int | None]) -> dict[str, int]:
        """Move labels, all or none; with None one is removed. Returns all that it has then.

        A load of the model that goes on is waited for.
        """
        path = f"/models/{quote(name, safe='')}/labels"
        found = self._ask("PATCH", path, versions, _LOAD_TIMEOUT_S)
        if not _has(found, {"labels": dict}):
            raise self._foreign()
        return dict(found["labels"])

    def _foreign(self) -> MalformedAnswer:
        return MalformedAnswer(f"{self._url} does not answer as a Headrace server does")

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> Any:
        _, said = self._send(method, path, body, timeout_s)
        return _parsed(said, self._url) if said else None

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=timeout_s)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise ConnectionFailed(
                f"the certificate of {self._url} is not trusted: {error.verify_message}; "
                "SSL_CERT_FILE may name a file of others that are"
            ) from error
        except ssl.SSLError as error:
            raise ConnectionFailed(
                f"{self._url} does not speak TLS as it should: {error.reason or error}; of a "
                "server without TLS the address begins with http://"
            ) from error
        except OSError as error:
            raise ConnectionFailed(
                f"nobody answers at {self._url}: {error.strerror or error}; is the server running "
                "(headrace serve), and is this its address?"
            ) from error
        try:
            text = None if body is None else json.dumps(body)
            kinds = {} if body is None else {"content-type": "application/json"}
            connection.request(method, self._base + path, text, {**kinds, **(headers or {})})
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionLost(f"{self._url} did not answer: {error or 'it hung up'}") from error
        finally:
            connection.close()
        if answer.status != _OK:
            raise _refusal(answer.status, answer.getheader("headrace-error"), said, self._url)
        return answer, said


def _parts(url: str) -> tuple[bool, str, int, str]:
    """Whether it is HTTPS, the host, the port, and the path before ours."""
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
        host.encode("idna")  # as it is looked up
    except ValueError as error:
        raise SettingsError(f"{url}: is no address: {error}") from error
    if parts.scheme not in {"http", "https"} or not host or " " in host or not host.isprintable():
        raise SettingsError(f"{url}: an address should be as {DEFAULT_URL}")
    path = quote(parts.path.rstrip("/"), safe=_IN_PATHS, errors="surrogateescape")
    secure = parts.scheme == "https"
    if port is None:  # http.client would look for one in the host, and IPv6 has colons
        port = http.client.HTTPS_PORT if secure else http.client.HTTP_PORT
    return secure, host, port, path


def _refusal(status: int, code: str | None, said: bytes, url: str) -> HeadraceError:
    """The server's own error, or, without a code, what a proxy or another server means by it."""
    reason = _reason(said)
    if code is None and status in _NOT_THERE:
        why = reason or f"it answered with HTTP status {status}"
        return MalformedAnswer(f"{url} is no Headrace server, or an old one: {why}")
    if reason is None:
        hint = "" if status >= _FROM_SERVERS else ": is it a Headrace server?"
        reason = f"{url} answered with HTTP status {status}{hint}"
    return rebuild(code or "", reason, of_status(status))


def _reason(said: bytes) -> str | None:
    """What an answer says is wrong; None: nothing, as servers of ours would."""
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _has(said: Any, needed: _Needed) -> bool:
    """Whether it has what is read of it: whatever listens at that address may have answered."""
    return isinstance(said, dict) and all(
        isinstance(said.get(key), kind) for key, kind in needed.items()
    )


def _parsed(said: bytes, url: str) -> Any:
    try:
        return json.loads(said)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswer(
            f"{url} does not answer with JSON: is it a Headrace server?"
        ) from error
