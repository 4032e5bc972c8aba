from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("words", ["version", "check model.fake", "check model.fake --json"])
def test_what_cannot_be_written_is_told_without_a_traceback(words: str, tmp_path: Path) -> None:
    (tmp_path / "model.fake").write_text("{}")
    command = [sys.executable, "-m", "headrace", *words.split()]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    said = "headrace: standard output cannot be written: No space left on device\n"
    assert (ran.returncode, ran.stderr) == (2, said)


@pytest.mark.parametrize("words", ["version", "check model.fake", "check model.fake --json"])
def test_a_reader_that_leaves_ends_a_command_without_a_word(words: str, tmp_path: Path) -> None:
    (tmp_path / "model.fake").write_text("{}")
    command = [sys.executable, "-m", "headrace", *words.split()]
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (1, "")
