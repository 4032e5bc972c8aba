"""What is to be known of OpenTelemetry before it is imported, which the supervisor never does.

Whether it is there, whom it trusts, and whether what its variables say can be done: its libraries,
and Envoy, would tell of them as of bugs, or only when spans are sent. Sources: OpenTelemetry's
"Environment Variable Specification" and "OTLP Exporter Configuration".
"""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from headrace.errors import BackendMissing, SettingsError

_LIBRARY = "opentelemetry.exporter.otlp.proto.http"
_QUEUE, _BATCH = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
# What the libraries take where they say nothing.
_SENDING = {"OTEL_BSP_SCHEDULE_DELAY": 5000, _QUEUE: 2048, _BATCH: 512}
_LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
)
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check(environment: Mapping[str, str], endpoint: str) -> None:
    """Check that spans can be sent there, without importing anything large.

    Raises:
        BackendMissing: the libraries are not installed.
        SettingsError: a variable says what cannot be done.
    """
    try:
        found = importlib.util.find_spec(_LIBRARY)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise BackendMissing(
            "server.otlp_endpoint is set, and OpenTelemetry is not installed: pip install "
            "'headrace[otel]'"
        )
    _check_numbers(environment)
    _check_headers(environment)
    if endpoint.startswith("https:"):
        _check_files(environment)


def is_disabled(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own switch is off: then nobody makes spans."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def authorities(environment: Mapping[str, str]) -> str:
    """The file of those whose certificates of collectors are good, as the libraries have it.

    Theirs is requests, which heeds these variables before it takes certifi's.
    """
    import certifi  # noqa: PLC0415 - comes with the extra

    for name in _BUNDLES:
        if environment.get(name):
            return environment[name]
    return certifi.where()


def said(environment: Mapping[str, str], what: str) -> str:
    """What a variable of OTLP exporters says: that for traces goes before that for everything."""
    return _said(environment, what)[1]


def headers(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Read ``name=value,name=value``, URL-encoded as W3C Baggage is; what is not so is left out."""
    for one in said(environment, "HEADERS").split(","):
        name, equals, value = one.partition("=")
        if equals and name.strip():
            yield unquote(name).strip().lower(), unquote(value).strip()


def _said(environment: Mapping[str, str], what: str) -> tuple[str, str]:
    """The name of that variable, too."""
    for kind in ("TRACES_", ""):
        name = f"OTEL_EXPORTER_OTLP_{kind}{what}"
        value = environment.get(name, "").strip()
        if value:
            return name, value
    return "", ""


def _check_numbers(environment: Mapping[str, str]) -> None:
    found = {name: _number(environment, name, least=1, usual=n) for name, n in _SENDING.items()}
    if found[_BATCH] > found[_QUEUE]:
        raise SettingsError(
            f"{_BATCH} is {found[_BATCH]}, and {_QUEUE} {found[_QUEUE]}: no batch can be larger "
            "than the queue; set the first to less, or the second to more"
        )
    for name in _LIMITS:
        _number(environment, name, least=0, usual=0)


def _number(environment: Mapping[str, str], name: str, *, least: int, usual: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise SettingsError(f"{name} is {text!r}, and should be a whole number from {least} on")
    return int(text)


def _check_headers(environment: Mapping[str, str]) -> None:
    variable = _said(environment, "HEADERS")[0]
    for name, value in headers(environment):
        if not _FIELD_NAME.fullmatch(name):
            raise SettingsError(f"{variable}: {name!r} is not the name of a header")
        if _CONTROL.search(value):  # which may be a secret, and is not told
            raise SettingsError(
                f"{variable}: what it says of {name} has a control character, as the end of a "
                "line, which no header may have"
            )


def _check_files(environment: Mapping[str, str]) -> None:
    trusted = [_said(environment, "CERTIFICATE")]
    if not trusted[0][1]:
        trusted = [(name, environment.get(name, "")) for name in _BUNDLES]
    certificate, key = (_said(environment, f"CLIENT_{what}") for what in ("CERTIFICATE", "KEY"))
    for name, path in [*trusted, certificate, key]:
        if path and not os.access(path, os.R_OK):
            raise SettingsError(f"{name} names {path}, which is not there or cannot be read")
    for name, path in trusted:
        if path and not Path(path).is_dir():  # which requests takes, too
            _check_trusted(name, path)
    if certificate[1]:
        _check_own(certificate, key)


def _check_trusted(name: str, path: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{name} names {path}, which cannot be read as certificates (PEM): {error}"
        ) from error


def _check_own(certificate: tuple[str, str], key: tuple[str, str]) -> None:
    """Whether the two belong together; where no key is named, it stands in the certificate's file.

    OpenSSL would ask for a password at the terminal; nobody is there when spans are sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(certificate[1], key[1] or None, password="")
    except (OSError, ValueError) as error:
        name, path = certificate
        where = f"{key[0]} names {key[1]}" if key[1] else "no _CLIENT_KEY is named"
        raise SettingsError(
            f"{name} names {path}, and {where}: these are no certificate (PEM) with its key, one "
            f"without a password: {error}"
        ) from error
