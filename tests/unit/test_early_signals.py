"""Signals to end that come before the supervisor is there; each test has a process to send them to.

Sent to that of the tests, a signal that is not taken would end them all.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from headrace import INTERRUPTED_STATUS

_STATUSES = {signal.SIGTERM: 0, signal.SIGHUP: 0, signal.SIGINT: INTERRUPTED_STATUS}
_ALL = pytest.mark.parametrize(("number", "status"), list(_STATUSES.items()))

# ``send`` is heard where it stands; of ``lose`` an error that a handler raises is not.
_BEGINNING = """
import signal, sys
from headrace.early_signals import EarlySignals

class Gone:
    def __del__(self):
        send()

def send(number=int(sys.argv[1])):
    signal.raise_signal(number)

def lose():
    Gone()

signals = EarlySignals()
signals.listen()
"""


def _run(code: str, number: int = signal.SIGTERM) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _BEGINNING + code, str(int(number))],
        capture_output=True,
        text=True,
        check=False,
    )


@_ALL
def test_a_signal_is_remembered_by_its_status(number: signal.Signals, status: int) -> None:
    ran = _run("print(signals.status); send(); print(signals.status)", number)
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, ["None", str(status)], "")


@pytest.mark.parametrize("code", ["signals.raise_(); send()", "send(); signals.raise_()"])
@_ALL
def test_it_raises_what_comes_and_what_has_come(
    number: signal.Signals, status: int, code: str
) -> None:
    caught = f"\ntry:\n    {code}\nexcept SystemExit as end:\n    print('raised', end.code)"
    ran = _run(caught, number)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"raised {status}\n", "")


def test_only_the_first_raises_so_that_what_it_ends_ends_in_order() -> None:
    ran = _run("""
signals.raise_()
try:
    send()
    print("went on")
finally:
    send(signal.SIGHUP)  # systemd's SendSIGHUP
    print("in order")
""")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "in order\n", "")


def test_what_is_raised_where_nobody_hears_it_is_remembered() -> None:
    ran = _run("signals.raise_(); lose(); print(signals.status)")
    assert (ran.returncode, ran.stdout) == (0, "0\n")
    assert "Exception ignored in: <function Gone.__del__" in ran.stderr


def test_nothing_is_raised_once_it_is_to_be_remembered_again() -> None:
    ran = _run("signals.raise_(); signals.remember(); send(); print(signals.status)")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "0\n", "")


@pytest.mark.parametrize("code", ["lose(); signals.end()", "signals.end(); lose()"])
@_ALL
def test_the_process_ends_on_the_spot(number: signal.Signals, status: int, code: str) -> None:
    ran = _run(f"{code}; print('went on')", number)
    assert (ran.returncode, ran.stdout, ran.stderr) == (status, "", "")


def test_what_is_ignored_stays_so() -> None:
    ran = _run("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signals.listen()
send(signal.SIGHUP)
print(signals.status, signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
""")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "None True\n", "")


@pytest.mark.parametrize("number", list(_STATUSES))
def test_when_the_status_is_known_none_changes_it(number: signal.Signals) -> None:
    ran = _run(
        f"""
import asyncio

with asyncio.Runner() as runner:
    runner.get_loop().add_signal_handler({int(number)}, lambda: None)
    signals.ignore(runner.get_loop())
    send()
send()
print(signals.status)
""",
        number,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "None\n", "")
