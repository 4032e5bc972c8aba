from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.load.run import SENDER
from headrace.loader.engine_process import ENGINE, environment
from headrace.loader.nursery import NURSERY
from headrace.receiver.scribe_process import SCRIBE
from headrace.tune.lab_process import LAB

# What a process would import in vain: every model waits for the imports of its engine, and every
# request for those of the receiver. YAML was 8 % of them, rich 10 %.
IN_VAIN = {
    "headrace.engine.worker": (
        "openvino onnxruntime torch yaml google.protobuf prometheus_client rich.console"
    ),
    "headrace.receiver.main": "openvino onnxruntime torch rich.console",
    "headrace.receiver.scribe.worker": "openvino onnxruntime torch rich.console",
}


@pytest.mark.parametrize("process", IN_VAIN)
def test_a_process_imports_nothing_in_vain(process: str) -> None:
    """Each is started as it is, and ends at once: nobody tells it what to do."""
    command = [sys.executable, "-X", "importtime", "-m", process, "model/1"]
    ran = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", ran.stderr, re.MULTILINE))
    assert "headrace.startup" in imported
    assert "structlog" in imported
    assert imported.isdisjoint(IN_VAIN[process].split())


@pytest.mark.parametrize("command", [ENGINE, NURSERY, SCRIBE, LAB, SENDER])
def test_a_file_where_one_is_in_is_not_taken_for_a_module(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    for name in ("socket", "contextlib", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    subprocess.run(
        [*command, "model/1"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        env=environment(),
    )
    assert not (tmp_path / "run").exists()


def test_rich_is_there_for_who_wants_it_later_and_garbage_is_collected() -> None:
    code = "import headrace.startup as s, rich.console, structlog, gc; s.imported()"
    code += "; print(structlog.dev.rich, gc.isenabled(), gc.get_freeze_count() > 1000)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "None True True\n"


def test_nobody_but_a_process_of_a_server_imports_so() -> None:
    import headrace.app  # noqa: PLC0415
    import headrace.engine.worker  # noqa: PLC0415
    import headrace.receiver.scribe.worker  # noqa: F401, PLC0415

    assert gc.isenabled()
    assert "headrace.startup" not in sys.modules
