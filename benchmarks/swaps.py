"""A thousand swaps in a row, under light traffic: whether anything is left behind by one.

A file is written anew and its model loaded in place of the one that serves, again and again. What
the server's processes hold after the first hundred is set against what they hold after the last.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

from benchmarks import models
from benchmarks.figures import Figure
from headrace.testing import Server

_SWAPS, _SETTLED = 1000, 100
_BACKEND = "onnxruntime"  # named, or each load would try two
_PAUSE_S = 0.05  # between two requests of the traffic
_TIMEOUT_S = 60.0
_QUIET_S = 2.0  # until the last connection of the traffic is closed on the other side, too
_GROWTH = 2.0  # % of memory, as in soak
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Held:
    """What a server holds at one moment."""

    supervisor_bytes: int
    receiver_bytes: int
    supervisor_fds: int
    receiver_fds: int
    supervisor_threads: int
    receiver_threads: int
    receiver_mappings: int
    processes: int
    zombies: int
    run_files: int
    cache_entries: int
    shm_files: int


def measure(progress: Callable[[str], None], swaps: int = _SWAPS) -> Iterator[Figure]:
    """Swap a model again and again; the first tenth settles it."""
    with tempfile.TemporaryDirectory(prefix="swaps-") as folder:
        root = Path(folder)
        model = root / "models" / models.TINY
        shutil.copytree(models.folder(models.TINY), model)
        (root / "run").mkdir()
        environment = {
            "TMPDIR": str(root / "run"),
            "HEADRACE_SERVER__CACHE_DIR": str(root / "cache"),
        }
        with Server(
            root / "models",
            "--model-control",
            "explicit",
            "--backend",
            _BACKEND,
            environment=environment,
        ) as server:
            yield from _swap(server, root, model, swaps, progress)


def _swap(
    server: Server, root: Path, model: Path, swaps: int, progress: Callable[[str], None]
) -> Iterator[Figure]:
    file = next((model / "1").glob("model.*"))
    settled = min(_SETTLED, swaps // 10)
    moments, sent, failed = [], 0, 0
    for numbers in (range(1, settled + 1), range(settled + 1, swaps + 1)):
        with Traffic(server) as traffic:
            for number in numbers:
                progress(f"swap {number} of {swaps}")
                os.utime(file)  # another time of writing: to the server that is another model
                swap(server, model.name)
        sent, failed = sent + traffic.sent, failed + traffic.failed
        time.sleep(_QUIET_S)
        moments.append(held(server, root))
    first, last = moments
    yield Figure(
        f"{swaps} swaps: requests that failed",
        float(failed),
        "",
        0,
        at_most=True,
        note=f"of {sent}",
    )
    before, after = asdict(first), asdict(last)
    for name in before:
        yield _growth(name, before[name], after[name])


def _growth(name: str, before: int, after: int) -> Figure:
    title = f"growth of {name.removesuffix('_bytes').replace('_', ' ')}"
    if not name.endswith("_bytes"):
        return Figure(title, after - before, "", 0, at_most=True, note=f"{before} to {after}")
    return Figure(
        f"{title}: memory",
        100 * (after - before) / before,
        "%",
        _GROWTH,
        at_most=True,
        note=f"{before / _MIB:.1f} MiB to {after / _MIB:.1f} MiB",
    )


def swap(server: Server, name: str) -> None:
    """Have a model loaded anew; returns when the new one serves and the old one has gone."""
    url = f"{server.url}/v2/repository/models/{name}/load"
    order = urllib.request.Request(url, data=b"{}", method="POST")  # noqa: S310 - ours
    with urllib.request.urlopen(order, timeout=_TIMEOUT_S):  # noqa: S310
        return


def held(server: Server, root: Path) -> Held:
    """Look at the processes of a server, and at its folders ``run`` and ``cache`` below a root."""
    supervisor = psutil.Process(server.process.pid)
    (receiver_pid,) = server.receivers()
    receiver = psutil.Process(receiver_pid)
    family = supervisor.children(recursive=True)
    return Held(
        supervisor_bytes=supervisor.memory_info().rss,
        receiver_bytes=receiver.memory_info().rss,
        supervisor_fds=supervisor.num_fds(),
        receiver_fds=receiver.num_fds(),
        supervisor_threads=supervisor.num_threads(),
        receiver_threads=receiver.num_threads(),
        receiver_mappings=len(Path(f"/proc/{receiver_pid}/maps").read_text().splitlines()),
        processes=len(family),
        zombies=sum(one.status() == psutil.STATUS_ZOMBIE for one in family),
        run_files=len(list((root / "run").rglob("*"))),
        cache_entries=len(list((root / "cache").rglob("*.entry"))),
        shm_files=len(list(Path("/dev/shm").iterdir())),  # noqa: S108 - looked at, not written
    )


class Traffic:
    """One client that asks the model, again and again, while the context lasts."""

    def __init__(self, server: Server) -> None:
        self.sent = 0
        self.failed = 0
        self._url = f"{server.url}/predict"
        self._body = json.dumps({"input": models.requests(models.TINY)[0]["x"].tolist()}).encode()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE_S):
            self.sent += 1
            try:
                with urllib.request.urlopen(self._url, self._body, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                    answer.read()
            except (OSError, urllib.error.URLError):
                self.failed += 1
