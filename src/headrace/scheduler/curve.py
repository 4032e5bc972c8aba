"""The run times of one bucket of shapes by batch size, and how they are learnt. Pure.

A curve never falls. What it drifts back to is what warm-up said, or trials of sizes past the knee
where warm-up was not alone.
"""

from __future__ import annotations

from collections.abc import Sequence

# Each observation moves its sizes by this share of its error.
SIZE_STEP = 0.1
# One observation counts as at most this far off, so that a hiccup does not rewrite the table.
ERROR_LIMIT = 0.5
# A guessed curve is moved as a whole by its first runs, to their median: the very first may have
# compiled something. All are moved, by the mean, when something has changed that changes all.
YOUNG_RUNS = 8
# A guessed curve may have another form: until it has run so often its errors are its own.
TRUSTED_RUNS = YOUNG_RUNS + 64
# At a time it drifts back to warm-up by this share: a size that has not run for 1000 runs has
# forgotten two thirds of what it learnt.
_DRIFT = 1 / 64
# After so many runs of a bucket one of the next size past its knee is tried; the next after twice
# as many, unless it took less than was expected: less than this share, over the tail.
_TRIAL_RUNS, _MOST_TRIAL_RUNS = 16, 4096
SURPRISE = 0.9
# So many of so many in a row are believed, one that is short over the tail's square by this share.
_TRIALS, _TRIALS_BELIEVED = 3, 2
_TRIAL_STEP = 0.5
# A size that trials have shortened is not known as those are that run, until it has run so often.
_DOUBTED_RUNS = 64
# A bucket that has not run in so many runs of all, and was refused so often meanwhile, may be said
# to take longer than it does: by its warm-up, or by a scale that others moved. One that was probed,
# and was no shorter, is so after twice as many.
_STALE_RUNS, _MOST_STALE_RUNS = 256, 65536
_STALE_REFUSALS = 16
# No run is shorter: the least a curve may say.
LEAST_S = 1e-7


