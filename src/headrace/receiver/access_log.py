"""The access log: one JSON line for every request, written by Envoy.

Source of the fields: Envoy's "Access logging", command operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.errors import StartError

FLUSH_S = 1.0
"""Lines are written at least so often; Envoy's own is 10 s."""

OPERATORS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS(SNAKE_STRING)%",
    "error": "%RESP(HEADRACE-ERROR)%",
    "error_trailer": "%TRAILER(HEADRACE-ERROR)%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",  # the other is what X-Forwarded-For says
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "traceparent": "%REQ(TRACEPARENT)%",
}
"""What Envoy writes for each of ``server_settings.ACCESS_LOG_FIELDS``."""

_TYPE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


def access_log(path: Path, fields: Sequence[str]) -> dict[str, Any]:
    """Envoy's configuration of it, with these fields; what a request has not is null.

    Raises:
        StartError: the file cannot be written.
    """
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise StartError(
            f"cannot write the access log {path}: {error.strerror}; change server.access_log"
        ) from error
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": _TYPE,
            "path": str(path),
            "log_format": {
                "json_format": {name: OPERATORS[name] for name in fields},
                "omit_empty_values": True,
            },
        },
    }
