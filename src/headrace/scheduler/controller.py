"""How many lanes run at a time: found while serving, by what runs cost each other. Pure.

Two lanes are worth two only while nothing else wants their cores, caches or memory. When runs take
so much longer together that fewer lanes would do as much, fewer it is: every answer is then sooner.
When the queue asks for more, one more is tried. A trial is short, begins only where the worst that
it may bring is within the objective or what is refused anyhow, is kept only if it measured better,
and else is not repeated soon. Where all are needed to keep up, though they do no more together than
one fewer would alone, a glance of a few runs shows what one fewer does. Every change is a value
that says why.

Batch sizes, run times and admission follow from the table of run times by themselves; what of it
changes is told by ``notices``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from headrace.scheduler.ledger import Account
from headrace.scheduler.notices import Change, Notices, State

PERIOD_S = 1.0
"""How often it looks: long enough for some runs, short enough for neighbours that come and go."""

# Of fewer runs a mean says little.
_LEAST_RUNS = 5
# What was measured is forgotten after so long.
_FRESH_S = 30.0
# Each look moves what is known by this share, unless it is so far off that something has changed.
_STEP, _JUMP = 0.5, 0.2
# Fewer lanes are as good if they do this much of the work, for each answer is sooner; more must do
# as much more. Between the two nothing is changed.
_AS_GOOD, _BETTER = 0.97, 1.05
# Lanes that are busy for this share of the time may be too few, though nobody is refused: clients
# that wait for their answers send no more than they get. Fewer lanes must do the work in it.
_BUSY = 0.85
# A trial: one look to settle, then so many to measure, or until it is as bad as this in two.
# What is answered in time before it is as of so many looks: a single one may have been a lucky one,
# and the first after a neighbour has come still has what was there before.
_TRIAL_LOOKS, _HOPELESS, _HOPELESS_LOOKS = 3, 0.85, 2
# A glance: so many runs, the first of which still has company.
_GLANCE_RUNS, _GLANCE_MOST_S = 6.5, 0.8 * PERIOD_S
# How long until the next trial, after one that was not kept; it doubles each time.
_WAIT_S, _LONGEST_WAIT_S = 15.0, 120.0


@dataclass(slots=True)
class _Trial:
    """One more or one fewer lane, for a while."""

    before: int
    after: int
    good_rps: float
    overloaded: bool
    looks: int = 0
    good_rows: float = 0.0
    seconds: float = 0.0


class Glance(NamedTuple):
    """So many lanes for so long, and then all again."""

    lanes: int
    seconds: float


class _Known(NamedTuple):
    """What so many lanes did together, in lanes that are alone, and when that was seen."""

    lanes_worth: float
    at_s: float


class Controller:
    """Decides for one served version.

    ``lanes`` is how many may run at a time; since that was changed last, a run is likely to take
    ``slower`` times what it took before. A ``glance`` is to be taken at once, and over before the
    next look.
    """

    def __init__(self, slo_s: float | None, most_lanes: int) -> None:
        self.lanes = most_lanes
        self.slower = 1.0
        self.glance: Glance | None = None
        self._slo_s = slo_s
        self._most = most_lanes
        self._known: dict[int, _Known] = {}
        self._trial: _Trial | None = None
        self._next_trial_s = 0.0
        self._wait_s = _WAIT_S
        self._doubts = 0
        self._jumped = 0.0  # by how much what was seen last was off
        self._good_rps: deque[float] = deque(maxlen=_TRIAL_LOOKS)  # of late, with these lanes
        self._notices = Notices()

    @property
    def worth(self) -> dict[int, float]:
        """What so many lanes do together, as a number of lanes that are alone, as last seen."""
        return {lanes: known.lanes_worth for lanes, known in sorted(self._known.items())}

    @property
    def kept_lanes(self) -> int:
        """How many were found best so far: while others are tried, those before."""
        return self.lanes if self._trial is None else self._trial.before

    def look(self, now: float, account: Account, state: State) -> list[Change]:
        """Take what has happened since the last look, and decide."""
        self.glance = None
        if account.seconds <= 0 or not (account.busy_s or account.refused):
            return []  # nothing ran, and nothing is learnt
        changes = list(self._notices.look(account, state))
        if self._most > 1:
            self._good_rps.append(account.in_time / account.seconds)
            self._learn(now, account)
            change = self._steer(now, account, state)
            changes += [] if change is None else [change]
        return changes

    def beside_others(self, now: float) -> list[Change]:
        """Other models run on the same cores, in turns: what is seen says nothing of its lanes."""
        self.glance = None
        self._trial, self._known, self._next_trial_s = None, {}, now
        if self.lanes == self._most:
            return []
        reason = f"other models want the same cores, which go in turns: {_lanes(self._most)} again"
        return [self._set(self._most, "beside_others", reason)]

    # -- what is seen ------------------------------------------------------------------------------

    def _learn(self, now: float, account: Account) -> None:
        seen = {
            lanes: lanes * one.alone_s / one.busy_s
            for lanes, one in account.together.items()
            if one.runs >= _LEAST_RUNS and one.busy_s > 0 and lanes <= self._most
        }
        before, after = self._fresh(self.lanes, now), seen.get(self.lanes)
        if before is not None and after is not None and self._is_odd(now, after / before):
            del seen[self.lanes]  # once; if it is so again, it is what is so now
        for lanes, worth in seen.items():
            known = self._fresh(lanes, now)
            step = 1.0 if known is None else _STEP
            self._known[lanes] = _Known((known or 0.0) + step * (worth - (known or 0.0)), now)

    def _is_odd(self, now: float, ratio: float) -> bool:
        """Whether this look says something else than those before, and the last did not.

        Two in a row that say the same: something around us has changed, and what was tried before
        says nothing any more.
        """
        jump = ratio - 1 if abs(ratio - 1) > _JUMP else 0.0
        before, self._jumped = self._jumped, jump
        if jump * before > 0:
            self._known, self._jumped = {}, 0.0
            self._good_rps = deque([self._good_rps[-1]], maxlen=_TRIAL_LOOKS)
            self._wait_s, self._next_trial_s = _WAIT_S, min(self._next_trial_s, now)
        return bool(jump) and not before

    def _fresh(self, lanes: int, now: float) -> float | None:
        known = self._known.get(lanes)
        if known is None or now - known.at_s > _FRESH_S:
            return None
        return known.lanes_worth

    # -- how many lanes ----------------------------------------------------------------------------

    def _steer(self, now: float, account: Account, state: State) -> Change | None:
        if self._trial is not None:
            return self._judge(self._trial, now, account)
        worth = self._fresh(self.lanes, now)
        fewer = self._fresh(self.lanes - 1, now)
        if worth is not None and fewer is not None and not self._notices.refusing:
            # A hiccup that was seen once and never again must not count twice.
            if self._known[self.lanes].at_s == now and fewer >= _AS_GOOD * worth:
                return self._doubt(now, worth, fewer)
            self._doubts = 0
        settling = self._notices.refusing and len(self._good_rps) < _TRIAL_LOOKS
        if now < self._next_trial_s or settling:
            return None
        if worth is not None and self._may_try_fewer(worth, fewer, account):
            reason = (
                f"{_do(self.lanes)} the work of {worth:.2f} that are alone: fewer may do as much, "
                "and are tried"
            )
            return self._try(self.lanes - 1, reason)
        if self._may_try_more(now, account, state):
            busy = f"all {self.lanes} are" if self.lanes > 1 else "the only lane is"
            busy = f"{busy} busy for {self._busy(account):.0%} of the time"
            reason = f"{busy}{_refusals(account)}: one more is tried"
            return self._try(self.lanes + 1, reason)
        return self._glance(now, worth, account, state)

    def _glance(
        self, now: float, worth: float | None, account: Account, state: State
    ) -> Change | None:
        """See what one lane fewer does, where what that delays is within the objective.

        At worst it does its part of what all do; then what comes meanwhile waits for the rest.
        """
        if worth is None or worth * _AS_GOOD > self.lanes - 1 or account.refused:
            return None
        if self.lanes == 1 or self._fresh(self.lanes - 1, now) is not None:
            return None
        now_together = account.together.get(self.lanes)
        if now_together is None or now_together.runs < _LEAST_RUNS:
            return None
        seconds = _GLANCE_RUNS * now_together.busy_s / now_together.runs
        delay_s = seconds / self.lanes + state.longest_s * (1 + 1 / self.lanes)
        if seconds > _GLANCE_MOST_S or (self._slo_s is not None and delay_s > self._slo_s):
            return None
        self.glance = Glance(self.lanes - 1, seconds)
        self._next_trial_s = now + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        return Change(
            "lanes",
            str(self.lanes),
            str(self.lanes - 1),
            "glance",
            f"{_do(self.lanes)} the work of {worth:.2f} that are alone: for {seconds:.2f} s one "
            "fewer runs, to see what that does",
        )

    def _doubt(self, now: float, worth: float, fewer: float) -> Change | None:
        """Fewer lanes are as good, by what was seen without trying; twice in a row decides."""
        self._doubts += 1
        if self._doubts == 1:
            return None
        self._next_trial_s = now + self._wait_s
        return self._set(
            self.lanes - 1,
            "slow_together",
            f"{_do(self.lanes)} the work of {worth:.2f} that are alone, and {_do(self.lanes - 1)} "
            f"that of {fewer:.2f}, with each answer sooner",
        )

    def _may_try_fewer(self, worth: float, fewer: float | None, account: Account) -> bool:
        """Whether fewer may be as good, and at their worst are enough, or too few anyhow."""
        if self.lanes == 1 or worth * _AS_GOOD > self.lanes - 1:
            return False
        if fewer is not None and fewer < _AS_GOOD * worth:
            return False
        at_worst = worth * (self.lanes - 1) / self.lanes
        return self._notices.refusing or account.alone_s <= _BUSY * at_worst * account.seconds

    def _may_try_more(self, now: float, account: Account, state: State) -> bool:
        """Whether more are wanted, and runs may take so much longer as more lanes can make them."""
        if self.lanes == self._most or not account.busy_s:
            return False
        if self._busy(account) < _BUSY and not account.refused:
            return False
        worth, more = self._fresh(self.lanes, now), self._fresh(self.lanes + 1, now)
        if worth is not None and more is not None and more < _BETTER * worth:
            return False  # it was so a moment ago
        slower = (self.lanes + 1) / self.lanes
        wait = 1 + 1 / (self.lanes + 1)  # for a lane, and then the run itself
        return self._slo_s is None or state.longest_s * slower * wait <= self._slo_s

    def _busy(self, account: Account) -> float:
        return min(account.busy_s / (self.lanes * account.seconds), 1.0)

    def _try(self, lanes: int, reason: str) -> Change:
        good_rps = sum(self._good_rps) / max(len(self._good_rps), 1)
        self._trial = _Trial(self.lanes, lanes, good_rps, self._notices.refusing)
        return self._set(lanes, "trial", reason)

    def _judge(self, trial: _Trial, now: float, account: Account) -> Change | None:
        """Look at a trial; at its end keep what was better."""
        trial.looks += 1
        if trial.looks == 1:  # who had begun before, and the table of run times, settle
            self._known.pop(trial.after, None)
            return None
        trial.good_rows += account.in_time
        trial.seconds += account.seconds
        verdict, ratio = self._verdict(trial, now)
        hopeless = ratio is not None and ratio <= _HOPELESS and trial.looks > _HOPELESS_LOOKS
        if trial.looks <= _TRIAL_LOOKS and not hopeless:
            return None
        self._trial = None
        better = ratio is not None and ratio >= (
            _AS_GOOD if trial.after < trial.before else _BETTER
        )
        self._next_trial_s = now + self._wait_s
        if better:
            self._wait_s = _WAIT_S
            return Change("lanes", str(trial.before), str(trial.after), "kept", verdict)
        verdict = f"{verdict}: not again within {self._wait_s:.0f} s"
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        return self._set(trial.before, "not_kept", verdict)

    def _verdict(self, trial: _Trial, now: float) -> tuple[str, float | None]:
        """How many times as good it is, in words too; None: that cannot be told.

        By what was answered where more came than that, else by the runs.
        """
        if trial.overloaded and self._notices.refusing and trial.good_rps > 0:
            after = trial.good_rows / trial.seconds
            told = (
                f"{_lanes(trial.after)} answered {after:,.0f} rows/s in time, "
                f"{_lanes(trial.before)} {trial.good_rps:,.0f}"
            )
            return told, after / trial.good_rps
        before, found = self._fresh(trial.before, now), self._fresh(trial.after, now)
        if before is None or found is None:
            few = f"too little came to tell {_lanes(trial.after)} from {_lanes(trial.before)}"
            return few, None
        told = (
            f"{_do(trial.after)} the work of {found:.2f} that are alone, {_do(trial.before)} that "
            f"of {before:.2f}"
        )
        return told, found / before

    def _set(self, lanes: int, cause: str, reason: str) -> Change:
        before, self.lanes, self._doubts = self.lanes, lanes, 0
        self._good_rps.clear()
        self.slower = self._slower(before, lanes)
        return Change("lanes", str(before), str(lanes), cause, reason)

    def _slower(self, before: int, after: int) -> float:
        """By what was seen of both, however long ago; more lanes are not taken to help at all."""
        was, will = self._known.get(before), self._known.get(after)
        ratio = 1.0
        if was is not None and will is not None:
            ratio = (after / will.lanes_worth) / (before / was.lanes_worth)
        return max(ratio, after / before) if after > before else min(ratio, 1.0)


def _lanes(count: int) -> str:
    return "1 lane" if count == 1 else f"{count} lanes"


def _do(count: int) -> str:
    return "1 lane does" if count == 1 else f"{count} lanes do"


def _refusals(account: Account) -> str:
    return f" and {account.refused} rows were refused" if account.refused else ""
