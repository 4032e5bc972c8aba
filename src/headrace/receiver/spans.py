"""OpenTelemetry: one span for every sampled request, and one below it for each of its phases.

They are made when a request has ended, from what is noted of every request anyway; of one that is
not sampled nothing is made at all. The span of a client that names one is the parent of ours, or
of Envoy's, if that makes spans, too, which is then the parent of ours.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import headrace
from headrace.observe.phases import ID_CHARACTERS
from headrace.receiver.catalog import ServedModel
from headrace.receiver.envoy_spans import PATH, TIMEOUT_S
from headrace.receiver.exchange import Exchange, Headers
from headrace.receiver.span_sampler import SpanSampler, by_chance, by_envoy, span_of_envoy
from headrace.server_settings import ServerSettings

if TYPE_CHECKING:
    import requests
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

_NS = 1e9


class Spans:
    """Makes the spans of requests that the sampler takes, and has them sent.

    ``within``: whether Envoy makes spans, too, and says so in headers.
    """

    def __init__(self, provider: TracerProvider, sampler: SpanSampler, *, within: bool) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("headrace", headrace.__version__)
        self._sampler = sampler
        self._within = within

    @classmethod
    def of(cls, settings: ServerSettings) -> Spans | None:
        """Send to the collector that the settings name, if they do."""
        if settings.otlp_endpoint is None:
            return None
        within = settings.otlp_envoy
        chooses = by_envoy if within else by_chance(settings.otlp_ratio, random.random)
        sampler = SpanSampler(settings.otlp_limit_per_s / settings.receivers, chooses)
        return cls(_provider(settings.otlp_endpoint), sampler, within=within)

    def note(self, exchange: Exchange, served: ServedModel, outcome: str, now_s: float) -> None:
        """A request has ended."""
        if self._sampler.takes(exchange.headers, now_s):
            self._make(exchange, served, outcome, now_s)

    def stop(self) -> None:
        """Send what is left; blocks meanwhile."""
        self._provider.shutdown()

    def _make(self, exchange: Exchange, served: ServedModel, outcome: str, now_s: float) -> None:
        from opentelemetry.trace import (  # noqa: PLC0415 - an extra
            SpanKind,
            Status,
            StatusCode,
            set_span_in_context,
        )

        phases = exchange.phases(now_s)
        end_ns = time.time_ns()
        start_ns = end_ns - round(phases.total * _NS)
        run = exchange.run
        attributes: dict[str, str | int] = {
            "headrace.model": served.name,
            "headrace.version": served.version,
            "headrace.outcome": outcome,
        }
        if exchange.id:
            attributes["headrace.request_id"] = exchange.id[:ID_CHARACTERS]
        if run is not None:
            attributes["headrace.batch.rows"] = run.rows
            attributes["headrace.batch.requests"] = run.requests
        span = self._tracer.start_span(
            f"infer {served.name}",
            _envoys(exchange.headers) if self._within else _clients(exchange.headers),
            SpanKind.INTERNAL if self._within else SpanKind.SERVER,
            attributes,
            start_time=start_ns,
        )
        if outcome != "ok":
            span.set_attribute("error.type", outcome)
            span.set_status(Status(StatusCode.ERROR, outcome))
        inside = set_span_in_context(span)
        at_ns = start_ns
        for name, seconds in phases._asdict().items():
            until_ns = at_ns + round(seconds * _NS)
            if seconds > 0:
                self._tracer.start_span(name, inside, start_time=at_ns).end(until_ns)
            at_ns = until_ns
        span.end(end_ns)


def _provider(endpoint: str) -> TracerProvider:
    """Send to a collector that speaks OTLP over HTTP; the ``OTEL_`` variables are heeded."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415 - the same

    names = {"service.version": headrace.__version__}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        names["service.name"] = "headrace"
    # Whether a request is sampled is decided before it comes here.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create(names))
    exporter = OTLPSpanExporter(
        endpoint=endpoint.rstrip("/") + PATH, timeout=TIMEOUT_S, session=_session()
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _session() -> requests.Session:
    """Trust whom OpenTelemetry's variable names, if it does, and else REQUESTS_CA_BUNDLE's.

    requests itself has it the other way round: the environment wins over what a session was told.
    """
    import requests  # noqa: PLC0415 - comes with the extra

    class Session(requests.Session):
        def merge_environment_settings(
            self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
        ) -> Any:
            told = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, told, cert)

    return Session()


def _clients(headers: Headers) -> Context:
    from opentelemetry.context import Context  # noqa: PLC0415 - an extra
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - the same
        TraceContextTextMapPropagator,
    )

    said = {
        name.decode(): headers[name].decode("latin-1")
        for name in (b"traceparent", b"tracestate")
        if name in headers
    }
    return TraceContextTextMapPropagator().extract(said, Context())


def _envoys(headers: Headers) -> Context:
    """Envoy's span; below a traceparent that cannot be read it makes none."""
    from opentelemetry.context import Context  # noqa: PLC0415 - an extra
    from opentelemetry.trace import (  # noqa: PLC0415 - the same
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )
    from opentelemetry.trace.span import TraceState  # noqa: PLC0415 - the same

    envoys = span_of_envoy(headers)
    if envoys is None:
        return Context()
    state = TraceState.from_header([headers.get(b"tracestate", b"").decode("latin-1")])
    sampled = TraceFlags(TraceFlags.SAMPLED)
    parent = SpanContext(envoys.trace_id, envoys.span_id, True, sampled, state)  # noqa: FBT003
    return set_span_in_context(NonRecordingSpan(parent), Context())
