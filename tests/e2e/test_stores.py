"""How files of stores are read, over servers of their protocols."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.loader.remote import stores
from headrace.urls import Url
from tests.e2e.stores import Bucket, Gcs

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with Bucket() as running:
        _set(monkeypatch, running.environment)
        yield running


def _set(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def _fetch(text: str, to: Path) -> None:
    url = Url.parse(text)
    store = stores.open_store(url)
    (file,) = [file for file in store.files(url) if file.name == url.name]
    store.fetch(file, to, lambda _: None)


def test_a_file_may_take_longer_than_a_store_may_be_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stores, "READ_S", 0.6)
    with Gcs({"m.onnx": b"0123456789" * 10}, pause_s=0.1) as store:
        _set(monkeypatch, store.environment)
        _fetch("gs://models/m.onnx", tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"0123456789" * 10


FETCH = """
import re, sys
from pathlib import Path
from headrace.loader.remote.stores import open_store
from headrace.urls import Url

def most_mib():  # a process begins with its parent's `ru_maxrss`
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024

url = Url.parse("s3://models/m")
store = open_store(url)
(file,) = store.files(url)
before = most_mib()
store.fetch(file, sys.argv[1], lambda _: None)
print(most_mib() - before)
"""


def test_a_large_file_of_s3_takes_little_memory(bucket: Bucket, tmp_path: Path) -> None:
    size_mib = 200
    bucket.put("m/weights.bin", bytes(size_mib * 2**20))
    code = [sys.executable, "-c", FETCH, str(tmp_path / "weights.bin")]
    grown_mib = int(subprocess.run(code, check=True, capture_output=True, text=True).stdout)
    assert (tmp_path / "weights.bin").stat().st_size == size_mib * 2**20
    assert grown_mib < size_mib / 2


def test_a_store_that_refuses_is_told_in_a_line(tmp_path: Path) -> None:
    with Gcs({}, refusal=409) as store:
        where = os.environ | store.environment | {"HEADRACE_SERVER__CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "headrace", "check", "gs://models/m"]
        ended = subprocess.run(command, env=where, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headrace: gs://models/m: cannot be read: HttpError")
