"""Every front over a model that answers with its inputs: all of a request but sockets and engines.

Nothing in a front waits but for ``infer``, and this one answers at once, so a request is a plain
call here; but for large ones, whose answers are written in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from headrace.control import ModelState
from headrace.observe.metrics import ModelMetrics
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.exchange import Core, Exchange
from headrace.receiver.handover.client import LARGE_BYTES
from headrace.receiver.numbers import Numbers
from headrace.receiver.oip.grpc import OipGrpc
from headrace.receiver.routes import Routes
from headrace.receiver.run.validate import validate
from headrace.receiver.tfserving.grpc import TfServingGrpc
from headrace.results import build
from headrace.settings import ModelSettings
from headrace.values import Array, DType, Request, Response, Signature, TensorSpec
from tests.contract.calls import PREFIX, Answer, Call
from tests.profiles import plain

Value = TypeVar("Value")
MOST_AXES = 4
OUT = {DType.BYTES: "y_bytes"}
"""What the output is called: TensorFlow Serving's REST sends bytes only under such a name."""


def model_name(dtype: DType, axes: int) -> str:
    """The model whose input ``x`` and output are of that dtype and that many free axes."""
    return f"{dtype.value}-{axes}"


def output_name(dtype: DType) -> str:
    """The name of that model's output."""
    return OUT.get(dtype, "y")


def serve(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, batched: bool = False
) -> ServedModel:
    """A served model with nothing behind it."""
    signature = Signature(tuple(inputs), tuple(outputs), batched)
    profile = plain(signature, "echo")
    metrics = ModelMetrics(name, 1)
    metrics.gauges |= {"run_tail_ratio": lambda: 1.1, "handover_seconds": lambda: 0.0003}
    return ServedModel(name, 1, signature, ModelSettings(), (), profile, metrics)


PAIR = serve(
    "pair",
    [
        TensorSpec("left", DType.FP32, (None, 2)),
        TensorSpec("right", DType.INT64, (None,)),
        TensorSpec("text", DType.BYTES, (None,)),
    ],
    [
        TensorSpec("l", DType.FP32, (None, 2)),
        TensorSpec("r", DType.INT64, (None,)),
        TensorSpec("t", DType.BYTES, (None,)),
    ],
    batched=True,
)
"""Three inputs of different dtypes, batched."""


class Echo:
    """All fronts over one catalog; output *i* is input *i*, as after a run in an engine."""

    def __init__(self) -> None:
        catalog = Catalog(configured=True)
        for served in (*_each_dtype(), PAIR):
            catalog.set_state(ModelState(name=served.name, version=1, state="serving"))
            catalog.add(served)
        self.signatures = {served.name: served.signature for served in catalog.served()}
        self._processors = {served.name: build(served.signature, ()) for served in catalog.served()}
        core = Core(catalog, self._infer, together=Numbers(catalog, _no_page).all)
        self.routes = Routes(core)
        self._methods = {**OipGrpc(core).methods(), **TfServingGrpc(core).methods()}

    def ask(self, call: Call) -> Answer:
        """Answer a request.

        Raises:
            Exception: whatever the front raises.
        """
        headers = {name.encode(): value.encode() for name, value in call.headers}
        exchange = Exchange(headers, _nothing, 0.0)
        exchange.body = memoryview(call.body)
        if call.kind == "grpc":
            exchange.body = exchange.body[PREFIX.size :]
            answer = self._methods[call.path](exchange)
            is_large = len(call.body) > LARGE_BYTES // 2
            return Answer(0, asyncio.run(answer) if is_large else finish(answer))
        status, body, lines = finish(self.routes.find(call.method, call.path)(exchange))
        return Answer(status, body, {name.decode(): value.decode() for name, value in lines})

    async def _infer(self, request: Request, served: ServedModel, exchange: Exchange) -> Response:
        processor = self._processors[served.name]
        processor.check(request.outputs, validate(served.signature, request.inputs))
        arrays: list[Array] = [request.inputs[spec.name] for spec in served.signature.inputs]
        names = [spec.name for spec in served.signature.outputs]
        outputs = processor.run(dict(zip(names, arrays, strict=True)), request.outputs)
        return Response(served.name, served.version, request.id, outputs)


def _each_dtype() -> list[ServedModel]:
    return [
        serve(
            model_name(dtype, axes),
            [TensorSpec("x", dtype, (None,) * axes)],
            [TensorSpec(output_name(dtype), dtype, (None,) * axes)],
        )
        for dtype in DType
        for axes in range(MOST_AXES + 1)
    ]


async def _no_page() -> str:
    return ""


def _nothing() -> Any:
    raise AssertionError("the body is there already")


def finish(awaitable: Awaitable[Value]) -> Value:
    """Run what waits for nothing."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as end:
        value: Value = end.value
        return value
    raise AssertionError("it waited")
