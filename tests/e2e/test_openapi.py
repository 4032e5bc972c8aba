"""Whatever the document allows, and some that it does not: the answers are as it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.media_models import write_media
from tests.e2e.models import write_fake
from tests.e2e.server import Server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = write_media(tmp_path_factory.mktemp("described"))
    write_fake(root / "echo" / "1" / "model.fake")
    with Server(root, "--default-model", "echo") as running:
        yield running


def test_answers_are_as_the_document_says(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{server.url}/openapi.json",
            f"--checks={','.join(CHECKS)}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=6",
            "--seed=1",
            "--generation-database=none",
            "--suppress-health-check=all",
            "--warnings=off",
            # It would unload the models that it goes on to ask, or stop the log.
            "--exclude-path-regex=^/v2/(repository|logging|trace|.*sharedmemory)",
            # Else it finds that nobody answers within a nanosecond: 504, as documented.
            "--header=headrace-timeout-ms:30000",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
