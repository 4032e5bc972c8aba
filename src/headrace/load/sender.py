"""The sender process: ``python -m headrace.load.sender ORDER RESULT``.

A process of its own, so that what is measured is the server and not the caller's other work. It
says on its standard output when it starts, in seconds of the monotonic clock.
"""

from __future__ import annotations

import sys
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.load.generator import generate
from headrace.load.parcel import read_order, write_result


def main(order: str, result: str) -> int:
    """Do what the order says and write the result; return the exit status."""
    try:
        write_result(Path(result), generate(*read_order(Path(order)), on_start=_say))
    except HeadraceError as error:
        sys.stderr.write(error.message)
        return 1
    except KeyboardInterrupt:  # the caller was interrupted too
        return 130
    return 0


def _say(started_s: float) -> None:
    sys.stdout.write(f"{started_s!r}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
