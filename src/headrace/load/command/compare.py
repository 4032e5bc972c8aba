"""Two servers, or two models of one, in turns: short slices A B B A."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from headrace.errors import HeadraceError, SettingsError, StartError
from headrace.load.address import read_address
from headrace.load.command import show_compared, written
from headrace.load.command.compared import NAMES, Compared, Side
from headrace.load.command.drive import Screen, drive, screen
from headrace.load.command.once import tell, tell_all, tell_interrupted
from headrace.load.command.prepare import prepare
from headrace.load.command.wanted import Wanted, arrivals, is_traced, read
from headrace.load.join import join
from headrace.load.pairs import FEWEST_BLOCKS, turns
from headrace.load.plan import OpenLoop, Plan, Target
from headrace.load.report import make_report
from headrace.load.result import Result
from headrace.load.verdict import judge

# Long enough for some hundred requests, short beside the minutes in which a machine drifts.
_SLICE_S = 2.0
_WARM_SHARE = 0.15
_A_BLOCK = 4


def run_compare(options: argparse.Namespace) -> int:
    """Do what the flags say, and return the exit status."""
    try:
        sides = _sides(options)
        written.check(options.report)
        with screen(Console(stderr=True)) as shown:
            compared = compare(sides, shown)
    except KeyboardInterrupt:
        return tell_interrupted("no block of slices came to its end", as_json=options.json)
    except HeadraceError as error:
        return tell(error, as_json=options.json)
    document = show_compared.document(sides[0], compared)
    unwritten = written.try_write(
        options.report, lambda: written.of_pair(sides[0], compared, document)
    )
    return tell_all(
        document,
        lambda console: show_compared.show(sides[0], compared, console),
        unwritten,
        as_json=options.json,
    )


def _sides(options: argparse.Namespace) -> tuple[Wanted, Wanted]:
    wanted = read(options)
    other = read_address(options.compare[1])
    name = wanted.other_model or wanted.model
    if (other, name) == (wanted.address, wanted.model):
        raise SettingsError(
            "--compare needs two servers, or two models of one: give --model a second time"
        )
    return wanted, replace(wanted, address=other, model=name)


def compare(sides: tuple[Wanted, Wanted], shown: Screen) -> Compared:
    """Measure both in turns.

    Raises:
        OperatorError: one of them is not there, or does not take what it would be sent.
    """
    _check_slices(sides[0])
    targets = [prepare(side) for side in sides]
    blocks = _blocks(sides[0])
    results: tuple[list[Result], list[Result]] = ([], [])
    interrupted, gone, turn = False, None, 0
    try:
        for number, turn in enumerate(turns(blocks)):
            shown.heading = f"slice {number + 1} of {_A_BLOCK * blocks}, {NAMES[turn]}"
            results[turn].append(_slice(sides[turn], targets[turn], number // 2, shown))
    except KeyboardInterrupt:
        interrupted = True
    except StartError as error:
        gone = f"{NAMES[turn]}: {error.message}"
    whole = min(map(len, results)) // 2 * 2  # slices of blocks that came to their end
    if not whole and gone is not None:
        raise StartError(f"{gone}; no block of slices came to its end")
    if not whole:
        raise KeyboardInterrupt
    a, b = (_side(*one, whole) for one in zip(sides, results, strict=True))
    return Compared(a, b, interrupted, gone)


def _check_slices(wanted: Wanted) -> None:
    """See that something of a slice counts; a trace may be shorter than a slice should be."""
    length_s = replace(wanted, duration_s=_SLICE_S).plan().duration_s
    warm_s = _WARM_SHARE * _SLICE_S
    if length_s <= warm_s:
        raise SettingsError(
            f"--arrivals {wanted.arrivals} lasts {length_s:.2g} s, and the first {warm_s:g} s of a "
            "slice are not counted: give a longer trace, or a lower --rate"
        )
    if not is_traced(wanted):  # where those of chance have none they are few everywhere
        return
    for number in range(2 * _blocks(wanted)):
        times_s = arrivals(wanted, wanted.rate, _SLICE_S, number).times_s
        if not (times_s >= warm_s).any():
            raise SettingsError(
                f"--arrivals {wanted.arrivals} has nothing to count in slice {number + 1} of each, "
                f"{number * _SLICE_S:g} s from its start: give a trace without such pauses, a "
                "shorter --duration-s, or a higher --rate"
            )


def _blocks(wanted: Wanted) -> int:
    """As many as the duration has, of which each side gets its own."""
    duration_s = wanted.duration_s or 10 * _SLICE_S
    return max(FEWEST_BLOCKS, math.ceil(duration_s / (2 * _SLICE_S)))


def _slice(wanted: Wanted, target: Target, number: int, shown: Screen) -> Result:
    """Run one slice; A and B get the same arrivals, other slices get others.

    Raises:
        KeyboardInterrupt: somebody ended it early, so that it is none.
        StartError: the server is not there, or went away meanwhile, so that it is none either.
    """
    result, interrupted = drive(_plan(wanted, number), target, wanted.senders, shown)
    if interrupted:
        raise KeyboardInterrupt
    if judge(result).gone_s is not None:
        raise StartError("the server went away")
    return result


def _plan(wanted: Wanted, number: int) -> Plan:
    """Plan a slice: of a trace the next part, else with another seed."""
    if is_traced(wanted):
        return OpenLoop(arrivals(wanted, wanted.rate, _SLICE_S, number))
    return replace(wanted, duration_s=_SLICE_S, seed=wanted.seed + number).plan()


def _side(wanted: Wanted, results: Sequence[Result], whole: int) -> Side:
    warm_s = _WARM_SHARE * _SLICE_S
    kept = results[:whole]
    return Side(
        where=wanted.where,
        slices=tuple(make_report(one, slo_s=wanted.slo_s, warm_s=warm_s) for one in kept),
        verdict=judge(join(kept, warm_s), slo_s=wanted.slo_s, lag_limit_s=wanted.lag_limit_s),
    )
