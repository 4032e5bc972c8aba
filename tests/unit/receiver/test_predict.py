"""Where the plain front reads bodies of files: large ones not on the event loop."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from headrace.accepts import AcceptedText
from headrace.control import ModelState
from headrace.media import build
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.exchange import Core, Exchange
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
