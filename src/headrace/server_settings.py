"""The settings of the receiver and of the life of the server, which are no model's."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, field_validator

from headrace.group import Group
from headrace.urls import LocalPath, Location

_LAST_PORT = 65535
# What a browser sends as `Origin`: no path, not even a slash.
_ORIGIN = re.compile(r"https?://[^/\s,*]+")
_COLLECTOR = re.compile(r"https?://[^/\s,]+(/\S*)?")


ACCESS_LOG_FIELDS = (
    "time",
    "method",
    "path",
    "protocol",
    "status",
    "grpc_status",
    "error",
    "error_trailer",
    "flags",
    "duration_ms",
    "received_bytes",
    "sent_bytes",
    "client",
    "user_agent",
    "request_id",
    "traceparent",
)
"""What a line of the access log may tell."""

_USUAL_FIELDS = (
    "time",
    "path",
    "status",
    "grpc_status",
    "error",
    "duration_ms",
    "client",
    "request_id",
)


class ModelControl(StrEnum):
    """What may change the models while the server runs; the names are Triton's."""

    NONE = "none"
    EXPLICIT = "explicit"
    POLL = "poll"


class Share(StrEnum):
    """What happens when several models want the machine at once."""

    FAIR = "fair"
    KERNEL = "kernel"


class ServerSettings(Group):
    """The receiver and the life of the server."""

    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8000, description="The port of every protocol; 0 picks a free one."
    )
    host: str = Field(default="0.0.0.0", description="The address of `port`.")  # noqa: S104
    listen: tuple[str, ...] = Field(
        default=(), description="More `ADDR:PORT`s, for clients that expect 8500, 8501 or 8001."
    )
    default_model: str | None = Field(
        default=None, description="What `POST /predict` runs. None: the only model."
    )
    tuned: bool = Field(
        default=True,
        description="Whether what `headrace tune` found out for a model on this machine is taken, "
        "where nothing else is said: see [models](models.md#the-tuned-card).",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Whose pages a browser lets ask this server: origins as "
        "`https://shop.example`, or `*` for all. None given: no other origin's.",
    )
    max_body_mib: Annotated[float, Field(gt=0, le=2047)] = Field(
        default=64, description="The largest request body, after decompression."
    )
    max_inflight: Annotated[int, Field(ge=1)] = Field(
        default=8192, description="Requests in a receiver at once; one more is refused."
    )
    shared_memory: bool = Field(
        default=False,
        description="Whether clients on this machine may hand over tensors in POSIX shared memory "
        "(Triton's system_shared_memory). They can then read and write whatever the server's user "
        "has there.",
    )
    drain_timeout_s: Annotated[float, Field(ge=0)] = Field(
        default=30.0, description="How long SIGTERM waits for requests in flight."
    )
    receivers: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="Processes that receive requests on the same ports. One answers some 25,000 "
        "small requests a second; more are for machines of many cores: see "
        "[operating](operating.md#several-receivers).",
    )
    share: Share = Field(
        default=Share.FAIR,
        description="fair: models that want the machine at once take turns, by their `weight`. "
        "kernel: each runs as it likes, and the system shares the cores.",
    )
    model_control: ModelControl = Field(
        default=ModelControl.NONE,
        description="explicit: whoever can reach the server may load, unload and reload models. "
        "poll: what changes where `models` lie is served as it changes.",
    )
    poll_s: Annotated[float, Field(ge=0.05, le=86400)] = Field(
        default=1.0,
        description="With `model_control: poll`, how often to look. A change counts when nothing "
        "has been written for twice as long.",
    )
    model_roots: tuple[Location, ...] = Field(
        default=(),
        description="More folders, or URLs of some, that models may be reloaded from over the "
        "wire, besides those of `models`.",
    )
    trace_dir: LocalPath | None = Field(
        default=None,
        description="A folder for traces of requests, which clients may then turn on and name "
        "files in (Triton's trace extension). None: no traces.",
    )
    cache_dir: LocalPath | None = Field(
        default=Path("~/.cache/headrace"),
        description="Where what can be made again is kept from one start to the next: compiled "
        "models, what warm-up measured, copies of remote models. None: nowhere.",
    )
    remote_cache_gib: Annotated[float, Field(ge=0)] = Field(
        default=20.0,
        description="How much is kept there of copies of remote models that are not served now.",
    )
    memory_budget_mib: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Memory of all engines together. Where it would be exceeded the "
        "least recently used models leave memory, and are loaded again when they are asked for.",
    )
    max_resident: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="How many versions may be in memory at once, pinned ones not counted.",
    )
    engine_restart_limit: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=5,
        description="Engine deaths within `engine_restart_window_s` that mark a model failed.",
    )
    engine_restart_window_s: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="See `engine_restart_limit`."
    )
    load_timeout_s: Annotated[float, Field(gt=0)] = Field(
        default=300.0, description="How long a model may take to load and warm up."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe line that is logged."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, JSON lines elsewhere."
    )
    access_log: LocalPath | None = Field(
        default=None,
        description="A file to which one JSON line is added for every request; `/dev/stderr` for "
        "the log. None given: there is none.",
    )
    access_log_fields: tuple[str, ...] = Field(
        default=_USUAL_FIELDS,
        description="What its lines tell; each field costs a request up to 1 µs. There are also "
        f"{', '.join(name for name in ACCESS_LOG_FIELDS if name not in _USUAL_FIELDS)}.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="An OpenTelemetry collector, as in `http://127.0.0.1:4318`, to which spans of "
        "requests are sent (OTLP over HTTP; the extra `otel`).",
    )
    otlp_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01,
        description="Of how many requests, where the client's `traceparent` does not say.",
    )
    otlp_limit_per_s: PositiveFloat = Field(
        default=10.0,
        description="Of those no more than so many a second: a span and its phases cost a third "
        "of a millisecond of processor time, three times what a small request does.",
    )

    otlp_envoy: bool = Field(
        default=False,
        description="Whether Envoy makes a span around each of ours, from the first byte to the "
        "last. It looks at every request for that: of small ones 7 % fewer are answered.",
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for text in origins:
            if not (text == "*" or _ORIGIN.fullmatch(text)):
                raise ValueError("should be * or an origin, as in https://shop.example:8443")
        return origins

    @field_validator("access_log_fields")
    @classmethod
    def _known_fields(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if not fields or not set(fields) <= set(ACCESS_LOG_FIELDS):
            raise ValueError(f"should be of {', '.join(ACCESS_LOG_FIELDS)}")
        return fields

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not _is_collector(endpoint):
            raise ValueError("should be as http://127.0.0.1:4318")
        return endpoint

    @field_validator("listen")
    @classmethod
    def _addresses(cls, listen: tuple[str, ...]) -> tuple[str, ...]:
        for text in listen:
            host, _, port = text.rpartition(":")
            if not (host and port.isascii() and port.isdigit() and int(port) <= _LAST_PORT):
                raise ValueError("should be ADDR:PORT, as in 127.0.0.1:8500 or [::1]:8500")
        return listen


def _is_collector(endpoint: str) -> bool:
    if not _COLLECTOR.fullmatch(endpoint):
        return False
    try:
        parts = urlsplit(endpoint)
        return parts.hostname is not None and parts.port != 0
    except ValueError:  # of a port that is none, or half an address of IPv6
        return False
