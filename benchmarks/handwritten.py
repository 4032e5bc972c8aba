"""What one would write by hand: the same Envoy and Python, and the model called in the handler.

It has no batches, deadlines, limits, checks, metrics, nor a process for the model. What it reaches
is what this machine has for a request in Python; the server is measured beside it, in turns.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson

from headrace.receiver.codecs.protobuf import message

_MODEL = "HANDWRITTEN_MODEL"
_ROOT = Path(__file__).parent.parent
_START_S = 20.0
_POLL_S = 0.05

_Request = message("inference.ModelInferRequest")
_Response = message("inference.ModelInferResponse")
_GRPC_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/grpc")],
    "trailers": True,
}
_GRPC_OK = {
    "type": "http.response.trailers",
    "headers": [(b"grpc-status", b"0")],
    "more_trailers": False,
}


@contextmanager
def handwritten(model: Path) -> Iterator[str]:
    """Run it on a free port; the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    program = Path(sys.executable).with_name("pyvoy")
    paths = os.pathsep.join([str(_ROOT), str(_ROOT / "src")])
    process = subprocess.Popen(
        [program, "benchmarks.handwritten:app", "--port", str(port), "--no-lifespan"],
        env={**os.environ, _MODEL: str(model), "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait(address: str) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        try:
            urllib.request.urlopen(f"http://{address}/")
        except urllib.error.HTTPError:
            return  # it says 404, and so it is there
        except OSError:
            time.sleep(_POLL_S)
    raise TimeoutError("the application written by hand did not start")


class _App:
    """The ASGI application; the model is loaded where Envoy runs it."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._run = onnxruntime.InferenceSession(os.environ[_MODEL], options).run

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            part = await receive()
            body += part["body"]
            more = part.get("more_body", False)
        if not body:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        elif scope["path"].endswith("/ModelInfer"):
            await self._grpc(body, send)
        else:
            await self._rest(body, dict(scope["headers"]), send)

    async def _grpc(self, body: bytes, send: Any) -> None:
        request = _Request.FromString(body[5:])
        x = np.frombuffer(request.raw_input_contents[0], np.float32)
        (y,) = self._run(None, {"x": x.reshape(tuple(request.inputs[0].shape))})
        output = {"name": "y", "datatype": "FP32", "shape": y.shape}
        reply = _Response(
            model_name=request.model_name, outputs=[output], raw_output_contents=[y.tobytes()]
        ).SerializeToString()
        await send(_GRPC_START)
        framed = b"\0" + len(reply).to_bytes(4, "big") + reply
        await send({"type": "http.response.body", "body": framed})
        await send(_GRPC_OK)

    async def _rest(self, body: bytes, headers: dict[bytes, bytes], send: Any) -> None:
        size = int(headers[b"inference-header-content-length"])
        header = orjson.loads(body[:size])
        x = np.frombuffer(body, np.float32, offset=size)
        (y,) = self._run(None, {"x": x.reshape(header["inputs"][0]["shape"])})
        parameters = {"binary_data_size": y.nbytes}
        output = {"name": "y", "datatype": "FP32", "shape": y.shape, "parameters": parameters}
        head = orjson.dumps({"model_name": "mlp", "outputs": [output]})
        data = head + y.tobytes()
        fields = [
            (b"inference-header-content-length", b"%d" % len(head)),
            (b"content-length", b"%d" % len(data)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": data})


app = _App() if _MODEL in os.environ else None
"""What pyvoy runs; None in the process that measures."""
