"""The grammar of ``headrace load``; it imports nothing that takes time, for ``--help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from headrace.load.command.ends import end_by_signals

SCENARIOS = ("single-stream", "multi-stream", "server", "offline")
PROTOCOLS = ("oip-grpc", "oip-rest", "tfs-grpc", "tfs-rest", "plain")


def add(command: argparse.ArgumentParser) -> None:
    """Add the flags."""
    command.add_argument(
        "url", metavar="URL", nargs="?", help="the server: http://host:port or host:port"
    )
    command.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="NAME",
        help="the model to ask; with --compare a second one is that of the second server",
    )
    command.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default=PROTOCOLS[0],
        help="how to ask: the Open Inference Protocol (oip) or TensorFlow Serving's (tfs), over "
        "gRPC or REST, or plain JSON (default: %(default)s)",
    )
    load = command.add_argument_group("the load")
    _add_load(load)
    _add_course(load)
    _add_requests(command.add_argument_group("the requests"))
    _add_answers(command.add_argument_group("what is told"))


def _add_load(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--rate",
        type=float,
        metavar="R",
        help="open loop: requests a second, sent at their times whatever the answers do",
    )
    group.add_argument(
        "--concurrency",
        type=int,
        metavar="C",
        help="closed loop: callers, each of whom sends when it has its answer",
    )
    group.add_argument(
        "--find-max",
        action="store_true",
        help="search for the highest rate that keeps --slo-ms for 99 of 100 requests; --rate is "
        "the first one tried",
    )
    group.add_argument(
        "--scenario",
        choices=SCENARIOS,
        help="one of MLPerf's, for 600 s unless --duration-s says otherwise; server needs --rate "
        "and --slo-ms, offline takes --concurrency (default: 64)",
    )
    group.add_argument(
        "--loadgen",
        action="store_true",
        help="have MLCommons' LoadGen drive the --scenario: pip install 'headrace[mlperf]'",
    )
    group.add_argument(
        "--compare",
        nargs=2,
        metavar=("URL_A", "URL_B"),
        help="measure two in turns, in slices of 2 s, A B B A; --duration-s (default: 20) is that "
        "of each",
    )


def _add_course(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--arrivals",
        default="poisson",
        metavar="HOW",
        help="of an open loop: poisson, constant, bursts (its rate jumps by four), or trace:FILE, "
        "a file of send times in seconds, one a line; with --rate a trace is stretched to it "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--duration-s",
        type=float,
        metavar="S",
        help="how long to send (default: 10; of a trace all of it)",
    )
    group.add_argument(
        "--warm-up-s",
        type=float,
        metavar="S",
        help="how much of that is not counted (default: a tenth, at most 2)",
    )
    group.add_argument(
        "--senders",
        type=int,
        default=1,
        metavar="N",
        help="processes that send (default: %(default)s)",
    )
    group.add_argument(
        "--connections",
        type=int,
        metavar="N",
        help="connections of each sender (default: 2 over gRPC; over HTTP as many as callers, or "
        "up to 256)",
    )
    group.add_argument(
        "--timeout-s",
        type=float,
        metavar="S",
        help="how long a request is waited for (default: 10; with --find-max four objectives, at "
        "least 1)",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of arrivals and made-up requests"
    )


def _add_requests(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="real requests: .npz (an array for each input), .npy, .json, an image or any other "
        "file, or a folder of those (default: made up from what the server says the model takes)",
    )
    group.add_argument("--batch", type=int, metavar="N", help="rows of a request (default: 1)")
    group.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=SIZES",
        help="the shape of an input, as in ids=1,128, with its type where the server cannot be "
        "asked: ids=INT64:1,128; once for each",
    )
    group.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a header to send with every request, as gateways want them; once for each",
    )


def _add_answers(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--slo-ms", type=float, metavar="M", help="the latency within which an answer counts"
    )
    group.add_argument(
        "--lag-limit-ms",
        type=float,
        metavar="M",
        help="how late the sender may be at p99 before the run is void (default: 1, or 5%% of the "
        "objective where that is less)",
    )
    group.add_argument("--json", action="store_true", help="print one JSON object")
    group.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write a page with drawings, whole in itself",
    )


def run(options: argparse.Namespace) -> int:
    """Load a server and tell what it is like for those who wait.

    With --rate requests are sent on a schedule, and a latency counts from the moment a request was
    meant to be sent. Any server that speaks the protocol can be loaded. Exit status 1: the numbers
    are not to be believed, or there are none; 2: something to change.
    """
    end_by_signals()
    # Imported here: --help need not wait for it.
    if options.find_max:
        from headrace.load.command.find import run_find  # noqa: PLC0415

        return run_find(options)
    if options.loadgen:
        from headrace.load.command.official import run_official  # noqa: PLC0415

        return run_official(options)
    if options.compare:
        from headrace.load.command.compare import run_compare  # noqa: PLC0415

        return run_compare(options)
    from headrace.load.command.once import run_once  # noqa: PLC0415

    return run_once(options)
