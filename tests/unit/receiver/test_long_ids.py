"""A client's id may be as long as a body: whatever outlives its request keeps the beginning."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.observe.phases import ID_CHARACTERS
from headrace.receiver.exchange import Exchange
from headrace.receiver.plain.slowest import passed
from headrace.receiver.span_sampler import SpanSampler, by_chance
from headrace.receiver.spans import Spans
from headrace.receiver.tracing.plan import Plan, Sampler
from headrace.receiver.tracing.tracer import Tracer
from headrace.receiver.tracing.writer import Writer
from headrace.values import Request
from tests.e2e.clients import grpc_request
from tests.unit.receiver.inside import Call, inside

LONG = "i" * 10_000
KEPT = LONG[:ID_CHARACTERS]


class Served:
    """What is read of a version."""

    name, version = "m", 1


def _exchange() -> Any:
    exchange = Exchange({}, Call().receive, time.monotonic())
    exchange.id = LONG
    return exchange


def test_among_the_slowest() -> None:
    served: Any = Served
    assert passed(_exchange(), served, "ok", time.monotonic()).id == KEPT


def test_in_a_span() -> None:
    served: Any = Served
    exporter, sampler = InMemorySpanExporter(), SpanSampler(1.0, by_chance(1.0, lambda: 0.0))
    spans = Spans(SimpleSpanProcessor(exporter), Resource({}), sampler, within=False)
    spans.note(_exchange(), served, "ok", time.monotonic())
    (whole,) = [one for one in exporter.get_finished_spans() if one.name == "infer m"]
    assert whole.attributes is not None
    assert whole.attributes["headrace.request_id"] == KEPT


def test_in_a_trace(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    tracer = Tracer(writer)
    tracer.put({"": Sampler(Plan(times=True, rate=1, file="t"), None)})
    trace = tracer.begin(Request("m", None, {}, 1.0, id=LONG), "m", 1, 2.0)
    assert trace is not None
    assert trace.head["request_id"] == KEPT


async def test_its_answer_has_it_whole(tmp_path: Path) -> None:
    request = grpc_request("m", np.ones((1, 4), np.float32))
    request.id = LONG
    message = request.SerializeToString()
    call = Call()
    call.say(b"\0" + len(message).to_bytes(4, "big") + message, more=False)
    async with inside("", tmp_path) as server:
        await server.call("/inference.GRPCInferenceService/ModelInfer", call)
        told = await server.ask("/slowest", method="GET")
    assert LONG.encode() in b"".join(call.bodies)
    assert [one["id"] for one in json.loads(told.body)["requests"]] == [KEPT]
