"""A variant on the bench: what is known of it, and the lab that finds out the rest."""

from __future__ import annotations

import math
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from headrace.settings import ModelSettings
from headrace.tune.journal import Journal
from headrace.tune.lab_process import LOAD_S, RUN_S, LabProcess
from headrace.tune.measured import Measured, Point, within
from headrace.tune.messages import Load, Loaded, Ran
from headrace.tune.space import Variant, most_lanes

ROUNDS = 3
"""Of all that is measured, so that a moment of noise falls on all."""

# An order is of a few runs at most; of those that are longer than the objective none is of use.
_RUNS = 8
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


class Bench:
    """One variant: what is known of it is taken from the journal, the rest from its lab.

    The lab is started when it is needed, and again after ``close``.
    """

    def __init__(self, variant: Variant, subject: Subject, journal: Journal) -> None:
        self.variant = variant
        self.points: dict[int, Point] = {}
        self.most_rows: float = math.inf  # that are known to run
        self._subject = subject
        self._journal = journal
        self._stack = ExitStack()
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
            times_s = self.lab().time(rows, self._limit_s)
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
            pairs = [
                tuple(lab.together(rows, many, self._limit_s) for many in (1, lanes))
                for _ in range(ROUNDS)
            ]
            run_s = self.points[rows].median_s
            speed = statistics.median(slowed(alone, beside, run_s) for alone, beside in pairs)
            self._journal.put(speed, *key)
        return float(speed)

    @property
    def _limit_s(self) -> float:
        return max(RUN_S, _RUNS * self._subject.slo_s)

    def without(self, rows: int) -> None:
        """Forget batches of so many rows and more, which do not run."""
        self.most_rows = rows - 1
        self.points = {size: point for size, point in self.points.items() if size < rows}
        self.close()

    def lab(self, timeout_s: float = LOAD_S) -> LabProcess:
        """Its lab, started when it is needed.

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
                    "instances": most_lanes(subject.cores, variant.threads),
                }
            )
            kept = None if subject.cache_dir is None else str(subject.cache_dir)
            told = Load(path=str(subject.path), settings=settings, cache_dir=kept)
            try:
                lab = self._stack.enter_context(LabProcess(told))
                self.loaded = lab.load(timeout_s)
            except BaseException:
                self.close()  # or what is stuck would stay in memory
                raise
            self._lab = lab
        return self._lab

    def close(self) -> None:
        """End its lab, if there is one; what is known stays."""
        self._lab = None
        self._stack.close()

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
