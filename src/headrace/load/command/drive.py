"""A run with its progress shown, which Ctrl-C ends without losing what was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

from headrace.load.look import Look, look
from headrace.load.plan import Plan, Target
from headrace.load.result import Kind, Result
from headrace.load.rows import Rows
from headrace.load.run import Sending

# Often enough to look alive, and too seldom to take a core from anybody.
_EVERY_S = 0.5
_WINDOW_S = 1.0
_MS = 1e3


class Screen:
    """A line of progress that is written over; nothing where nobody watches."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self.heading = ""

    def say(self, words: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(words), soft_wrap=True)

    def show(self, words: str) -> None:
        """Show a line."""
        if self._live is not None:
            text = f"{self.heading}  {words}" if self.heading else words
            self._live.update(Text(text, "dim", no_wrap=True, overflow="ellipsis"), refresh=True)


@contextmanager
def screen(console: Console) -> Iterator[Screen]:
    """Give a line of progress, gone at the end."""
    if not console.is_terminal:
        yield Screen(console, None)
        return
    live = Live(console=console, auto_refresh=False, transient=True)
    live.start()
    try:
        yield Screen(console, live)
    finally:
        with suppress(OSError):  # the terminal is gone, and the line with it
            live.stop()


class Hurried(KeyboardInterrupt):
    """Ctrl-C for the second time: nobody wants to wait for the last answers."""


GiveUp = Callable[[Sequence[Rows], float], bool]
"""Whether a run need not go on, by its rows so far and the seconds since its start."""


def drive(
    plan: Plan, target: Target, senders: int, shown: Screen, give_up: GiveUp | None = None
) -> tuple[Result, bool]:
    """Run a plan; return what came of it, and whether Ctrl-C ended it early.

    Raises:
        StartError: the target does not answer, or a sender died.
        Hurried: Ctrl-C came again while the last answers were awaited.
    """
    interrupted = False
    with Sending(plan, target, senders) as sending:
        started_s = sending.wait_started()
        while True:
            try:
                while not sending.has_ended(_EVERY_S):
                    at_s = time.monotonic() - started_s
                    now = look(sending.rows(), at_s, _WINDOW_S)
                    shown.show(_in_words(now, plan.duration_s))
                    if give_up is not None and give_up(sending.rows(), at_s):
                        sending.stop()
                return sending.result(), interrupted
            except KeyboardInterrupt:
                if interrupted:
                    raise Hurried from None
                interrupted = True
                sending.stop()


def _in_words(now: Look, duration_s: float) -> str:
    words = [
        f"{min(now.at_s, duration_s):.0f} of {duration_s:.0f} s",
        f"{now.sent:,} sent",
        f"{now.per_s:,.0f} answers/s",
    ]
    if now.p50_s is not None and now.p99_s is not None:
        words.append(f"p50 {now.p50_s * _MS:.2f} ms, p99 {now.p99_s * _MS:.2f} ms")
    others = [
        f"{now.ended[kind]:,} {kind.value}"
        for kind in Kind
        if kind is not Kind.OK and now.ended[kind]
    ]
    return "  ".join([*words, *others])
