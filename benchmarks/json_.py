"""JSON that is fast and in nobody's way: a large body costs the small calls beside it nothing.

One server with two models that compute next to nothing: a small one that is asked over gRPC at a
steady rate, and one of images, which are sent as JSON in some rounds, so that the p99 with and
without them are of one run.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
import onnx
import orjson
from onnx import TensorProto, helper

from benchmarks.figures import Figure
from headrace.engine_control import SignatureMessage
from headrace.load.arrivals import poisson
from headrace.load.payload import make_target
from headrace.load.plan import OpenLoop, Target
from headrace.load.report import make_report
from headrace.load.run import Sending
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.handover import messages as handover
from headrace.receiver.handover.messages import Answer, Job, Task
from headrace.receiver.handover.parcel import Parcel
from headrace.receiver.scribe.body import decode as read_body
from headrace.receiver.scribe.lists import ListParser
from headrace.receiver.scribe_process import MEMORY, SCRIBE
from headrace.testing import Server
from headrace.values import DType, Signature, TensorSpec

_IMAGE = (224, 224, 3)
_LARGE_ROWS = 18  # 30 MB
_MB = 1e6
_WANTED_MB_S, _WANTED_ADDED_MS = 300.0, 5.0
_DECODED = 200
_ROUNDS = 3
_RATE_RPS, _DURATION_S, _WARM_S = 200.0, 8.0, 1.0
_PAUSE_S = 0.1
_NICE = 10
# Each slot of an engine is memory that is new once.
_WARM_BODIES = 8
_MS = 1e3
_MODELS = {"small": (4,), "images": _IMAGE}

_SIGNATURE = Signature((TensorSpec("x", DType.FP32, (None, *_IMAGE)),), (), batched=True)


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Measure the scribe alone, then what others notice of it."""
    image, large = _body(1), _body(_LARGE_ROWS)
    for name, body in (("an image", image), ("a batch of images", large)):
        progress(f"decoding {name}")
        rates = _decode(body, _DECODED if body is image else _ROUNDS)
        yield Figure(
            f"decoded beside the event loop: {name} of {len(body) / _MB:.1f} MB",
            statistics.median(rates),
            "MB/s",
            _WANTED_MB_S if body is image else None,
            note=f"best {max(rates):.0f}; handed over and back through a memory file",
        )
    own = _own_part(image)
    yield Figure(
        f"of that, decoding alone: an image of {len(image) / _MB:.1f} MB",
        statistics.median(own),
        "MB/s",
        _WANTED_MB_S,
        note=f"best {max(own):.0f}; text to tensors, in the same process",
    )
    with TemporaryDirectory() as folder, Server(*_folders(Path(folder))) as server:
        target = make_target("oip-grpc", server.address, "small", [{"x": np.ones((1, 4), "f")}])
        yield from _beside(server, target, image, large, progress)


def _beside(
    server: Server,
    target: Target,
    image: bytes,
    large: bytes,
    progress: Callable[[str], None],
) -> Iterator[Figure]:
    """Small calls alone and beside JSON, in turns."""
    streams: dict[str, tuple[bytes, ...]] = {
        "images": (image,),
        "images and one of 30 MB each second": (*[image] * 10, large),
    }
    with Stream(server.address, (large,)) as stream:
        stream.wait_sent(_WARM_BODIES)
    alone: list[float] = []
    beside: dict[str, list[float]] = {name: [] for name in streams}
    sent = dict.fromkeys(streams, 0)
    for number in range(_ROUNDS):
        progress(f"round {number + 1} of {_ROUNDS}: small calls alone")
        alone.append(_p99_ms(target, number))
        for name, bodies in streams.items():
            progress(f"round {number + 1} of {_ROUNDS}: beside {name}")
            with Stream(server.address, bodies) as stream:
                beside[name].append(_p99_ms(target, number))
            sent[name] += stream.sent
    yield Figure(f"small gRPC calls alone, {_RATE_RPS:.0f}/s: p99", statistics.median(alone), "ms")
    for name, found in beside.items():
        p99_ms = statistics.median(found)
        yield Figure(
            f"added to their p99 by a stream of {name}",
            p99_ms - statistics.median(alone),
            "ms",
            _WANTED_ADDED_MS,
            at_most=True,
            note=f"p99 {p99_ms:.2f} ms, worst round {max(found):.2f}; "
            f"{sent[name]} bodies in {_ROUNDS * _DURATION_S:.0f} s",
        )


