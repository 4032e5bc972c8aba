"""The set-up that ``make`` does: whom it turns away, and that it is done once.

Installing itself is what every run of CI does first; here pip is a script that writes down what it
is asked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAKE = shutil.which("make")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MAKE is None, reason="there is no make here"),
]


def _make(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        [str(MAKE), "--directory", ROOT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def _python(path: Path, version: str, log: Path) -> Path:
    """A Python of a version, which can make environments of itself; what pip does is logged."""
    numbers = tuple(map(int, version.split(".")))
    refuses = int(numbers < (3, 11))
    return _script(
        path,
        f'case "$*" in\n'
        f"*print*) echo {version};;\n"
        f"*sys.exit\\(sys.version_info*) exit {refuses};;\n"
        f'*"not \\"{version}\\" =="*) exit 0;;\n'
        f'*"sys.exit(not"*) exit 1;;\n'
        f'*"-m venv"*) for last; do :; done; mkdir -p $last/bin; cp $0 $last/bin/python;;\n'
        f'*) echo "{version} $*" >> {log};;\n'
        f"esac",
    )


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = _python(tmp_path / "old", "3.9", tmp_path / "log")
    answer = _make("setup", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert answer.returncode != 0
    assert f"needs Python 3.11 or newer and '{old}' is 3.9" in answer.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    answer = _make("setup", "PYTHON=python3.99", f"VENV={tmp_path}/venv")
    assert answer.returncode != 0
    assert "No 'python3.99' here: install Python 3.11 or newer" in answer.stderr


def test_set_up_upgrades_pip_first_and_is_done_once(tmp_path: Path) -> None:
    log, arguments = tmp_path / "log", [f"VENV={tmp_path}/venv"]
    arguments.append(f"PYTHON={_python(tmp_path / 'python', '3.12', log)}")
    assert _make("setup", *arguments).returncode == 0
    asked = log.read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in asked] == [
        "pip",
        ".[demo,dev]",
        ".[demo,dev,conformance]",
        "tensorflow-serving-api>=2.18",
        "torch==2.13.0+cpu",
    ]
    assert "--upgrade" in asked[0]
    assert _make("setup", *arguments).returncode == 0
    assert log.read_text().splitlines() == asked


def test_another_python_makes_the_environment_anew(tmp_path: Path) -> None:
    log, venv = tmp_path / "log", f"VENV={tmp_path}/venv"
    for version in ("3.12", "3.13"):
        python = _python(tmp_path / version, version, log)
        assert _make("setup", venv, f"PYTHON={python}").returncode == 0
    versions = [line.partition(" ")[0] for line in log.read_text().splitlines()]
    assert versions == ["3.12"] * 5 + ["3.13"] * 5


def test_an_environment_made_by_hand_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    python = _python(tmp_path / "python", "3.12", log)
    _python(tmp_path / "venv/bin/python", "3.12", log)
    (tmp_path / "venv/bin/mine").touch()
    assert _make("setup", f"PYTHON={python}", f"VENV={tmp_path}/venv").returncode == 0
    assert (tmp_path / "venv/bin/mine").exists()


def test_help_lists_every_target() -> None:
    listed = _make().stdout
    for target in (
        "demo",
        "test",
        "conformance",
        "check",
        "e2e",
        "docs",
        "bench",
        "setup",
        "clean",
    ):
        assert f"make {target}" in listed
