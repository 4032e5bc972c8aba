"""OpenTelemetry: spans of requests reach a collector, below that which the client names."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import ssl
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headrace.receiver.codecs.protobuf import message
from tests.contract.calls import send, unary
from tests.e2e.clients import http
from tests.e2e.models import write_fake
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
Infer = message("inference.ModelInferRequest")
OK = {"input": [[1, 2, 3, 4]]}
BASE_MS = 20


class Collector:
    """Takes OTLP over HTTP and keeps what it is sent."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        received: list[ExportTraceServiceRequest] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self._body()
                assert self.path == "/v1/traces"
                received.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def _body(self) -> bytes:
                length = self.headers["content-length"]
                if length is not None:
                    return self.rfile.read(int(length))
                parts = []
                while size := int(self.rfile.readline(), 16):  # in chunks, as Envoy sends it
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.received = received
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        if tls is not None:
            self.server.socket = tls.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.url = f"https://localhost:{self.server.server_port}"

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def of_requests(self) -> list[Span]:
        """Ours of requests, not of their phases."""
        return [span for span in self.spans() if span.name.startswith("infer ")]

    def envoys(self) -> list[Span]:
        return [span for span in self.spans() if span.name == "ingress"]


@contextlib.contextmanager
def collecting(tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    one = Collector(tls)
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        thread.join()
        one.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


def _server(
    tmp_path: Path, collector: str, ratio: str, envoy: str = "false", **environment: str
) -> Server:
    model = write_fake(tmp_path / "echo" / "1" / "model.fake", base_ms=BASE_MS).parents[1]
    return Server(
        model,
        environment={
            "HEADRACE_SERVER__OTLP_ENDPOINT": collector,
            "HEADRACE_SERVER__OTLP_RATIO": ratio,
            "HEADRACE_SERVER__OTLP_ENVOY": envoy,
            "OTEL_BSP_SCHEDULE_DELAY": "100",  # ms
            **environment,
        },
    )


def _said(span: Span) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes
    }


def test_a_sampled_request_is_a_span_of_its_clients_trace_with_its_phases_below(
    tmp_path: Path, collector: Collector
) -> None:
    with _server(tmp_path, collector.url, "0") as server:
        spoof = {"headrace-span": f"{TRACE[::-1]}-{PARENT[::-1]}"}
        assert http(f"{server.url}/predict/echo", OK, {"traceparent": UNSAMPLED})[0] == 200
        assert http(f"{server.url}/predict/echo", OK)[0] == 200
        assert http(f"{server.url}/predict/echo", OK, {"traceparent": SAMPLED, **spoof})[0] == 200
        until(collector.of_requests)
    (span,) = collector.of_requests()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.name == "infer echo"
    said = _said(span)
    assert (said["headrace.model"], said["headrace.version"]) == ("echo", 1)
    assert (said["headrace.outcome"], said["headrace.batch.rows"]) == ("ok", 1)
    phases = [one for one in collector.spans() if one.parent_span_id == span.span_id]
    assert [one.name for one in phases][:3] == ["receive", "decode", "queue"]
    assert phases[0].start_time_unix_nano == span.start_time_unix_nano
    assert abs(phases[-1].end_time_unix_nano - span.end_time_unix_nano) < 1000
    (infer,) = [one for one in phases if one.name == "infer"]
    assert infer.end_time_unix_nano - infer.start_time_unix_nano >= BASE_MS * 1e6
    for received in collector.received:
        resource = received.resource_spans[0].resource
        names = {one.key: one.value.string_value for one in resource.attributes}
        assert names["service.name"] == "headrace"


