"""Whether OpenTelemetry is there, and whom it trusts; the supervisor imports nothing of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from headrace.errors import BackendMissing

_LIBRARY = "opentelemetry.exporter.otlp.proto.http"


def check() -> None:
    """Check that spans can be sent, without importing anything large.

    Raises:
        BackendMissing: the libraries are not installed.
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


def is_disabled(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own switch is off: then nobody makes spans."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def authorities(environment: Mapping[str, str]) -> str:
    """The file of those whose certificates of collectors are good, as the libraries have it.

    Theirs is requests, which heeds these variables before it takes certifi's.
    """
    import certifi  # noqa: PLC0415 - comes with the extra

    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if environment.get(name):
            return environment[name]
    return certifi.where()
