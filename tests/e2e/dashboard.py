"""A real ``headrace dashboard`` for tests, on a free port."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def dashboard(*urls: str) -> Iterator[str]:
    """Show servers, yield the address of the page, and see that SIGTERM is a good end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "dashboard", *urls, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None:
            raise AssertionError("it was started with a pipe")
        line = process.stdout.readline()
        assert line.startswith("Headrace dashboard: http://127.0.0.1:"), line
        yield line.rpartition(" ")[2].strip()
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
