"""The access log: one JSON line for every request, written by Envoy.

Source of the fields: Envoy's "Access logging", command operators.
"""

from __future__ import annotations

import errno
import os
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

_LOGGERS = "type.googleapis.com/envoy.extensions.access_loggers"
# Through the descriptors that all our processes have: opened by its path, a plain file would be
# written at two offsets, each over the other, and a socket cannot be opened.
_STREAMS = {"/dev/stderr": "StderrAccessLog", "/dev/stdout": "StdoutAccessLog"}


def access_log(path: Path, fields: Sequence[str]) -> dict[str, Any]:
    """Envoy's configuration of it, with these fields; what a request has not is null.

    Raises:
        StartError: the file cannot be written.
    """
    written = {
        "json_format": {name: OPERATORS[name] for name in fields},
        "omit_empty_values": True,
    }
    stream = _STREAMS.get(str(path))
    if stream is not None:
        return {
            "name": "envoy.access_loggers.stream",
            "typed_config": {"@type": f"{_LOGGERS}.stream.v3.{stream}", "log_format": written},
        }
    _check(path)
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_LOGGERS}.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": written,
        },
    }


def _check(path: Path) -> None:
    """Open the file once, for Envoy's own words would name no setting."""
    try:
        # A pipe is not waited for: its reader may never come, and no signal would be heard.
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666))
    except OSError as error:
        is_unread = error.errno == errno.ENXIO
        reason = "it is a pipe that nobody reads, or a socket" if is_unread else error.strerror
        raise StartError(
            f"cannot write the access log {path}: {reason}; change server.access_log"
        ) from error