def _p99_ms(target: Target, seed: int) -> float:
    plan = OpenLoop(poisson(_RATE_RPS, _DURATION_S, seed=seed))
    with Sending(plan, target) as sending:
        report = make_report(sending.result(), warm_s=_WARM_S)
    if report.latency is None or report.failed:
        raise RuntimeError(f"{report.failed} small calls failed")
    return report.latency.p99_s * _MS


class Stream:
    """A client that posts bodies, one after the other with a pause, until the context ends."""

    def __init__(self, address: str, bodies: tuple[bytes, ...]) -> None:
        self._address = address
        self._bodies = bodies
        self._end = threading.Event()
        self._came = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def wait_sent(self, count: int) -> None:
        """Wait until so many have been answered."""
        while self.sent < count:
            self._came.wait()
            self._came.clear()

    def _run(self) -> None:
        # A client of this size has a machine of its own; here it stands back.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        connection = http.client.HTTPConnection(self._address)
        while not self._end.wait(_PAUSE_S):
            body = self._bodies[self.sent % len(self._bodies)]
            connection.request("POST", "/v1/models/images:predict", body)
            reply = connection.getresponse()
            if reply.status != http.client.OK:
                raise RuntimeError(reply.read().decode())
            reply.read()
            self.sent += 1
            self._came.set()
        connection.close()


def _own_part(body: bytes) -> list[float]:
    """Decode a body without handing it over, in MB/s each time."""
    parser, rates = ListParser(), []
    for _ in range(_DECODED):
        started_s = time.perf_counter()
        read_body(parser, body, Dialect.TFSERVING, _SIGNATURE)
        rates.append(len(body) / _MB / (time.perf_counter() - started_s))
    return rates[1:]


def _decode(body: bytes, times: int) -> list[float]:
    """Hand a body over to a scribe and take its tensors back, in MB/s each time."""
    text = handover.signature_text(SignatureMessage.of(_SIGNATURE))
    rates = []
    with _scribe() as channel:
        for number in range(times):
            parcel = Parcel.create(body)  # as it would have been received
            started_s = time.perf_counter()
            handover.put_text(parcel.descriptor, len(body), text)
            job = Job(number, len(body), len(text), Task.DECODE, Dialect.TFSERVING)
            socket.send_fds(channel, [job.pack()], [parcel.descriptor])
            answer = Answer.unpack(channel.recv(handover.MAX_FRAME_BYTES))
            report = os.pread(parcel.descriptor, answer.size_bytes, answer.offset)
            handover.read_report(report)
            rates.append(len(body) / _MB / (time.perf_counter() - started_s))
    return rates[1:]


@contextlib.contextmanager
def _scribe() -> Iterator[socket.socket]:
    """The process as the supervisor starts it, and a connection to it."""
    with TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(f"{folder}/s")
        listener.listen()
        process = subprocess.Popen(
            [*SCRIBE, str(listener.fileno()), "info", "auto"],
            stdin=subprocess.PIPE,
            pass_fds=(listener.fileno(),),
            env={**os.environ, **MEMORY},
        )
        channel = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        channel.connect(f"{folder}/s")
        try:
            yield channel
        finally:
            process.communicate()  # it ends with its standard input


def _body(rows: int) -> bytes:
    images = np.random.default_rng(7).random((rows, *_IMAGE), np.float32)
    return orjson.dumps({"instances": images}, option=orjson.OPT_SERIALIZE_NUMPY)


def _folders(root: Path) -> Iterator[Path]:
    """Models that give the mean of a row: what is large is what comes in."""
    for name, shape in _MODELS.items():
        axes = list(range(1, len(shape) + 1))
        graph = helper.make_graph(
            [helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=0)],
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        )
        (root / name / "1").mkdir(parents=True)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        onnx.save(model, str(root / name / "1" / "model.onnx"))
        yield root / name
