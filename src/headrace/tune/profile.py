"""Every variant measured in a lab of its own: in rounds, so that a moment of noise falls on all.

In a round each size is timed on all variants, one after the other; only one of them runs at a time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.settings import ModelSettings
from headrace.tune.job import room_bytes
from headrace.tune.journal import Journal
from headrace.tune.lab_process import LOAD_S, LabProcess
from headrace.tune.measured import Measured, Point, is_enough, within
from headrace.tune.messages import Load, Loaded, Ran
from headrace.tune.progress import Progress
from headrace.tune.space import LeftOut, Variant, count, steps

ROUNDS = 3
# Of the memory that is free, labs of one group take at most this part.
_MEMORY_SHARE = 0.5
# A load that took longer has compiled.
_LONG_S = 5.0
_NO_SHAPE = "no shape was found that it runs at: name some under warm_shapes"
# A run that is on a core for less of its time waits for something else.
_COMPUTES = 0.3


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a model file with the settings of its card, on so many cores."""

    path: Path
    settings: ModelSettings
    slo_s: float
    cores: int
    cache_dir: Path | None = None


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


class Bench:
    """One variant: what is known of it is taken from the journal, the rest from its lab."""

    def __init__(
        self, variant: Variant, subject: Subject, journal: Journal, stack: ExitStack
    ) -> None:
        self.variant = variant
        self.points: dict[int, Point] = {}
        self._subject = subject
        self._journal = journal
        self._stack = stack
        self._lab: LabProcess | None = None
        self.loaded: Loaded | None = None

    def load(self, timeout_s: float = LOAD_S) -> Loaded:
        """Load it, in so much time.

        Raises:
            HeadraceError: it cannot be.
        """
        known = self._journal.get("loaded", self.variant)
        if known is not None:
            self.loaded = Loaded.model_validate(known)
            return self.loaded
        self.lab(timeout_s)
        if self.loaded is None:
            raise RuntimeError("a lab that is there has loaded the model")
        self._journal.put(self.loaded.model_dump(mode="json"), "loaded", self.variant)
        return self.loaded

    def time(self, rows: int, number: int) -> None:
        """Time a size, once a round.

        Raises:
            HeadraceError: it does not run.
        """
        key = ("time", self.variant, rows, number)
        times_s = self._journal.get(*key)
        if times_s is None:
            times_s = self.lab().time(rows)
            self._journal.put(list(times_s), *key)
        point = self.points.get(rows, Point(rows, ()))
        self.points[rows] = point.with_more(times_s)

    def together(self, rows: int, lanes: int) -> float:
        """How fast each of so many lanes is that run at once, beside one that is alone.

        Raises:
            HeadraceError: they do not run.
        """
        key = ("together", self.variant, rows, lanes)
        speed = self._journal.get(*key)
        if speed is None:
            lab = self.lab()
            pairs = [(lab.together(rows, 1), lab.together(rows, lanes)) for _ in range(ROUNDS)]
            run_s = self.points[rows].median_s
            speed = statistics.median(slowed(alone, beside, run_s) for alone, beside in pairs)
            self._journal.put(speed, *key)
        return float(speed)

    def lab(self, timeout_s: float = LOAD_S) -> LabProcess:
        """Its lab, started when it is needed first.

        Raises:
            HeadraceError: the model cannot be loaded.
        """
        if self._lab is None:
            variant, subject = self.variant, self._subject
            settings = subject.settings.model_copy(
                update={
                    "backend": variant.backend,
                    "precision": variant.precision,
                    "f32_layers": variant.f32_layers,
                    "threads": variant.threads,
                    "instances": max(subject.cores // variant.threads, 1),
                }
            )
            kept = None if subject.cache_dir is None else str(subject.cache_dir)
            told = Load(path=str(subject.path), settings=settings, cache_dir=kept)
            lab = self._stack.enter_context(LabProcess(told))
            self.loaded = lab.load(timeout_s)
            self._lab = lab
        return self._lab

    def row(self, speeds: dict[int, float]) -> Measured:
        """What was measured."""
        if self.loaded is None:
            raise RuntimeError("nothing was measured of what is not loaded")
        points = within([self.points[rows] for rows in sorted(self.points)], self._subject.slo_s)
        loaded = self.loaded
        return Measured(
            self.variant, points, loaded.elements, loaded.pads, loaded.memory_bytes, speeds
        )


def slowed(alone: Ran, beside: Ran, run_s: float) -> float:
    """How fast a lane beside others is, as a share of one that is alone.

    By the time on cores, of which others on the machine take none; of a model that mostly waits in
    the ``run_s`` that a run takes where nobody is in its way, by the time that passed.
    """
    if alone.cpu_s < _COMPUTES * run_s:
        return min(alone.wall_s / beside.wall_s, 1.0)
    return min(alone.cpu_s / beside.cpu_s, 1.0)


def profile(
    benches: Sequence[Bench], subject: Subject, progress: Progress, unfit: Unfit = _fit
) -> Profiled:
    """Measure all of them that are not ``unfit``: one round in any case, others in time."""
    measured: list[Measured] = []
    failed: list[LeftOut] = []
    rounds = ROUNDS
    waiting = list(benches)
    while waiting:
        group = _loaded(waiting, failed, progress, unfit)
        made = _rounds(group, subject, failed, progress)
        rounds = min(rounds, made) if group else rounds
        for bench in _alive(group, failed):
            with _giving_up(bench, failed):
                measured.append(bench.row(_speeds(bench, subject)))
                progress.tell(_in_words(measured[-1]))
    return Profiled(tuple(measured), tuple(failed), rounds)


def _loaded(
    waiting: list[Bench], failed: list[LeftOut], progress: Progress, unfit: Unfit
) -> list[Bench]:
    """Take as many as there is memory for, the first in any case, and load them."""
    group: list[Bench] = []
    room = room_bytes(_MEMORY_SHARE)
    while waiting and room > 0:
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
        with _giving_up(bench, failed):
            bench.time(rows, 0)
    for number in range(1, ROUNDS):
        for rows in sorted({rows for bench in group for rows in bench.points}):
            for bench in _alive(group, failed):
                if rows not in bench.points:
                    continue
                if not progress.may_profile():
                    return number
                size = count(rows, "row")
                progress.step(f"measuring {bench.variant}: {size}, round {number + 1} of {ROUNDS}")
                with _giving_up(bench, failed):
                    bench.time(rows, number)
    return ROUNDS


def _first_round(
    group: Sequence[Bench], subject: Subject, failed: Sequence[LeftOut]
) -> Iterator[tuple[Bench, int]]:
    most = max((b.loaded.most_rows for b in group if b.loaded is not None), default=1)
    for rows in steps(most):
        for bench in _alive(group, failed):
            points = [bench.points[size] for size in sorted(bench.points)]
            mine = bench.loaded is not None and rows <= bench.loaded.most_rows
            if mine and not is_enough(points, subject.slo_s):
                yield bench, rows


def _speeds(bench: Bench, subject: Subject) -> dict[int, float]:
    """How fast lanes are beside each other, with batches as large as pay."""
    points = within([bench.points[rows] for rows in sorted(bench.points)], subject.slo_s)
    cost = {point.rows: point.median_s / point.rows for point in points}
    rows = min(cost, key=cost.__getitem__)
    lanes = steps(max(subject.cores // bench.variant.threads, 1))
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


def _in_words(measured: Measured) -> str:
    first = measured.points[0]
    knee = measured.knee
    words = f"{measured.variant}: {first.rows} row {1e3 * first.median_s:.3g} ms"
    if knee > 1:
        words += f", {knee} rows {1e3 * measured.run_s(knee):.3g} ms"
    return words
