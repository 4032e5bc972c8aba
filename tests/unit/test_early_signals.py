"""Signals to end that come before the supervisor is there, sent to this process itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from headrace import INTERRUPTED_STATUS
from headrace.early_signals import EarlySignals

_STATUSES = {signal.SIGTERM: 0, signal.SIGHUP: 0, signal.SIGINT: INTERRUPTED_STATUS}


@pytest.fixture
def signals() -> Iterator[EarlySignals]:
    """Signals that are listened to, until the test ends."""
    before = {number: signal.getsignal(number) for number in _STATUSES}
    found = EarlySignals()
    found.listen()
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), list(_STATUSES.items()))
def test_a_signal_is_remembered_by_its_status(
    signals: EarlySignals, number: signal.Signals, status: int
) -> None:
    assert signals.status is None
    signal.raise_signal(number)
    assert signals.status == status


@pytest.mark.parametrize("number", list(_STATUSES))
def test_it_raises_what_comes_and_what_has_come(
    signals: EarlySignals, number: signal.Signals
) -> None:
    signals.raise_()
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(number)
    assert caught.value.code == signals.status
    with pytest.raises(SystemExit):
        signals.raise_()


def test_only_the_first_raises_so_that_what_it_ends_ends_in_order(signals: EarlySignals) -> None:
    signals.raise_()
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)  # systemd's SendSIGHUP
    assert signals.status == 0


def test_what_is_raised_where_nobody_hears_it_is_remembered(
    signals: EarlySignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    unheard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: unheard.append(raised.exc_type))

    class Gone:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    signals.raise_()
    Gone()
    assert unheard == [SystemExit]
    assert signals.status == 0


def test_nothing_is_raised_once_it_is_to_be_remembered_again(signals: EarlySignals) -> None:
    signals.raise_()
    signals.remember()
    signal.raise_signal(signal.SIGTERM)
    assert signals.status == 0


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("number", "status"), list(_STATUSES.items()))
def test_the_process_ends_on_the_spot(number: signal.Signals, status: int, *, before: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _ENDS, str(number.value), str(before)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (status, "", "")


# Where an error that a handler raises is not heard.
_ENDS = """
import signal, sys
from headrace.early_signals import EarlySignals

class Gone:
    def __del__(self):
        signal.raise_signal(int(sys.argv[1]))

signals = EarlySignals()
signals.listen()
if sys.argv[2] == "True":
    Gone()
    signals.end()
else:
    signals.end()
    Gone()
print("went on")
"""


def test_what_is_ignored_stays_so(signals: EarlySignals) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.listen()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
