"""Where the plain front reads bodies of files: large ones not on the event loop."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from headrace.accepts import AcceptedText
from headrace.control import ModelState
from headrace.errors import Expired, QueueFull
from headrace.media import build
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.plain.decoding import MOST_WAITING
from headrace.receiver.plain.predict import Predict
from headrace.values import DType, Request, Response, TensorSpec
from tests.contract.echo import serve

SPEC = TensorSpec("name", DType.BYTES, (None,))
FORM = b'--b\r\ncontent-disposition: form-data; name="name"\r\n\r\n%s\r\n--b--\r\n'


class Headers(dict[bytes, bytes]):
    """Headers that know who read them last."""

    def __init__(self, content_type: str) -> None:
        super().__init__({b"content-type": content_type.encode()})
        self.reader = threading.current_thread()

    def get(self, name: bytes, default: Any = None) -> Any:
        self.reader = threading.current_thread()
        return super().get(name, default)


def front() -> Predict:
    served = serve("m", [SPEC], [SPEC], batched=True)
    served = replace(
        served, media=build(served.signature, (AcceptedText(kind="text", input="name"),))
    )
    catalog = Catalog(configured=True)
    catalog.set_state(ModelState(name="m", version=1, state="serving"))
    catalog.add(served)

    async def infer(request: Request, served: ServedModel, _: Exchange) -> Response:
        return Response(served.name, served.version, "", request.inputs)

    return Predict(Core(catalog, infer))


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
async def test_a_large_body_is_taken_apart_in_a_thread(kind: str, size: int) -> None:
    text = "a" * size
    headers = Headers(kind)
    exchange = Exchange(headers, None, 0.0)  # type: ignore[arg-type] # the body is there already
    form = kind.startswith("multipart")
    exchange.body = FORM % text.encode() if form else json.dumps({"input": text}).encode()
    _, answer, _ = await front().predict(exchange, "m", None)
    assert json.loads(answer) == {"output": [text]}
    assert (headers.reader is threading.current_thread()) is (size == 10)


class Held(Headers):
    """Headers that nobody reads beside the event loop before they are let go."""

    def __init__(self, content_type: str) -> None:
        super().__init__(content_type)
        self.go = threading.Event()

    def get(self, name: bytes, default: Any = None) -> Any:
        if threading.current_thread() is not threading.main_thread():
            self.go.wait(30)
        return super().get(name, default)


async def test_a_large_form_is_not_waited_for_beyond_its_deadline_nor_are_too_many() -> None:
    headers, predict = Held("multipart/form-data; boundary=b"), front()

    def large() -> Exchange:
        exchange = Exchange(headers, None, time.monotonic())  # type: ignore[arg-type] # as above
        exchange.body = FORM % (b"a" * 100_000)
        return exchange

    late = large()
    late.timeout_s = 0.01
    with pytest.raises(Expired):
        await predict.predict(late, "m", None)
    waiting = [asyncio.ensure_future(predict.predict(large(), "m", None))]
    waiting += [
        asyncio.ensure_future(predict.predict(large(), "m", None)) for _ in range(MOST_WAITING)
    ]
    refused, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert {type(one.exception()) for one in refused} == {QueueFull}
    headers.go.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [one.status for one in answers if isinstance(one, Reply)] == [200] * (
        len(waiting) - len(refused)
    )
