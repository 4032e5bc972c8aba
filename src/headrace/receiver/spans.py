"""OpenTelemetry: one span for every sampled request, and one below it for each of its phases.

They are made when a request has ended, from what is noted of every request anyway; of one that is
not sampled nothing is made at all. The span of a client that names one is the parent of ours, or
of Envoy's, if that makes spans, too, which is then the parent of ours.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import headrace
from headrace.observe.phases import ID_CHARACTERS
from headrace.receiver import otel, otel_log
from headrace.receiver.catalog import ServedModel
from headrace.receiver.envoy_spans import PATH, TIMEOUT_S
from headrace.receiver.exchange import Exchange, Headers
from headrace.receiver.span_sampler import SpanSampler, by_chance, by_envoy, span_of_envoy
from headrace.server_settings import ServerSettings

if TYPE_CHECKING:
    import requests
    from opentelemetry.attributes import BoundedAttributes
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import SpanContext

_NS = 1e9


class Spans:
    """Makes the spans of requests that the sampler takes, and hands them to ``sending``.

    ``within``: whether Envoy makes spans, too, and says so in headers.
    """

    def __init__(
        self, sending: SpanProcessor, resource: Resource, sampler: SpanSampler, *, within: bool
    ) -> None:
        from opentelemetry.sdk.trace import SpanLimits  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.id_generator import (  # noqa: PLC0415 - the same
            RandomIdGenerator,
        )
        from opentelemetry.sdk.util.instrumentation import (  # noqa: PLC0415 - the same
            InstrumentationScope,
        )

        self._sending = sending
        self._resource = resource
        self._limits = SpanLimits()
        self._scope = InstrumentationScope("headrace", headrace.__version__)
        self._ids = RandomIdGenerator()
        self._sampler = sampler
        self._within = within

    @classmethod
    def of(cls, settings: ServerSettings) -> Spans | None:
        """Send to the collector that the settings name, if they do; ``OTEL_`` variables count."""
        if settings.otlp_endpoint is None or otel.is_disabled(os.environ):
            return None
        otel_log.hear()
        within = settings.otlp_envoy
        chooses = by_envoy if within else by_chance(settings.otlp_ratio, random.random)
        sampler = SpanSampler(settings.otlp_limit_per_s / settings.receivers, chooses)
        return cls(_sending(settings.otlp_endpoint), _resource(), sampler, within=within)

    def note(self, exchange: Exchange, served: ServedModel, outcome: str, now_s: float) -> None:
        """A request has ended."""
        if self._sampler.takes(exchange.headers, now_s):
            self._make(exchange, served, outcome, now_s)

    def stop(self) -> None:
        """Send what is left; blocks meanwhile."""
        self._sending.shutdown()

    def _make(self, exchange: Exchange, served: ServedModel, outcome: str, now_s: float) -> None:
        from opentelemetry.trace import (  # noqa: PLC0415 - an extra
            SpanKind,
            Status,
            StatusCode,
        )

        phases = exchange.phases(now_s)
        end_ns = time.time_ns()
        start_ns = end_ns - round(phases.total * _NS)
        failed = outcome != "ok"
        above = _envoys(exchange.headers) if self._within else _clients(exchange.headers)
        own = self._context(above)
        self._send(
            f"infer {served.name}",
            own,
            above,
            (start_ns, end_ns),
            attributes=self._within_limits(_attributes(exchange, served, outcome)),
            kind=SpanKind.INTERNAL if self._within else SpanKind.SERVER,
            status=Status(StatusCode.ERROR, outcome) if failed else Status(StatusCode.UNSET),
        )
        at_ns = start_ns
        for name, seconds in phases._asdict().items():
            until_ns = at_ns + round(seconds * _NS)
            if seconds > 0:
                self._send(name, self._context(own), own, (at_ns, until_ns))
            at_ns = until_ns

    def _within_limits(self, attributes: dict[str, str | int]) -> BoundedAttributes:
        """As OpenTelemetry's variables say how many there may be, and how long."""
        from opentelemetry.attributes import BoundedAttributes  # noqa: PLC0415 - an extra

        most, longest = self._limits.max_span_attributes, self._limits.max_span_attribute_length
        return BoundedAttributes(most, attributes, immutable=True, max_value_len=longest)

    def _context(self, above: SpanContext | None) -> SpanContext:
        """The name of a new span below another one, or of the first of its trace."""
        from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415 - an extra

        return SpanContext(
            self._ids.generate_trace_id() if above is None else above.trace_id,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
            trace_state=None if above is None else above.trace_state,
        )

    def _send(
        self,
        name: str,
        own: SpanContext,
        above: SpanContext | None,
        from_to_ns: tuple[int, int],
        **more: Any,
    ) -> None:
        """Hand over a span that has ended.

        A tracer would make one that is open first and copy it at its end, which takes the thread
        that answers requests eight times as long: 0.21 ms for a request and its phases, not 0.03.
        """
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - an extra

        start_ns, end_ns = from_to_ns
        more.setdefault("attributes", {})
        span = ReadableSpan(
            name,
            own,
            above,
            self._resource,
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=self._scope,
            **more,
        )
        self._sending.on_end(span)


def join_states(headers: Headers, came: Iterable[tuple[bytes, bytes]]) -> None:
    """Have the whole ``tracestate`` of a client that sent it in parts, each a header of its own."""
    states = [value for name, value in came if name == b"tracestate"]
    if states:
        headers[b"tracestate"] = b",".join(states)


def _attributes(exchange: Exchange, served: ServedModel, outcome: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "headrace.model": served.name,
        "headrace.version": served.version,
        "headrace.outcome": outcome,
    }
    if exchange.id:
        found["headrace.request_id"] = exchange.id[:ID_CHARACTERS]
    if exchange.run is not None:
        found["headrace.batch.rows"] = exchange.run.rows
        found["headrace.batch.requests"] = exchange.run.requests
    if outcome != "ok":
        found["error.type"] = outcome
    return found


def _resource() -> Resource:
    """Who we are, where the environment does not say another."""
    from opentelemetry.sdk.resources import (  # noqa: PLC0415 - an extra
        OTELResourceDetector,
        Resource,
    )

    ours = {"service.name": "headrace", "service.version": headrace.__version__}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


def _sending(endpoint: str) -> SpanProcessor:
    """Send to a collector that speaks OTLP over HTTP, many at a time and in a thread of its own."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same

    exporter = OTLPSpanExporter(
        endpoint=endpoint.rstrip("/") + PATH, timeout=TIMEOUT_S, session=_session()
    )
    return BatchSpanProcessor(exporter)


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


def _clients(headers: Headers) -> SpanContext | None:
    """The span of the client that asked; None where its headers name none."""
    from opentelemetry.context import Context  # noqa: PLC0415 - an extra
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - the same
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - the same
        TraceContextTextMapPropagator,
    )

    said = {
        name.decode(): headers[name].decode("latin-1")
        for name in (b"traceparent", b"tracestate")
        if name in headers
    }
    if not said:
        return None
    found = get_current_span(TraceContextTextMapPropagator().extract(said, Context()))
    context = found.get_span_context()
    return context if context.is_valid else None


def _envoys(headers: Headers) -> SpanContext | None:
    """Envoy's span; below a traceparent that cannot be read it makes none."""
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415 - an extra
    from opentelemetry.trace.span import TraceState  # noqa: PLC0415 - the same

    envoys = span_of_envoy(headers)
    if envoys is None:
        return None
    return SpanContext(
        envoys.trace_id,
        envoys.span_id,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([headers.get(b"tracestate", b"").decode("latin-1")]),
    )
