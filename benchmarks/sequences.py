"""Streams with a memory: many recordings heard at once, their requests in batches or one by one.

Every stream sends its next piece when the last one has been answered, as a microphone would, only
faster. The clients are Python on the same cores, which costs them about as much as the server.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from benchmarks import models
from benchmarks.figures import Figure
from headrace.testing import Server

_MODEL = "silero-vad"
_STREAMS = (1, 16, 64)
_CHANNELS = 8
_ROUNDS = 3
_PIECES = 6400
_SIZES = {"in batches": "64", "one by one": "1"}


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Ask two servers in turns, one of which makes no batches; medians."""
    found: dict[tuple[int, str], list[float]] = {}
    folder = models.folder(_MODEL)
    with (
        Server(folder, "--max-batch", _SIZES["in batches"]) as batches,
        Server(folder, "--max-batch", _SIZES["one by one"]) as single,
    ):
        servers = dict(zip(_SIZES, (batches, single), strict=True))
        for number in range(_ROUNDS):
            for streams in _STREAMS:
                for way, server in servers.items():
                    progress(f"round {number + 1} of {_ROUNDS}: {streams} streams, {way}")
                    rate_rps = asyncio.run(_hear(server.address, streams))
                    found.setdefault((streams, way), []).append(rate_rps)
    for (streams, way), rates in found.items():
        alone_rps = statistics.median(found[streams, "one by one"])
        rate_rps = statistics.median(rates)
        note = f"best {max(rates):,.0f}; {rate_rps / alone_rps:.2f} of one by one"
        yield Figure(f"{streams} streams, {way}", rate_rps, "requests/s", note=note)


async def _hear(address: str, streams: int) -> float:
    """Send all pieces, shared out among the streams; requests/s."""
    # Channels of one address share a connection unless they differ.
    channels = [
        grpc.aio.insecure_channel(address, [("headrace.channel", number)])
        for number in range(min(_CHANNELS, streams))
    ]
    pieces = max(_PIECES // max(streams, 4), 2)
    started_s = time.perf_counter()
    await asyncio.gather(
        *[_stream(channels[one % len(channels)], one + 1, pieces) for one in range(streams)]
    )
    took_s = time.perf_counter() - started_s
    for channel in channels:
        await channel.close()
    return streams * pieces / took_s


async def _stream(channel: grpc.aio.Channel, identity: int, pieces: int) -> None:
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    first, middle, last = (
        _request(identity, start=start, end=end)
        for start, end in ((True, False), (False, False), (False, True))
    )
    for message in (first, *[middle] * (pieces - 2), last):
        await infer(message, timeout=60)


def _request(identity: int, *, start: bool, end: bool) -> bytes:
    piece = np.random.default_rng(identity).normal(0, 0.1, (1, 576)).astype(np.float32)
    request = service_pb2.ModelInferRequest(model_name=_MODEL, raw_input_contents=[piece.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=piece.shape)
    request.parameters["sequence_id"].int64_param = identity
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    return bytes(request.SerializeToString())
