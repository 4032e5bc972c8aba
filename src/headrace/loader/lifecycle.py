"""The life of one version of a model: a table of moves, and how often a dead engine is replaced.

Pure: time is an argument, in seconds on one monotonic clock.

::

    found ─► loading ─► warming ─► serving ◄─► recovering
      │      ▲  │          │        │ │            │
      ▼      │  └──────────┴────┬───│─┴────────────┤
    listed ──┘                  ▼   ▼              ▼
      ▲                     failed evicting   draining ─► unloaded
      └─────────────────────────────┘

What has served goes from loading and warming to recovering, too, when its engine is killed.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from headrace.errors import InternalError


class State(Enum):
    """Where a version is in its life; the value is its name in ``control.ModelState``."""

    FOUND = "found"
    LISTED = "listed"
    LOADING = "loading"
    WARMING = "warming"
    SERVING = "serving"
    RECOVERING = "recovering"
    EVICTING = "evicting"
    FAILED = "failed"
    DRAINING = "draining"
    UNLOADED = "unloaded"


class Event(Enum):
    """What may happen to a version."""

    LIST = "list"
    START = "start"
    LOADED = "loaded"
    READY = "ready"
    REFUSED = "refused"
    DIED = "died"
    GIVEN_UP = "given_up"
    EVICT = "evict"
    DRAIN = "drain"
    STOPPED = "stopped"


# What is listed has no engine until somebody wants it.
# While it recovers, its new engines start and load too: until one of them is ready that is all one.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.FOUND: {
        Event.LIST: State.LISTED,
        Event.START: State.LOADING,
        Event.DRAIN: State.UNLOADED,
    },
    State.LISTED: {Event.START: State.LOADING, Event.DRAIN: State.UNLOADED},
    State.LOADING: {
        Event.LOADED: State.WARMING,
        Event.READY: State.SERVING,
        Event.REFUSED: State.FAILED,
        Event.DIED: State.RECOVERING,
        Event.GIVEN_UP: State.FAILED,
        Event.DRAIN: State.DRAINING,
    },
    State.WARMING: {
        Event.READY: State.SERVING,
        Event.REFUSED: State.FAILED,
        Event.DIED: State.RECOVERING,
        Event.GIVEN_UP: State.FAILED,
        Event.DRAIN: State.DRAINING,
    },
    State.SERVING: {
        Event.DIED: State.RECOVERING,
        Event.GIVEN_UP: State.FAILED,
        Event.EVICT: State.EVICTING,
        Event.DRAIN: State.DRAINING,
    },
    State.RECOVERING: {
        Event.READY: State.SERVING,
        Event.DIED: State.RECOVERING,
        Event.GIVEN_UP: State.FAILED,
        Event.DRAIN: State.DRAINING,
    },
    State.EVICTING: {Event.STOPPED: State.LISTED, Event.DRAIN: State.DRAINING},
    State.FAILED: {},
    State.DRAINING: {Event.STOPPED: State.UNLOADED},
    State.UNLOADED: {},
}


def can_move(state: State, event: Event) -> bool:
    """Whether the event may happen in this state."""
    return event in TRANSITIONS[state]


def move(state: State, event: Event) -> State:
    """Return the state after the event.

    Raises:
        InternalError: the event cannot happen in this state.
    """
    if not can_move(state, event):
        raise InternalError(f"a model that is {state.value} cannot take {event.value!r}")
    return TRANSITIONS[state][event]


class Backoff:
    """How long to wait before the next restart.

    The first restart is at once, for most deaths are single; then ``first_s``, doubling up to
    ``longest_s``. More than ``quiet_s`` from a restart to the next death make that a first one;
    from death to death, the wait itself would count as quiet.
    """

    def __init__(
        self, *, first_s: float = 0.5, longest_s: float = 10.0, quiet_s: float = 60.0
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._quiet_s = quiet_s
        self._delay_s: float | None = None
        self._restart_s = 0.0

    def after_death(self, now_s: float) -> float:
        """Note a death and return the seconds to wait before the restart."""
        if self._delay_s is None or now_s - self._restart_s > self._quiet_s:
            self._delay_s = 0.0
        elif self._delay_s == 0.0:
            self._delay_s = self._first_s
        else:
            self._delay_s = min(self._delay_s * 2, self._longest_s)
        self._restart_s = now_s + self._delay_s
        return self._delay_s


class Deaths:
    """Counts deaths within a window, to know when to give up."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=limit)

    def note(self, now_s: float) -> bool:
        """Note a death; True when it is the ``limit``-th within the window."""
        self._times.append(now_s)
        return len(self._times) == self._limit and now_s - self._times[0] <= self._window_s


class Tries:
    """Counts tries in a row that were in vain, to know when it is no use to go on."""

    def __init__(self, limit: int, limit_s: float) -> None:
        self._limit = limit
        self._limit_s = limit_s
        self._made = 0
        self._first_s = 0.0

    def note(self, now_s: float) -> bool:
        """Note that it is in vain; False after ``limit`` tries, or ``limit_s`` from the first."""
        if not self._made:
            self._first_s = now_s
        self._made += 1
        return self._made <= self._limit and now_s - self._first_s < self._limit_s

    def clear(self) -> None:
        """Begin anew, since one was not."""
        self._made = 0
