"""How long a call may still take."""

from __future__ import annotations

import time

from headrace.errors import Expired


def left(ends_s: float) -> float:
    """The seconds until then.

    Raises:
        Expired: there are none.
    """
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise Expired("the call's time was over before it was answered: raise timeout_s")
    return left_s