def test_a_state_that_came_in_several_headers_is_whole(
    tmp_path: Path, collector: Collector
) -> None:
    with _server(tmp_path, collector.url, "0") as server:
        connection = HTTPConnection(server.address, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest("POST", "/predict/echo")
            body = json.dumps(OK).encode()
            said = [("traceparent", SAMPLED), ("tracestate", "a=1"), ("tracestate", "b=2,c=3")]
            for name, value in [*said, ("content-length", str(len(body)))]:
                connection.putheader(name, value)
            connection.endheaders(body)
            assert connection.getresponse().status == 200
        until(collector.of_requests)
    (span,) = collector.of_requests()
    assert span.trace_state == "a=1,b=2,c=3"


def test_envoys_span_is_between_that_of_the_client_and_ours(
    tmp_path: Path, collector: Collector
) -> None:
    with _server(tmp_path, collector.url, "0", envoy="true") as server:
        assert http(f"{server.url}/predict/echo", OK, {"traceparent": UNSAMPLED})[0] == 200
        assert http(f"{server.url}/predict/echo", OK)[0] == 200
        assert http(f"{server.url}/predict/echo", OK, {"traceparent": SAMPLED})[0] == 200
        until(collector.of_requests)
        until(collector.envoys)
    (span,), (outer,) = collector.of_requests(), collector.envoys()
    assert (outer.trace_id.hex(), outer.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.trace_id, span.parent_span_id) == (outer.trace_id, outer.span_id)
    assert (outer.kind, span.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL)
    assert abs(span.start_time_unix_nano - outer.start_time_unix_nano) < 5e6
    for received in collector.received:
        resource = received.resource_spans[0].resource
        names = {one.key: one.value.string_value for one in resource.attributes}
        assert names["service.name"] == "headrace"


@pytest.mark.parametrize("named", [None, "till"])
def test_both_say_of_whom_they_are_as_the_environment_does(
    tmp_path: Path, collector: Collector, named: str | None
) -> None:
    said = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=checkout,service.version=7"}
    if named is not None:
        said["OTEL_SERVICE_NAME"] = named  # goes before the other
    with _server(tmp_path, collector.url, "1", "true", **said) as server:
        assert http(f"{server.url}/predict/echo", OK)[0] == 200
        until(collector.envoys)
        until(collector.of_requests)
    resources = [one.resource_spans[0].resource for one in collector.received]
    found = [{one.key: one.value.string_value for one in of.attributes} for of in resources]
    assert {one["service.name"] for one in found} == {named or "checkout"}
    assert {one["service.version"] for one in found} == {"7"}


@pytest.mark.parametrize("envoy", ["false", "true"])
def test_requests_without_a_trace_are_sampled_by_the_ratio_over_every_front(
    tmp_path: Path, collector: Collector, envoy: str
) -> None:
    with _server(tmp_path, collector.url, "1", envoy) as server:
        assert http(f"{server.url}/predict/echo", OK)[0] == 200
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
        assert http(f"{server.url}/v2/models/echo/infer", {"id": "a", "inputs": [tensor]})[0] == 200
        request = Infer(model_name="echo")
        request.inputs.add(name="x", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend(
            [1, 2, 3, 4]
        )
        path = "/inference.GRPCInferenceService/ModelInfer"
        metadata = {"traceparent": SAMPLED}
        asked = unary(path, request.SerializeToString(), **metadata)
        assert send(server.address, asked, timeout_s=30).status == 0
        bad = {"inputs": [{**tensor, "name": "z"}]}
        assert http(f"{server.url}/v2/models/echo/infer", bad)[0] == 400
        if envoy == "true":
            until(lambda: len(collector.envoys()) >= 4)
    spans = collector.of_requests()  # what was left has been sent before the server ended
    assert len(spans) == 4
    assert len({span.trace_id for span in spans}) == 4
    if envoy == "true":
        around = {(span.trace_id, span.span_id) for span in collector.envoys()}
        assert {(span.trace_id, span.parent_span_id) for span in spans} <= around
    assert [span.trace_id.hex() for span in spans].count(TRACE) == 1
    assert [_said(span).get("headrace.request_id") for span in spans].count("a") == 1
    (failed,) = [span for span in spans if span.status.code == Status.STATUS_CODE_ERROR]
    assert _said(failed)["error.type"] == "invalid_input"


def _certificate(folder: Path) -> Path:
    """One that localhost has signed itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("trusting", ["OTEL_EXPORTER_OTLP_CERTIFICATE", "REQUESTS_CA_BUNDLE"])
def test_both_our_spans_and_envoys_reach_a_collector_over_tls(
    tmp_path: Path, trusting: str
) -> None:
    certificate = _certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with collecting(tls) as collector:
        trust = {"REQUESTS_CA_BUNDLE": certifi.where(), trusting: str(certificate)}
        with _server(tmp_path, collector.url, "1", "true", **trust) as server:
            assert http(f"{server.url}/predict/echo", OK)[0] == 200
            until(collector.envoys)
            until(collector.of_requests)
    (span,), (outer,) = collector.of_requests(), collector.envoys()
    assert (span.trace_id, span.parent_span_id) == (outer.trace_id, outer.span_id)


def test_a_collector_that_is_away_disturbs_nobody(tmp_path: Path) -> None:
    with _server(tmp_path, "http://127.0.0.1:1", "1") as server:
        assert http(f"{server.url}/predict/echo", OK)[0] == 200
        until(lambda: "Failed to export" in server.output)
        assert http(f"{server.url}/predict/echo", OK)[0] == 200
        assert server.stop() == 0
    (told,) = [line for line in server.output.splitlines() if "Failed to export" in line]
    assert json.loads(told)["event"] == "opentelemetry"  # a line as all others are, and once


def test_a_client_cannot_write_into_the_log(tmp_path: Path, collector: Collector) -> None:
    with _server(tmp_path, collector.url, "0") as server:
        for state in ("a=1;;bad key", "a=1,a=2", "what I like"):
            said = {"traceparent": SAMPLED, "tracestate": state}
            assert http(f"{server.url}/predict/echo", OK, said)[0] == 200
        until(lambda: len(collector.of_requests()) == 3)
        before = server.output
    assert before.splitlines()[-1].startswith("Headrace is ready")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    # A folder in the way of the library: as if it were not there.
    (tmp_path / "away" / "opentelemetry").mkdir(parents=True)
    (tmp_path / "away" / "opentelemetry" / "__init__.py").touch()
    model = write_fake(tmp_path / "echo.fake")
    server = Server(
        model,
        environment={
            "PYTHONPATH": os.pathsep.join(
                [str(tmp_path / "away"), os.environ.get("PYTHONPATH", "")]
            ),
            "HEADRACE_SERVER__OTLP_ENDPOINT": "http://127.0.0.1:4318",
        },
    )
    assert _status(server) == 2
    assert "pip install 'headrace[otel]'" in server.output


def test_a_variable_that_cannot_be_done_is_told_in_one_line(tmp_path: Path) -> None:
    server = _server(tmp_path, "http://127.0.0.1:4318", "1", OTEL_BSP_SCHEDULE_DELAY="0")
    assert _status(server) == 2
    assert "headrace: OTEL_BSP_SCHEDULE_DELAY is '0'" in server.output
    assert "Traceback" not in server.output


def _status(server: Server) -> int:
    """Have it start, and end by itself."""
    server.start()
    try:
        return server.wait(30)
    finally:
        server.kill()
