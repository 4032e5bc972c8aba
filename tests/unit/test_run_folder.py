"""The folder of a run is gone after it, and what a killed one leaves when the next one starts."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import run_folder as module
from headrace.errors import StartError
from headrace.run_folder import run_folder, sweep

HELD = """
import os, signal, sys
from headrace.run_folder import run_folder
with run_folder() as folder:
    (folder / "some.sock").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _age(folder: Path) -> None:
    os.utime(folder, (0, 0))


def _left(place: Path) -> Path:
    """What is left when one is killed."""
    running = subprocess.Popen(
        [sys.executable, "-c", HELD],
        env={**os.environ, "TMPDIR": str(place)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stdout is not None
        folder = Path(running.stdout.readline().strip())
        running.kill()
    assert folder.parent == place
    _age(folder)
    return folder


def test_it_is_there_for_the_run_and_then_gone(place: Path) -> None:
    with run_folder() as folder:
        (folder / "inner").mkdir()
        assert folder.parent == place
        assert folder.stat().st_mode & 0o77 == 0
    assert list(place.iterdir()) == []


def test_a_machine_without_a_place_for_it_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Python finds when no folder can be written, and when the one it chose is full."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with (
        pytest.raises(StartError, match="set TMPDIR to a folder that can be written"),
        run_folder(),
    ):
        pass

    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(StartError, match=r"No usable temporary .*; set TMPDIR"), run_folder():
        pass


def test_what_a_killed_one_has_left_goes_when_the_next_one_starts(place: Path) -> None:
    left = _left(place)
    with run_folder() as folder:
        assert list(place.iterdir()) == [folder]
    assert not left.exists()


def test_one_that_runs_is_left_alone_however_old_it_is(place: Path) -> None:
    with run_folder() as first:
        _age(first)
        with run_folder() as second:
            assert set(place.iterdir()) == {first, second}


def _is_young(folder: Path) -> None:
    folder.touch()


def _was_on_another_machine(folder: Path) -> None:
    (folder / "boot").write_text("another")
    _age(folder)


def _has_no_lock(folder: Path) -> None:
    (folder / ".lock").unlink()
    _age(folder)


def _is_a_link(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    _age(elsewhere)
    os.utime(folder, (0, 0), follow_symlinks=False)


def _has_another_name(folder: Path) -> None:
    folder.rename(folder.with_name("headrace-tune-abcdefgh"))


@pytest.mark.parametrize(
    "change",
    [_is_young, _was_on_another_machine, _has_no_lock, _is_a_link, _has_another_name],
)
def test_what_is_not_certainly_nobodys_stays(place: Path, change: Callable[[Path], None]) -> None:
    change(_left(place))
    sweep(place)
    assert [folder for folder in place.iterdir() if (folder / "some.sock").exists()]


def test_what_another_user_has_left_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = _left(place)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    sweep(place)
    assert left.exists()


def test_where_the_system_does_not_tell_its_starts_nothing_is_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = _left(place)
    monkeypatch.setattr(module, "_BOOT", place / "nowhere")
    with run_folder() as folder:
        assert set(place.iterdir()) == {left, folder}
