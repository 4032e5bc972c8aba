"""Envoy's spans: its part of the configuration; ours have them as parents. Pure.

Envoy begins a span when it has the headers of a request and ends it with the last byte of the
answer. Which requests it samples: those whose client says so (``traceparent``), and a share of the
others. It tells us of its span, and of its choice, in two headers.

Sources: Envoy's "Tracing" and ``config.trace.v3.OpenTelemetryConfig``; the variables are those of
OpenTelemetry's "OTLP Exporter Configuration".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from headrace.receiver import otel

HEADER = "headrace-span"
"""``TRACE-SPAN``, both in hexadecimal, written by Envoy over whatever a client may say there."""

PATH = "/v1/traces"
TIMEOUT_S = 2.0
"""A collector that does not answer holds up neither requests nor the end of the server."""

_CLUSTER = "otlp"
_PORTS = {"http": 80, "https": 443}
# Sent once a second, or when so many are there.
_EVERY_MS, _TOGETHER = 1000, 256
_API = "type.googleapis.com/envoy"
_EARLY_TYPE = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_FORCES = "x-client-trace-id"


def add(
    configuration: dict[str, Any],
    http: dict[str, Any],
    *,
    endpoint: str,
    ratio: float,
    environment: Mapping[str, str],
    authorities: str,
) -> None:
    """Have Envoy make spans of this share of the requests, and send them to a collector.

    ``http`` is the part that is its HTTP connection manager; ``authorities`` the file of those
    whose certificates are good, where the environment names none.
    """
    configuration["static_resources"].setdefault("clusters", []).append(
        _cluster(endpoint, environment, authorities)
    )
    sending = {
        "tracing.opentelemetry.flush_interval_ms": _EVERY_MS,
        "tracing.opentelemetry.min_flush_spans": _TOGETHER,
    }
    configuration["layered_runtime"]["layers"][0]["static_layer"] |= sending
    http["generate_request_id"] = True  # its fifteenth digit says what was chosen
    http["tracing"] = {
        "random_sampling": {"value": 100 * ratio},
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": _tracer(endpoint, environment),
        },
    }
    http.setdefault("early_header_mutation_extensions", []).append(_heed_clients())
    http["http_filters"].insert(0, _tell_us())


def _heed_clients() -> dict[str, Any]:
    """Let a client's flag count: Envoy looks at it only of requests that it would sample anyway.

    A header of Envoy's own makes it sample a request. Here those have it that have a traceparent,
    whose flag then decides.
    """
    return {
        "name": "envoy.http.early_header_mutation.header_mutation.spans",
        "typed_config": {
            "@type": f"{_API}.{_EARLY_TYPE}",
            "mutations": [{"remove": _FORCES}, _write(_FORCES, "%REQ(traceparent)%")],
        },
    }


def _tell_us() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": f"{_API}.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [_write(HEADER, "%TRACE_ID%-%SPAN_ID%")]},
        },
    }


def _write(name: str, value: str) -> dict[str, Any]:
    header = {"key": name, "value": value}  # of an empty value there is no header
    return {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def _tracer(endpoint: str, environment: Mapping[str, str]) -> dict[str, Any]:
    service = environment.get("OTEL_SERVICE_NAME")
    tracer: dict[str, Any] = {
        "@type": f"{_API}.config.trace.v3.OpenTelemetryConfig",
        "service_name": service or "headrace",
        "http_service": {
            "http_uri": {
                "uri": endpoint.rstrip("/") + PATH,
                "cluster": _CLUSTER,
                "timeout": f"{TIMEOUT_S}s",
            },
            "request_headers_to_add": [
                # Envoy would read a % as the begin of a command.
                {"header": {"key": name, "value": value.replace("%", "%%")}}
                for name, value in otel.headers(environment)
            ],
        },
    }
    # Envoy refuses to start where it shall look and there is nothing.
    if environment.get("OTEL_RESOURCE_ATTRIBUTES"):
        tracer["resource_detectors"] = [_detector("environment", "Environment")]
        if service:  # over a service.name there
            named = {"attributes": {"service.name": service}}
            tracer["resource_detectors"].append(_detector("static_config", "StaticConfig", **named))
    return tracer


def _detector(name: str, kind: str, **said: Any) -> dict[str, Any]:
    place = "tracers.opentelemetry.resource_detectors"
    type_ = f"{_API}.extensions.{place}.v3.{kind}ResourceDetectorConfig"
    return {"name": f"envoy.{place}.{name}", "typed_config": {"@type": type_, **said}}


def _cluster(endpoint: str, environment: Mapping[str, str], authorities: str) -> dict[str, Any]:
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    socket = {"address": host, "port_value": parts.port or _PORTS[parts.scheme]}
    place = {"endpoint": {"address": {"socket_address": socket}}}
    cluster: dict[str, Any] = {
        "name": _CLUSTER,
        # Of its addresses that which answers: those of localhost are two, and a collector may
        # listen at one.
        "type": "LOGICAL_DNS",
        "dns_lookup_family": "ALL",
        "connect_timeout": f"{TIMEOUT_S}s",
        "load_assignment": {"cluster_name": _CLUSTER, "endpoints": [{"lb_endpoints": [place]}]},
    }
    if parts.scheme == "https":
        cluster["transport_socket"] = _tls(host, environment, authorities)
    return cluster


def _tls(host: str, environment: Mapping[str, str], authorities: str) -> dict[str, Any]:
    trusted = otel.said(environment, "CERTIFICATE") or authorities
    common: dict[str, Any] = {
        "validation_context": {
            "trusted_ca": {"filename": trusted},
            "match_typed_subject_alt_names": [
                {"san_type": kind, "matcher": {"exact": host}} for kind in ("DNS", "IP_ADDRESS")
            ],
        }
    }
    certificate = otel.said(environment, "CLIENT_CERTIFICATE")
    if certificate:
        key = otel.said(environment, "CLIENT_KEY") or certificate
        common["tls_certificates"] = [
            {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}
        ]
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_API}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host,
            "common_tls_context": common,
        },
    }
