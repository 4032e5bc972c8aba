from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, headrace.engine.worker
others = {"openvino", "onnxruntime", "torch", "yaml", "google.protobuf", "prometheus_client"}
print(sorted(others & sys.modules.keys()))
"""


def test_an_engine_imports_no_library_of_models_before_it_knows_its_own_and_no_yaml() -> None:
    """Every model waits for the imports of its engine; YAML was 8 % of them."""
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
