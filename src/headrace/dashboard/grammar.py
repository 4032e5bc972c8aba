"""The grammar of ``headrace dashboard``; it imports nothing that takes time, for ``--help``."""

from __future__ import annotations

import argparse

from headrace.models.ask import DEFAULT_URL

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080


def add(command: argparse.ArgumentParser) -> None:
    """Add the flags."""
    command.add_argument(
        "urls", nargs="*", metavar="URL", help=f"servers to show (default: {DEFAULT_URL})"
    )
    command.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help="the port of the page; 0 picks a free one (default %(default)s)",
    )
    command.add_argument(
        "--host",
        default=DEFAULT_HOST,
        help="the address of the page; it has no login (default %(default)s)",
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} should be a port, from 0 to 65535")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Show servers on a live page: what they do, how fast, and how much more they could.

    It asks them over the wire and needs nothing else of them; one that is down is shown as that.
    Stop it with Ctrl-C. Needs headrace[dashboard].
    """
    from headrace.dashboard.run import run_dashboard  # noqa: PLC0415 - --help need not wait for it

    return run_dashboard(options.urls or [DEFAULT_URL], options.host, options.port)
