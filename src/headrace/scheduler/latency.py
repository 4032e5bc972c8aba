"""How long a batch will take: a table by size that starts from warm-up and follows what happens.

Pure. Every size of a row has a curve: seconds at the sizes that may run, straight lines between
them, never falling. What runs moves the sizes it ran at and a scale common to all, so that a
machine which has become slower is seen at once at sizes that have not run since. A size that does
not run any more drifts back to what warm-up said, times that scale. The tail is a ratio of actual
to expected.

Sizes past the knee do not run, so what warm-up said of them would be believed for ever, though
somebody may have had the cores meanwhile. Now and then one batch is of the next size, and what it
takes counts for much, if it is shorter than what is in a batch can make it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import accumulate

from headrace.scheduler.curve import (
    ERROR_LIMIT,
    LEAST_S,
    SIZE_STEP,
    SURPRISE,
    TRUSTED_RUNS,
    YOUNG_RUNS,
    Curve,
)
from headrace.scheduler.tail import Tail

# Each observation moves the common scale by this share of its error, and its sizes by as much.
_COMMON_STEP = 0.1
# A run of these counts as at most so many times longer than expected: the first has only itself.
_FRESH_MOST = 2.0
# The knee: the smallest batch whose cost a row is within this of the best. It only binds when more
# wait than fit, and then every per cent it gives away is goodput.
_KNEE = 1.02
# After so many runs of a bucket its knee is looked for again, and its curve drifts back to warm-up.
_REVIEW_RUNS = 16
# Guessed curves are kept for this many buckets: clients may send any shape.
_GUESSES_KEPT = 256
# Of a single run known, this share is guessed not to depend on the rows, nor on their elements.
_FIXED = 0.5

Measurement = tuple[int, int, float, float]
"""Elements a row, rows, median seconds, 95th percentile seconds."""


class LatencyModel:
    """Predicts run times of one served version; for one thread.

    ``sizes`` are the batch sizes that may run, ascending; with ``pads`` every batch is padded up to
    the next of them and costs what that costs. ``handover_s`` is what every batch costs besides its
    run, whatever its size: of a model whose runs are shorter than that, only large batches pay.
    """

    def __init__(
        self,
        measurements: Iterable[Measurement],
        *,
        sizes: Sequence[int],
        pads: bool,
        handover_s: float = 0.0,
    ) -> None:
        self._handover_s = handover_s
        self._sizes = tuple(sizes) or (1,)
        self._pads = pads
        self._scale = 1.0
        self._runs = 0
        self._fresh_runs = YOUNG_RUNS  # since it was made anew, up to so many
        self._curves: dict[int, Curve] = {}
        self._known: list[int] = []  # ascending: what others are guessed from
        self._guessed: dict[int, None] = {}  # those that ran last at the end
        self._places = [self._place(rows) for rows in range(self._sizes[-1] + 1)]
        points: dict[int, list[tuple[int, float]]] = {}
        tails = []
        for elements, rows, median_s, p95_s in measurements:
            points.setdefault(elements, []).append((rows, median_s))
            tails.append(p95_s / median_s if median_s > 0 else 1.0)
        for elements, found in points.items():
            self._curves[elements] = Curve(self._base(sorted(found)), TRUSTED_RUNS)
            insort(self._known, elements)
        tail = sorted(tails)[len(tails) // 2] if tails else 1.2
        self.tail = min(max(tail, 1.1), 2.0)
        self._tail = Tail(self.tail)

    def begin_at(self, slower: float, tail: float) -> None:
        """Begin as one does that has served: runs take so many times longer than warm-up said.

        And 98 of 100 of them stay under ``tail`` times that.
        """
        self._scale = slower
        self.tail = tail
        self._tail = Tail(tail)

    def expect(self, elements: int, rows: int) -> float:
        """The seconds a run of this many rows takes, half of the time; 0 when nothing is known."""
        curve = self._curves.get(elements) or self._guess(elements)
        if curve is None:
            return 0.0
        if rows >= len(self._places):
            return curve.seconds[-1] * self._scale * rows / self._sizes[-1]
        place, share = self._places[rows]
        seconds = curve.seconds[place]
        if share:
            seconds += (curve.seconds[place + 1] - seconds) * share
        return seconds * self._scale

    def alone(self, elements: int, rows: int) -> float:
        """The seconds that a run of this many rows took when it had the machine alone."""
        curve = self._curves.get(elements) or self._guess(elements)
        if curve is None:
            return 0.0
        place, share = self._places[min(rows, self._sizes[-1])]
        seconds = curve.base[place]
        if share:
            seconds += (curve.base[place + 1] - seconds) * share
        return seconds

    def renew(self, elements: int, rows: int, slower: float) -> None:
        """Forget how sizes differed from warm-up, for that was under other circumstances.

        A run of this many rows is taken to be ``slower`` than it was; the others follow.
        """
        alone_s = self.alone(elements, rows)
        if not alone_s:
            return
        self._scale = slower * self.expect(elements, rows) / alone_s
        self._fresh_runs = 0
        for curve in self._curves.values():
            curve.renew()

    def bound(self, elements: int, rows: int) -> float:
        """The seconds it takes at most, 98 times in 100."""
        return self.expect(elements, rows) * self.tail

    def fitting(self, elements: int, seconds: float) -> int:
        """The most rows whose ``bound`` is within so many seconds; 0: not even the smallest run."""
        curve = self._curves.get(elements) or self._guess(elements)
        if curve is None:
            return self._sizes[-1]
        return self._within(curve, seconds / self.tail / self._scale)

    def observe(
        self,
        elements: int,
        rows: int,
        seconds: float,
        *,
        trial: bool = False,
        probe: bool = False,
    ) -> None:
        """Learn from a run.

        A ``trial`` was larger than its cap, to see what that takes; a ``probe`` was let in though
        it was expected to be late.
        """
        seconds = max(seconds, LEAST_S)
        curve = self._curves.get(elements) or self._guess(elements)
        if curve is None:
            self._start_cold(elements, rows, seconds)
            return
        ratio = seconds / self.expect(elements, rows)
        curve.ran(self._runs, probe=probe)
        self._runs += 1
        if elements in self._guessed:
            self._ran(elements, curve)
        if curve.runs % _REVIEW_RUNS == 0:
            curve.knee = None
            curve.drift()
        if probe and not trial and ratio < SURPRISE / self.tail:
            ratio = self._doubt(elements, rows, seconds)
        if curve.is_young:
            curve.settle(ratio)
            return
        if self._fresh_runs < YOUNG_RUNS:
            # All sizes have changed by the same then; were part of it said of the one that ran, the
            # others would look worse than they are until they run, which they would not.
            self._fresh_runs += 1
            self._scale *= 1.0 + (min(ratio, _FRESH_MOST) - 1.0) / self._fresh_runs
            curve.knee = None
            return
        place, share = self._places[min(rows, self._sizes[-1])]
        if trial:
            curve.tried(self._sizes, place + (share > 0), ratio, self.tail)
        else:
            self._follow(curve, place, share, ratio)

    def _doubt(self, elements: int, rows: int, seconds: float) -> float:
        """One that was expected to be late took less: forget what was learnt, or all, if need be.

        Content makes a run short, too: how short depends on how runs differ. Returns the ratio to
        what is expected then.
        """
        curve = self._curves[elements]
        if curve.is_young or self._fresh_runs < YOUNG_RUNS:
            return seconds / self.expect(elements, rows)
        curve.renew()
        ratio = seconds / self.expect(elements, rows)
        if ratio < SURPRISE / self.tail:
            curve.begin_anew()
        return ratio

    def _follow(self, curve: Curve, place: int, share: float, ratio: float) -> None:
        """Move the tail, the scale and the sizes by a run between this size and the next."""
        self.tail = self._tail.follow(ratio)
        error = min(max(ratio - 1.0, -ERROR_LIMIT), ERROR_LIMIT)
        if curve.doubted and curve.confirm(place, share):
            error *= (SIZE_STEP + _COMMON_STEP) / SIZE_STEP  # its own, and not the scale's
        elif curve.runs > curve.trusted_runs:
            self._scale *= 1.0 + _COMMON_STEP * error
        else:
            curve.stretch(1.0 + _COMMON_STEP * error)
        curve.move(place, 1.0 + SIZE_STEP * error * (1.0 - share))
        if share:
            curve.move(place + 1, 1.0 + SIZE_STEP * error * share)

    def knee(self, elements: int, limit_s: float | None) -> int:
        """The batch size past which a larger one does not pay, or would take over ``limit_s``.

        It is looked for again only after a number of runs, whatever the limit is until then.
        """
        curve = self._curves.get(elements) or self._guess(elements)
        if curve is None:
            return self._sizes[-1]
        if curve.knee is None:
            curve.knee = self._find_knee(curve, limit_s)
        return curve.knee

    def knees(self, limit_s: float | None) -> dict[int, int]:
        """The knees of all buckets that have run, looked for anew with this limit."""
        return {
            elements: self._find_knee(curve, limit_s)
            for elements, curve in self._curves.items()
            if curve.runs > curve.known_runs
        }

    def refused(self, elements: int) -> None:
        """One of this bucket was refused by what is expected of it."""
        curve = self._curves.get(elements)
        if curve is not None:
            curve.refused += 1

    def is_young(self, elements: int) -> bool:
        """Whether what is expected of a bucket is a guess, or by a few first runs."""
        curve = self._curves.get(elements)
        return curve is not None and curve.is_young

    def is_stale(self, elements: int) -> bool:
        """Whether a bucket was refused for long, by what is known of long ago."""
        curve = self._curves.get(elements)
        return curve is not None and curve.is_stale(self._runs)

    def is_trial_due(self, elements: int) -> bool:
        """Whether it is time to try a size past the cap."""
        curve = self._curves.get(elements)
        return curve is not None and curve.runs >= curve.trial_runs and not curve.is_young

    def try_larger(
        self, elements: int, cap: int, limit_s: float | None, *, least: int | None = None
    ) -> int:
        """The next size past this cap when it is time to try it, and it fits in the limit; or it.

        It has ``least`` rows or more. Whoever runs more than the cap says so to ``observe``.
        """
        curve, least = self._curves.get(elements), cap + 1 if least is None else least
        if curve is None or not self.is_trial_due(elements) or least > self._sizes[-1]:
            return cap
        curve.trial_runs = curve.runs + curve.trial_wait  # once, whatever becomes of it
        curve.cap_place = max(bisect_right(self._sizes, cap) - 1, 0)
        larger = self._sizes[bisect_left(self._sizes, least)]
        if limit_s is None or self.expect(elements, larger) <= limit_s:
            return larger
        return cap

    def _find_knee(self, curve: Curve, limit_s: float | None) -> int:
        sizes, seconds = self._sizes, curve.seconds
        costs = [
            (second * self._scale + self._handover_s) / size
            for second, size in zip(seconds, sizes, strict=True)
        ]
        most = min(costs) * _KNEE
        knee = next(size for cost, size in zip(costs, sizes, strict=True) if cost <= most)
        if limit_s is None:
            return knee
        return max(min(knee, self._within(curve, limit_s / self._scale)), sizes[0])

    def _within(self, curve: Curve, seconds: float) -> int:
        """The most rows that take so long or less on an unscaled curve; 0: none."""
        sizes = self._sizes
        place = bisect_right(curve.seconds, seconds) - 1
        if place < 0:
            return 0
        rows = sizes[place]
        if not self._pads and place + 1 < len(sizes):
            low, high = curve.seconds[place], curve.seconds[place + 1]
            rows += int((sizes[place + 1] - rows) * (seconds - low) / (high - low))
        return rows

    def _start_cold(self, elements: int, rows: int, seconds: float) -> None:
        """Guess a curve from a single run."""
        base = [seconds * (_FIXED + (1.0 - _FIXED) * size / rows) for size in self._sizes]
        self._curves[elements] = Curve(base, 1)
        insort(self._known, elements)

    def _place(self, rows: int) -> tuple[int, float]:
        """The index of the size at or below this many rows, and the share of the way to the next.

        With padding, that of the size that runs.
        """
        sizes = self._sizes
        above = bisect_left(sizes, rows)
        if self._pads or above == 0 or sizes[above] == rows:
            return above, 0.0
        below = above - 1
        return below, (rows - sizes[below]) / (sizes[above] - sizes[below])

    def _base(self, points: Sequence[tuple[int, float]]) -> list[float]:
        """Seconds at each size from points measured: never falling, straight lines in holes.

        Beyond the largest measured, the line goes on that joins the first and the last.
        """
        risen: list[tuple[int, float]] = []
        for rows, seconds in points:
            risen.append((rows, max(seconds, risen[-1][1] if risen else LEAST_S)))
        first, last = risen[0], risen[-1]
        if first[0] == last[0]:
            first = (0, last[1] * _FIXED)
        slope = (last[1] - first[1]) / (last[0] - first[0])
        measured = [rows for rows, _ in risen]
        base = []
        for size in self._sizes:
            above = bisect_left(measured, size)
            if above == len(risen):
                base.append(last[1] + slope * (size - last[0]))
            else:
                a, b = risen[max(above - 1, 0)], risen[above]
                share = (size - a[0]) / (b[0] - a[0]) if size > a[0] else 1.0
                base.append(a[1] + (b[1] - a[1]) * share)
        return base

    def _guess(self, elements: int) -> Curve | None:
        """Guess a bucket never seen from those that have run; None: none has."""
        if not self._known:
            return None
        if len(self._guessed) >= _GUESSES_KEPT:
            self._forget(next(iter(self._guessed)))
        above = bisect_left(self._known, elements)
        if 0 < above < len(self._known):
            seconds = self._line(self._known[above - 1], self._known[above], elements)
        else:
            seconds = self._beyond(self._known[min(above, len(self._known) - 1)], elements)
        curve = Curve(list(accumulate(seconds, max, initial=LEAST_S))[1:], 0)
        self._curves[elements] = curve
        self._guessed[elements] = None
        return curve

    def _line(self, first: int, second: int, elements: int) -> list[float]:
        """Go on the straight line through two buckets."""
        share = (elements - first) / (second - first)
        pairs = zip(self._curves[first].seconds, self._curves[second].seconds, strict=True)
        return [a + (b - a) * share for a, b in pairs]

    def _beyond(self, near: int, elements: int) -> list[float]:
        """Go beyond the last known on either side, on the line that joins the two.

        A row costs neither more than in proportion to its elements nor more for having fewer.
        """
        seconds = self._curves[near].seconds
        ratio = elements / near if near else 1.0
        if len(self._known) == 1:
            return [second * (_FIXED + (1.0 - _FIXED) * ratio) for second in seconds]
        far = self._known[0] if near == self._known[-1] else self._known[-1]
        low, high = min(ratio, 1.0), max(ratio, 1.0)
        line = self._line(near, far, elements)
        return [min(max(a, low * b), high * b) for a, b in zip(line, seconds, strict=True)]

    def _ran(self, elements: int, curve: Curve) -> None:
        """Keep a guessed curve that has run; others are guessed from it once it is settled."""
        del self._guessed[elements]
        self._guessed[elements] = None
        if curve.runs == YOUNG_RUNS:
            insort(self._known, elements)

    def _forget(self, elements: int) -> None:
        """Forget a guessed curve."""
        del self._guessed[elements]
        if self._curves.pop(elements).runs >= YOUNG_RUNS:
            self._known.remove(elements)
