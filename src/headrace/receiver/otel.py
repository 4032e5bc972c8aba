"""Whether OpenTelemetry is there; for the supervisor, which imports nothing of it."""

from __future__ import annotations

import importlib.util

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
