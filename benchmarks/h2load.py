"""Closed loops with h2load, which costs a few microseconds a request and so measures the server.

It comes with Debian's and Ubuntu's ``nghttp2-client``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GRPC_HEADERS = (("content-type", "application/grpc"), ("te", "trailers"))
_RATE = re.compile(r"finished in .*?, ([\d.]+) req/s")
_DONE = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_US_IN_MS = 1000


class LoadFailed(Exception):
    """h2load is not installed, or a request was not answered well."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: ``connections`` x ``streams`` requests are in flight (HTTP/1.1: one each)."""

    url: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    http1: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What came back."""

    rate_rps: float
    p50_ms: float
    p99_ms: float


def run(load: Load, requests: int, connections: int, streams: int = 1) -> Measured:
    """Send so many requests and wait for all answers.

    Raises:
        LoadFailed: h2load is not installed, or an answer was not a success.
    """
    program = shutil.which("h2load")
    if program is None:
        raise LoadFailed("h2load is not installed: apt-get install nghttp2-client")
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(load.body)
        command = [program, "-t1", "-n", str(requests), "-c", str(connections), "-d", str(body)]
        command += ["--log-file", str(log), *(["--h1"] if load.http1 else ["-m", str(streams)])]
        for name, value in load.headers:
            command += ["-H", f"{name}: {value}"]
        done = subprocess.run([*command, load.url], capture_output=True, text=True, check=False)
        rows = np.loadtxt(log, usecols=(1, 2), ndmin=2)
    _check(done.stdout, rows[:, 0], requests)
    rate = _RATE.search(done.stdout)
    latencies_ms = rows[:, 1] / _US_IN_MS
    return Measured(
        rate_rps=float(rate[1]) if rate else 0.0,
        p50_ms=float(np.quantile(latencies_ms, 0.5)),
        p99_ms=float(np.quantile(latencies_ms, 0.99)),
    )


def _check(output: str, statuses: np.ndarray[tuple[int], np.dtype[np.float64]], sent: int) -> None:
    counts = _DONE.search(output)
    if counts is None or int(counts[1]) != sent or not (statuses == 200).all():
        raise LoadFailed(f"not every request was answered well:\n{output}")
