"""Whether to try again, and when: pure, with time and chance as arguments.

A retry must be safe (the first try has certainly done nothing, or doing it twice is no harm), must
fit into the time that is left, and must not make a storm worse: a budget lets retries be but a
fraction of what succeeds.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import ConnectionFailed, ConnectionLost, HeadraceError, SettingsError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try, and how long to wait in between.

    Attributes:
        attempts: tries a call may take, the first one counted; 1 never tries again.
        backoff_s: the longest wait before the second try; it doubles with every further one.
        longest_backoff_s: where the doubling ends.
    """

    attempts: int = 3
    backoff_s: float = 0.05
    longest_backoff_s: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 <= self.backoff_s <= self.longest_backoff_s:
            raise SettingsError(
                f"{self}: attempts is 1 or more, backoff_s from 0 to longest_backoff_s"
            )

    def pause_s(
        self, failures: Sequence[HeadraceError], left_s: float, draw: float, *, repeatable: bool
    ) -> float | None:
        """How long to wait before the next try, or None: give up.

        ``failures`` are those of the tries so far, ``draw`` is by chance from 0 to 1.
        """
        error = failures[-1]
        if len(failures) >= self.attempts or not _is_safe(failures, repeatable=repeatable):
            return None
        # Full jitter: those who were refused together do not come back together.
        doubled_s = self.backoff_s * 2.0 ** min(len(failures) - 1, 60)
        pause_s = (error.retry_after_s or 0.0) + draw * min(self.longest_backoff_s, doubled_s)
        return pause_s if pause_s < left_s else None


def _is_safe(failures: Sequence[HeadraceError], *, repeatable: bool) -> bool:
    error = failures[-1]
    if isinstance(error, ConnectionFailed):
        return True
    if not repeatable or not error.retryable:
        return False
    # Once may be a server that went away; a request that takes servers with it must not go on.
    return sum(isinstance(one, ConnectionLost) for one in failures) <= 1


class RetryBudget:
    """Tokens: a retry takes one, a success brings a part of one back. For any number of threads."""

    def __init__(self, size: float = 10.0, refill: float = 0.1) -> None:
        self._size = size
        self._refill = refill
        self._tokens = size
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take a token for a retry, if there is one."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def succeed(self) -> None:
        """Note a success."""
        if self._tokens < self._size:  # nearly always false, and then without the lock
            with self._lock:
                self._tokens = min(self._size, self._tokens + self._refill)
