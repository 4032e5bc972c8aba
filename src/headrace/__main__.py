"""The ``headrace`` command, also as ``python -m headrace``.

Imports take a third of the time in which a server starts: what ``serve`` will need anyway is begun
before them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

from headrace import INTERRUPTED_STATUS

_READER_LEFT = 1
_OPERATOR_STATUS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, of ``sys.argv`` unless it is given, and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Nobody could catch what is raised amid imports, and one inside ``exec``, as of dataclasses,
    # would end Python by the signal even when it is caught.
    uncaught = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if uncaught:  # and not ignored, as it is in the background of a script
        signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED_STATUS))
    if list(arguments[:1]) == ["serve"]:
        return _serve(arguments)
    from headrace.cli import main as run  # noqa: PLC0415 - only here: see above

    if uncaught:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return _written(run, arguments)


def _written(run: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command, and see that what it has printed is written.

    The status is 2 where it cannot be (a full disk), and 1 without a word where its reader has
    left (``| head``).
    """
    from headrace.outlets import open_output  # noqa: PLC0415 - serve has others

    output = open_output()
    try:
        status = run(arguments)
        if sys.stdout is not None:  # it was closed before the start
            sys.stdout.flush()
    except OSError:
        if output is None or output.lost is None:  # it was of something else
            raise
    if output is None or output.lost is None:
        return status
    lost = output.lost
    if isinstance(lost, BrokenPipeError):
        return _READER_LEFT
    sys.stderr.write(f"headrace: standard output cannot be written: {lost.strerror}\n")
    return _OPERATOR_STATUS


def _serve(arguments: Sequence[str]) -> int:
    from headrace.startup import imported  # noqa: PLC0415 - before all else

    # isort: split
    import asyncio  # noqa: PLC0415 - no other command needs it so soon

    from headrace.early_signals import EarlySignals  # noqa: PLC0415 - the same
    from headrace.loader.engine_process import watch_children  # noqa: PLC0415 - the same
    from headrace.loader.nursery import Beginning, Nursery  # noqa: PLC0415 - the same
    from headrace.outlets import open_outlets  # noqa: PLC0415 - the same

    open_outlets()
    signals = EarlySignals()
    signals.listen()
    watch_children()
    with asyncio.Runner() as runner:
        nursery = Nursery()
        runner.run(nursery.start())
        try:
            signals.end()  # the nursery ends with us
            from headrace.cli import main as run  # noqa: PLC0415 - while the other one starts

            return run(arguments, Beginning(runner, nursery, signals, imported))
        finally:
            signals.remember()
            runner.run(nursery.end())
            signals.ignore(runner.get_loop())


if __name__ == "__main__":
    sys.exit(main())
