"""Every variant measured in a lab of its own: in rounds, so that a moment of noise falls on all.

In a round each size is timed on all variants, one after the other; only one of them runs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from headrace.errors import HeadraceError
from headrace.tune.bench import ROUNDS, Bench, Subject
from headrace.tune.job import room_bytes
from headrace.tune.measured import Measured, is_enough, within
from headrace.tune.messages import Loaded
from headrace.tune.progress import Progress
from headrace.tune.space import LeftOut, Variant, count, most_lanes, steps

# Of the memory that is free, labs of one group take at most this part.
_MEMORY_SHARE = 0.5
# A load that took longer has compiled.
_LONG_S = 5.0
_NO_SHAPE = "no shape was found that it runs at: name some under warm_shapes"


@dataclass(frozen=True, slots=True)
class Profiled:
    """What came of it: a row a variant, and what failed. ``rounds`` were made of all."""

    measured: tuple[Measured, ...]
    failed: tuple[LeftOut, ...]
    rounds: int


Unfit = Callable[[Loaded], str | None]
"""Why what was loaded cannot be used; None: it can. It is asked as soon as it is loaded."""


def _fit(_: Loaded) -> None:
    """Everything can."""


def profile(
    benches: Sequence[Bench], subject: Subject, progress: Progress, unfit: Unfit = _fit
) -> Profiled:
    """Measure all of them that are not ``unfit``: one round in any case, others in time.

    Their labs stay for what else they are asked, where there is memory for all of them at once.
    """
    measured: list[Measured] = []
    failed: list[LeftOut] = []
    rounds = ROUNDS
    waiting, crowded = list(benches), False
    while waiting:
        group = _loaded(waiting, failed, progress, unfit)
        crowded = crowded or bool(waiting)
        made = _rounds(group, subject, failed, progress)
        rounds = min(rounds, made) if group else rounds
        for bench in _alive(group, failed):
            with _giving_up(bench, failed):
                measured.append(bench.row(_speeds(bench, subject)))
                progress.tell(_in_words(measured[-1]))
        if crowded:
            for bench in group:
                bench.close()
    return Profiled(tuple(measured), tuple(failed), rounds)


def _loaded(
    waiting: list[Bench], failed: list[LeftOut], progress: Progress, unfit: Unfit
) -> list[Bench]:
    """Take as many as there is memory for, the first in any case, and load them."""
    group: list[Bench] = []
    room = room_bytes(_MEMORY_SHARE)
    while waiting and (room > 0 or not group):
        bench = waiting.pop(0)
        known = _refused(bench.variant, failed)
        if known is not None:
            failed.append(LeftOut(str(bench.variant), known))
            continue
        loaded = None
        with _giving_up(bench, failed):
            compiled = {other.variant.arithmetic for other in group}
            loaded = _load(bench, progress, compiled)
        if loaded is None:
            continue
        room -= loaded.memory_bytes
        why = unfit(loaded) if loaded.shape is not None else _NO_SHAPE
        if why is None:
            group.append(bench)
        else:
            failed.append(LeftOut(str(bench.variant), why))
            bench.close()
    return group


def _load(bench: Bench, progress: Progress, compiled: Collection[str]) -> Loaded:
    """Load one; compiling has an end, and how long it took is told the first time.

    Raises:
        HeadraceError: it cannot be, or not in time.
    """
    variant = bench.variant
    if not variant.compiles:
        progress.step(f"loading {variant}")
        return bench.load()
    most_s, before_s = progress.build_s(), progress.spent_s()
    progress.step(f"compiling {variant}: at most {most_s:.0f} s of --budget")
    loaded = bench.load(most_s)
    spent_s = progress.spent_s() - before_s
    if spent_s > _LONG_S and variant.arithmetic not in compiled:
        progress.tell(f"{variant.arithmetic}: compiled in {spent_s:.0f} s, for servers too")
    return loaded


def _refused(variant: Variant, failed: Sequence[LeftOut]) -> str | None:
    """Why the same was not loaded for another number of threads; None: it was, or was not yet."""
    same = f"{variant.arithmetic}, "
    return next((one.why for one in failed if one.what.startswith(same)), None)


def _rounds(
    group: Sequence[Bench],
    subject: Subject,
    failed: list[LeftOut],
    progress: Progress,
) -> int:
    """Time all sizes; the first round finds out how large batches are worth it."""
    for bench, rows in _first_round(group, subject, failed):
        progress.step(f"measuring {bench.variant}: {count(rows, 'row')}")
        _time(bench, rows, 0, failed, progress)
    for number in range(1, ROUNDS):
        for rows in sorted({rows for bench in group for rows in bench.points}):
            for bench in _alive(group, failed):
                if rows not in bench.points:
                    continue
                if not progress.may_profile():
                    return number
                size = count(rows, "row")
                progress.step(f"measuring {bench.variant}: {size}, round {number + 1} of {ROUNDS}")
                _time(bench, rows, number, failed, progress)
    return ROUNDS


def _time(bench: Bench, rows: int, number: int, failed: list[LeftOut], progress: Progress) -> None:
    """Time a size; a batch that does not run, or not in time, costs that and larger ones."""
    with _giving_up(bench, failed):
        try:
            bench.time(rows, number)
        except HeadraceError as error:
            if rows == 1:
                raise
            bench.without(rows)
            progress.tell(f"left out: {bench.variant}, batches of {rows} and more: {error.message}")


def _first_round(
    group: Sequence[Bench], subject: Subject, failed: Sequence[LeftOut]
) -> Iterator[tuple[Bench, int]]:
    most = max((b.loaded.most_rows for b in group if b.loaded is not None), default=1)
    for rows in steps(most):
        for bench in _alive(group, failed):
            points = [bench.points[size] for size in sorted(bench.points)]
            mine = bench.loaded is not None and rows <= bench.loaded.most_rows
            if mine and rows <= bench.most_rows and not is_enough(points, subject.slo_s):
                yield bench, rows


def _speeds(bench: Bench, subject: Subject) -> dict[int, float]:
    """How fast lanes are beside each other, with batches as large as pay."""
    points = within([bench.points[rows] for rows in sorted(bench.points)], subject.slo_s)
    cost = {point.rows: point.median_s / point.rows for point in points}
    rows = min(cost, key=cost.__getitem__)
    lanes = steps(most_lanes(subject.cores, bench.variant.threads))
    return {number: bench.together(rows, number) for number in lanes if number > 1}


def _alive(group: Sequence[Bench], failed: Sequence[LeftOut]) -> list[Bench]:
    gone = {one.what for one in failed}
    return [bench for bench in group if str(bench.variant) not in gone]


@contextmanager
def _giving_up(bench: Bench, failed: list[LeftOut]) -> Iterator[None]:
    """What a variant raises inside is why it is left out."""
    try:
        yield
    except HeadraceError as error:
        failed.append(LeftOut(str(bench.variant), error.message))
        bench.close()


def _in_words(measured: Measured) -> str:
    first = measured.points[0]
    knee = measured.knee
    words = f"{measured.variant}: {first.rows} row {1e3 * first.median_s:.3g} ms"
    if knee > 1:
        words += f", {knee} rows {1e3 * measured.run_s(knee):.3g} ms"
    return words
