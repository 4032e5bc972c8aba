from __future__ import annotations

import subprocess
import sys

import pytest

# What a process would import in vain: every model waits for the imports of its engine, and every
# request for those of the receiver. YAML was 8 % of them, rich 10 %.
IN_VAIN = {
    "headrace.engine.worker": (
        "openvino onnxruntime torch yaml google.protobuf prometheus_client rich"
    ),
    "headrace.receiver.main": "openvino onnxruntime torch rich",
    "headrace.receiver.scribe.worker": "openvino onnxruntime torch rich",
}


@pytest.mark.parametrize("process", IN_VAIN)
def test_a_process_imports_nothing_in_vain(process: str) -> None:
    code = f"import sys, {process}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(IN_VAIN[process].split()) & set(found.stdout.split()) == set()


def test_rich_is_there_for_who_wants_it_later() -> None:
    code = "import headrace.observe.without_rich, rich.console, structlog; print('both')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "both\n"
