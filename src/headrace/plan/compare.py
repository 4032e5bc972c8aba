"""Predicted beside measured, and what to think of it: pure."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.plan.estimate import Estimate
from headrace.plan.play import Played

P50_BAR, P99_BAR = 0.15, 0.25
"""A prediction is trusted when it is off by no more than this."""

# What is off by more than this is named as a cause.
_NOTABLE = 0.1
# Lanes that could take batches for less than this part of the time are told.
_NEARLY_ALL = 0.99
# Others that use more than this part of all cores are in the way.
_OTHERS_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Measured:
    """What a real load showed: seconds as clients see them, from when they meant to send.

    ``stretch`` is how many times longer runs were than warm-up said of their sizes; ``lanes_on``
    the part of their time in which the server let lanes take batches; ``spoiled`` why the numbers
    are not to be believed.
    """

    rate_rps: float
    p50_s: float | None
    p99_s: float | None
    batch: float
    busy: float
    in_time: float | None
    stretch: float | None
    spoiled: str | None
    lanes_on: float = 1.0


@dataclass(frozen=True, slots=True)
class Compared:
    """One load, predicted and measured; ``stretch`` is the predicted one."""

    share: float
    predicted: Played
    measured: Measured
    stretch: float

    @property
    def p50_error(self) -> float | None:
        """How much the predicted median is off, as a part of the measured one."""
        return _error(self.predicted.p50_s, self.measured.p50_s)

    @property
    def p99_error(self) -> float | None:
        """The same of the 99th percentile."""
        return _error(self.predicted.p99_s, self.measured.p99_s)

    @property
    def trusted(self) -> bool | None:
        """Whether both are within their bars; None: it could not be measured."""
        p50, p99 = self.p50_error, self.p99_error
        if self.measured.spoiled is not None or p50 is None or p99 is None:
            return None
        return abs(p50) <= P50_BAR and abs(p99) <= P99_BAR

    def causes(self) -> list[str]:
        """What else is off, where the prediction is."""
        measured = self.measured
        found = [] if measured.spoiled is None else [measured.spoiled]
        ran = 1.0 if measured.stretch is None else measured.stretch / self.stretch
        if abs(ran - 1) > _NOTABLE:
            found.append(f"runs took {ran:.2f} times as long as predicted of their sizes")
        batch = measured.batch / self.predicted.batch.mean
        if abs(batch - 1) > _NOTABLE:
            found.append(f"batches had {batch:.2f} times as many rows")
        if measured.lanes_on < _NEARLY_ALL:
            found.append(
                f"the server let its lanes take batches for {measured.lanes_on:.0%} of their time, "
                "for fewer did as much: as a rule something else used the machine"
            )
        return found or ["runs and batches were as predicted: time passed before or after them"]


@dataclass(frozen=True, slots=True)
class Beside:
    """Every load that was driven, and the cores others used before and after; () is not known."""

    loads: tuple[Compared, ...] = ()
    others: tuple[float, ...] = ()
    cores: int = 1

    @property
    def off(self) -> bool:
        """Whether some load was not as predicted."""
        return any(one.trusted is False for one in self.loads)

    @property
    def disturbed(self) -> bool:
        """Whether others used so much of the machine that it was another one."""
        return max(self.others, default=0.0) > _OTHERS_SHARE * self.cores

    def in_words(self) -> tuple[str, ...]:
        """What to think of it: a sentence or two; none where nothing was driven."""
        if not self.loads:
            return ()
        known = [one.trusted for one in self.loads if one.trusted is not None]
        bars = f"{P50_BAR:.0%} at the median and {P99_BAR:.0%} at p99"
        if not known:
            said = "Nothing could be measured, so the plan is neither right nor wrong."
        elif all(known):
            said = f"The plan can be trusted: every load is within {bars}."
        else:
            count = known.count(False)
            said = f"The plan is off: {count} of {len(known)} loads are not within {bars}."
        if not self.disturbed:
            return (said,)
        used = " and ".join(f"{cores:.1f}" for cores in self.others)
        warned = f"Others used {used} of this machine's cores before and after: measure again"
        return said, f"{warned} when it is quiet."


def _error(predicted: Estimate | None, measured_s: float | None) -> float | None:
    if predicted is None or not measured_s:
        return None
    return predicted.mean / measured_s - 1
