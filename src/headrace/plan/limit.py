"""The highest rate that is still good, and the fewest lanes that are enough: searches, pure."""

from __future__ import annotations

from collections.abc import Callable

# Each step halves what is not known yet: 8 of them leave 0.4 % of where they began.
STEPS = 8


def highest(
    good: Callable[[float], bool], most: float, steps: int = STEPS, *, deeper: int = 0
) -> float:
    """The highest value up to ``most`` that is good, by bisection; 0 when none was found.

    What is returned was tried and is good. The true one is at most ``most / 2**steps`` above it,
    if everything below a good value is good. Where that leaves none, ``deeper`` more steps follow.
    """
    if good(most):
        return most
    low, high = _halved(good, 0.0, most, steps)
    return low or _halved(good, low, high, deeper)[0]


def _halved(
    good: Callable[[float], bool], low: float, high: float, steps: int
) -> tuple[float, float]:
    """What is left between a good value and one that is not, after so many steps."""
    for _ in range(steps):
        middle = (low + high) / 2
        if good(middle):
            low = middle
        else:
            high = middle
    return low, high


def fewest(enough: Callable[[int], bool], least: int, most: int) -> int | None:
    """The smallest number from ``least`` to ``most`` that is enough; None when none is."""
    if not enough(most):
        return None
    low, high = least - 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
