"""The highest rate that is still good, and the fewest lanes that are enough: searches, pure."""

from __future__ import annotations

from collections.abc import Callable

# Each step halves what is not known yet: 8 of them leave 0.4 % of where they began.
STEPS = 8


def highest(good: Callable[[float], bool], most: float, steps: int = STEPS) -> float:
    """The highest value up to ``most`` that is good, by bisection; 0 when none was found.

    What is returned was tried and is good. The true one is at most ``most / 2**steps`` above it,
    if everything below a good value is good.
    """
    low, high = 0.0, most
    if good(most):
        return most
    for _ in range(steps):
        middle = (low + high) / 2
        if good(middle):
            low = middle
        else:
            high = middle
    return low


def fewest(enough: Callable[[int], bool], least: int, most: int) -> int | None:
    """The smallest number from ``least`` to ``most`` that is enough; None when none is."""
    if not enough(most):
        return None
    low, high = least - 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
