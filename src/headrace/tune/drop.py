"""How much less often an answer may be right than before, by samples with labels: pure.

Only those count in which one is right and the other is not: the score interval of Tango, Statistics
in Medicine 17, 1998. It needs no chance, and holds where no sample differs.
"""

from __future__ import annotations

import math

# One-sided, 95 times in 100.
_Z = 1.6448536269514722
# Halvings of the search for a limit: more than a double has digits.
_HALVINGS = 60
MOST_SAMPLES = 1_000_000
"""More samples than this nobody has."""
# They are looked for in steps of a tenth.
_STEP = 1.1


def highest_drop(lost: float, won: float, rows: int) -> float:
    """The highest drop, as a share, that so many answers lost and won of so many do not rule out.

    ``lost``: only the reference was right; ``won``: only the candidate was.
    """
    low, high = (lost - won) / rows, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(lost, won, rows, middle) > -_Z:
            low = middle
        else:
            high = middle
    return high


def _score(lost: float, won: float, rows: int, drop: float) -> float:
    """How many standard errors the drop seen is above one assumed."""
    w = (2 * rows - lost + won) * drop - lost - won
    v = -won * drop * (1 - drop)
    share = (math.sqrt(max(w * w - 8 * rows * v, 0.0)) - w) / (4 * rows)
    variance = rows * (2 * share + drop * (1 - drop))
    apart = lost - won - rows * drop
    if variance <= 0:
        return 0.0 if apart == 0 else math.copysign(math.inf, apart)
    return apart / math.sqrt(variance)


def enough(max_drop: float, lost: float = 0.0, won: float = 0.0) -> int | None:
    """How many samples can rule a higher drop out, were such shares lost and won; None: none can.

    Fewer than where no answer differs can rule out nothing.
    """
    if max_drop <= 0:
        return None
    rows = math.ceil(_Z**2 * (1 - max_drop) / max_drop)
    while rows < MOST_SAMPLES:
        if lost == won == 0 or highest_drop(lost * rows, won * rows, rows) <= max_drop:
            return rows
        rows = math.ceil(_STEP * rows)
    return None
