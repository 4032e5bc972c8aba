"""Where and what to send while a plan is measured: as ``headrace load`` does it."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

from headrace.load import ask
from headrace.load.command import grammar
from headrace.load.command.prepare import prepare
from headrace.load.command.wanted import read
from headrace.load.payload import APIS
from headrace.load.plan import Target
from headrace.load.synthetic import complete


class Sent(NamedTuple):
    """A target, and the input elements of one row of its requests; None of requests from files."""

    target: Target
    elements: int | None


class Requests(NamedTuple):
    """What requests are like: as the flags of ``headrace load`` say it."""

    protocol: str
    rows: int
    data: Path | None
    shapes: tuple[str, ...]


def make_sent(url: str, model: str, requests: Requests) -> Sent:
    """Make the target, and see that it answers.

    Raises:
        SettingsError: the server does not take such requests.
        StartError: nobody answers there.
    """
    words = [url, "--model", model, "--rate", "1", "--protocol", requests.protocol]
    words += ["--batch", str(requests.rows)]
    for shape in requests.shapes:
        words += ["--shape", shape]
    if requests.data is not None:
        words += ["--data", str(requests.data)]
    parser = argparse.ArgumentParser()
    grammar.add(parser)
    wanted = read(parser.parse_args(words))
    target = prepare(wanted)
    if requests.data is not None:
        return Sent(target, None)
    specs = ask.find_specs(APIS[wanted.protocol], wanted.address, model, wanted.headers)
    whole = complete(specs, wanted.shapes, wanted.rows)
    sizes = [[size for size in spec.shape[1:] if isinstance(size, int)] for spec in whole]
    return Sent(target, sum(math.prod(row) for row in sizes))