class Curve:
    """One bucket: what warm-up said and what is expected now, in seconds by index of size."""

    __slots__ = (
        "base",
        "cap_place",
        "doubted",
        "first",
        "knee",
        "known_runs",
        "ran_at",
        "refused",
        "runs",
        "seconds",
        "stale_runs",
        "trial_place",
        "trial_runs",
        "trial_wait",
        "trials",
        "trusted_runs",
    )

    def __init__(self, base: list[float], runs: int) -> None:
        self.base = base
        self.seconds = base.copy()
        self.runs = self.known_runs = runs  # it began with so many
        self.first = [1.0] * min(runs, YOUNG_RUNS)  # how far off its first runs were
        self.trusted_runs = TRUSTED_RUNS
        self.ran_at = 0  # of the runs of all buckets
        self.refused = 0  # since then
        self.stale_runs = _STALE_RUNS
        self.knee: int | None = None
        self.trial_wait = _TRIAL_RUNS
        self.trial_runs = runs + _TRIAL_RUNS  # the next is due when it has run so often
        self.cap_place = self.trial_place = 0  # of the last trial
        self.trials: list[float] = []  # how far off those of that size were
        self.doubted: dict[int, int] = {}  # sizes that only trials speak for: runs until they count

    @property
    def is_young(self) -> bool:
        """Whether it is moved as a whole by what runs."""
        return len(self.first) < YOUNG_RUNS

    def ran(self, at: int, *, probe: bool) -> None:
        """Count a run, after so many of all buckets."""
        known_probe = probe and not self.is_young
        self.stale_runs = min(2 * self.stale_runs, _MOST_STALE_RUNS) if known_probe else _STALE_RUNS
        self.runs += 1
        self.ran_at, self.refused = at, 0

    def is_stale(self, at: int) -> bool:
        """Whether it ran too long ago to go on refusing it, now that all have run so often."""
        return self.refused >= _STALE_REFUSALS and at - self.ran_at >= self.stale_runs

    def begin_anew(self) -> None:
        """Take all that is said of it for a guess."""
        self.first = []
        self.trusted_runs = self.runs + TRUSTED_RUNS
        self.stale_runs = _STALE_RUNS

    def stretch(self, factor: float) -> None:
        """Move every size."""
        self.base = [second * factor for second in self.base]
        self.seconds = [second * factor for second in self.seconds]

    def settle(self, ratio: float) -> None:
        """Move every size by one of the first runs, to the median of them."""
        was = _middle(self.first) if self.first else 1.0
        self.first.append(was * ratio)
        self.stretch(_middle(self.first) / was)
        self.knee = None

    def move(self, place: int, factor: float) -> None:
        """Move one size, and its neighbours where the curve would fall."""
        seconds = self.seconds
        moved = seconds[place] = max(seconds[place] * factor, LEAST_S)
        below = place - 1
        while below >= 0 and seconds[below] > moved:
            seconds[below] = moved
            below -= 1
        above = place + 1
        while above < len(seconds) and seconds[above] < moved:
            seconds[above] = moved
            above += 1

    def tried(self, sizes: Sequence[int], place: int, ratio: float, tail: float) -> None:
        """Learn from a trial at this size, or at one just below.

        Content makes a run short, too: what is a surprise depends on how runs differ. One so short
        that those hardly ever are is half believed; else the second of three, and the longer of
        the two, for by chance there is mostly one. Neither tail nor scale follows: it tells nothing
        of the sizes that run.
        """
        if ratio > 1.0:
            self.move(place, 1.0 + SIZE_STEP * min(ratio - 1.0, ERROR_LIMIT))
        if place != self.trial_place:
            self.trial_place, self.trials = place, []
        self.trials.append(ratio)
        short = [one for one in self.trials if one < SURPRISE / tail]
        soon = True
        if ratio < SURPRISE / tail**2:
            self._shorten(sizes, place, 1.0 + _TRIAL_STEP * (ratio - 1.0))
        elif len(short) == _TRIALS_BELIEVED:
            self._shorten(sizes, place, max(short))
        elif short and len(self.trials) < _TRIALS:
            self.trial_runs = self.runs + _TRIAL_RUNS
            return
        else:
            soon = False
        self.trials = []
        self.trial_wait = _TRIAL_RUNS if soon else min(2 * self.trial_wait, _MOST_TRIAL_RUNS)
        self.trial_runs = self.runs + self.trial_wait

    def _shorten(self, sizes: Sequence[int], place: int, factor: float) -> None:
        """Take all sizes past the cap to take less, as trials of this one did.

        Whoever disturbs a run makes it longer, and mostly those that are timed next: larger sizes
        are moved as well. Warm-up was not alone, and is not drifted back to.
        """
        least_s = self.seconds[self.cap_place]
        above = place + 1
        larger = [second * factor for second in self.seconds[above:]]
        moved_s = max(self.seconds[place] * factor, least_s)
        self.move(place, moved_s / self.seconds[place])
        # No batch takes longer than its parts one after another, nor less than a smaller one.
        most = [moved_s * size / sizes[place] for size in sizes[above:]]
        self.seconds[above:] = [max(min(pair), moved_s) for pair in zip(larger, most, strict=True)]
        self.base = [min(pair) for pair in zip(self.base, self.seconds, strict=True)]
        self.doubted.update(dict.fromkeys(range(self.cap_place + 1, len(sizes)), _DOUBTED_RUNS))
        self.knee = None

    def confirm(self, place: int, share: float) -> bool:
        """Whether only trials spoke for this size, or for the next where it has a share.

        One has run of it now. When enough have, what those say is what it drifts back to.
        """
        doubted = [one for one in (place, place + (share > 0)) if one in self.doubted]
        for one in set(doubted):
            self.doubted[one] -= 1
            if not self.doubted[one]:
                del self.doubted[one]
                self._rebase(one)
        return bool(doubted)

    def _rebase(self, place: int) -> None:
        """Take what is expected of this size for what warm-up would have said."""
        ran_s = self.seconds[place]
        smaller = [min(base, ran_s) for base in self.base[:place]]
        self.base = [*smaller, ran_s, *(max(base, ran_s) for base in self.base[place + 1 :])]

    def renew(self) -> None:
        """Forget all but what warm-up said."""
        self.seconds = self.base.copy()
        self.knee = None

    def drift(self) -> None:
        """Forget a little."""
        self.seconds = [
            second + _DRIFT * (base - second)
            for second, base in zip(self.seconds, self.base, strict=True)
        ]


def _middle(values: Sequence[float]) -> float:
    """The median, of an even number the lower: what is slow for once is above it."""
    return sorted(values)[(len(values) - 1) // 2]
