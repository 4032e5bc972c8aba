"""The page at /docs in a browser: it draws itself, within its own policy."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.server import Server

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here"),
]


def test_the_page_shows_the_models_and_endpoints(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={tmp_path}",
            "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            "--dump-dom",
            f"{server.url}/docs",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    assert "CONSOLE" not in done.stderr, done.stderr  # an error, or a breach of the policy
    assert re.search(r"2 models serve at http://127\.0\.0\.1", done.stdout)
    assert re.findall(r"<h3>(\w+)</h3>", done.stdout) == ["labelled", "linear"]
    assert f"curl '{server.url}/predict/linear'" in done.stdout
    assert '{"input":[[0,0,0,0]]}' in done.stdout
    assert "<code>/predict/{model}</code>" in done.stdout
