from __future__ import annotations

import subprocess
import sys

import pytest

# Ctrl-C comes while the command line is being imported, inside a text that is run: dataclasses
# do so, and Python ends by the signal when ``KeyboardInterrupt`` is raised in one.
INTERRUPTED = """
import signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "headrace.cli":
            exec("signal.raise_signal(signal.SIGINT)")

sys.meta_path.insert(0, Finder())
from headrace.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [["serve", "model.onnx"], ["version"]], ids=" ".join)
def test_ctrl_c_amid_imports_ends_it_without_a_traceback(command: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *command], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_ctrl_c_that_is_ignored_stays_so() -> None:
    ignored = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{INTERRUPTED}"
    ran = subprocess.run(
        [sys.executable, "-c", ignored, "version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("headrace ")
