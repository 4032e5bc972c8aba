"""Whose batch runs next, where several models share one device. Pure.

Deficit round-robin (Shreedhar and Varghese, SIGCOMM 1995) in predicted seconds of a core: in every
round a model may use so many as its weight says. What its next batch costs is not known before that
is cut, so a model that has credit may overdraw it by one batch, and pays it back in later rounds
(surplus round-robin: Adiseshu, Parulkar and Varghese, SIGCOMM 1996). Batches of different models
are not left to the system to mix: as many run at once as the device has cores for, so that a run
takes as long as it takes alone, and can be predicted (Clockwork, OSDI 2020). Within a round those
go first that would miss their deadline if they waited for the next run to end.

No core is left idle for fairness' sake (for an objective's it may be), and who did not want any is
owed one round at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median_low

from headrace.scheduler.running import Faded, Run, Runs

# What the model of the middle weight may use in a round, in seconds of a core. So long may a burst
# of one keep others waiting; with less, bursts are cut into pieces and come late.
_QUANTUM_S = 0.02
# What that of the largest may use at most; then all have less, in proportion.
_LONGEST_QUANTUM_S = 0.2
# Who has used less than this part of a device of late is not there.
_ACTIVE_SHARE = 0.005
# A newcomer may wait for the run of another for this part of its objective.
_PATIENCE = 0.5
# Sums of parts of cores are not exact.
_ROUNDING = 1e-9


class Turn:
    """The place of one model at a device: what its scheduler asks and tells.

    ``weight``: its part of the device when all want more than there is ·
    ``cores``: how many a batch of it takes · ``slo_s``: its objective.
    """

    def __init__(self, device: Device, *, weight: float, cores: float, slo_s: float | None) -> None:
        self._device = device
        self.shared = False
        """Whether there are others at the device; if not, nothing else here needs to be asked."""
        self.weight = weight
        self.cores = cores
        self.quantum_s = _QUANTUM_S
        self.slo_s = math.inf if slo_s is None else slo_s
        self.credit_s = self.quantum_s
        self.used = Faded()
        self.runs: dict[int, Run] = {}
        self.bound_s = 0.0  # how long its last batch could take
        self.ahead = False
        self.kept = 0.0  # cores that its long runs must leave to others
        self._latest_s = math.inf
        self._next_s = -math.inf
        self._share = 1.0
        self._edition = -1

    # -- asked -------------------------------------------------------------------------------------

    def may_start(self, now: float, bound_s: float, latest_s: float, *, ahead: bool) -> bool:
        """Whether a batch may be handed over that takes ``bound_s`` at most.

        It has to start at ``latest_s`` at the latest. ``ahead``: it will wait in the engine for a
        run of its own model to end. After a no, ``Device.due`` says when it is the model's turn.
        """
        device = self._device
        self.bound_s, self._latest_s, self.ahead = bound_s, latest_s, ahead
        device.wanting[self] = None
        if device.due(now) is not self:
            return False
        del device.wanting[self]
        return True

    def pass_by(self) -> None:
        """It has nothing to run now."""
        self._device.wanting.pop(self, None)

    @property
    def share(self) -> float:
        """The part of the device it can have: that of its weight, or more where others leave it."""
        device = self._device
        if self._edition != device.edition:
            self._edition = device.edition
            others = device.used.per_s(device.now) - self.used.per_s(device.now)
            left = 1.0 - max(others, self.kept) / device.cores
            most = 1.0 - self.kept / device.cores
            self._share = min(max(self.weight / device.weight, left), most)
        return self._share

    @property
    def lanes(self) -> float:
        """How many lanes its share is worth."""
        return self.share * self._device.cores / self.cores

    @property
    def longest_s(self) -> float:
        """The longest run that the others at the device can bear."""
        return self._device.patience_s(self)

    def next_start(self, now: float) -> float:
        """When its next batch is likely to start: at its share's pace, and when there is room."""
        device = self._device
        if not device.has_room(self, now):
            return max(device.runs.end_s(now), now, self._next_s)
        if not device.wanting or (len(device.wanting) == 1 and self in device.wanting):
            return now
        return max(now, self._next_s)

    def wake_s(self, now: float) -> float:
        """When a run that keeps it waiting will be overdue, and keep it waiting no more."""
        return self._device.runs.overdue_s(now) if self in self._device.wanting else math.inf

    def order(self, end_s: float) -> tuple[bool, float]:
        """What decides between those with credit: who cannot wait until ``end_s`` goes first."""
        if self._latest_s < end_s:
            return False, self._latest_s
        return True, -self.credit_s / self.quantum_s

    # -- told --------------------------------------------------------------------------------------

    def started(self, batch_id: int, now: float, expected_s: float, *, waits: bool) -> None:
        """A batch has been handed over; it ``waits`` in the engine while its lanes are busy."""
        device = self._device
        run = Run(self.cores, expected_s, self.bound_s)
        if not waits:
            run.begin(now)
        self.runs[batch_id] = run
        device.runs.add(self, batch_id, run)
        device.move(now)
        self.credit_s -= run.cost_s
        self._next_s = now + run.cost_s / (self.share * device.cores)

    def resize(self, quantum_s: float) -> None:
        """From now on it may use so much in a round, in this one, too, if it has used nothing."""
        unused = self.credit_s >= self.quantum_s
        self.quantum_s = quantum_s
        self.credit_s = quantum_s if unused else min(self.credit_s, quantum_s)

    def ended(self, batch_id: int, now: float, infer_s: float | None) -> None:
        """A batch has ended; ``infer_s`` is its run time, None when it failed or was lost."""
        run = self.runs.pop(batch_id, None)
        if run is None:  # it was handed over while nobody else was here
            return
        device = self._device
        following = next((one for one in self.runs.values() if not one.runs), None)
        if run.runs and following is not None:
            following.begin(now)
        device.runs.remove(self, batch_id)
        device.move(now)
        used_s = run.cost_s if infer_s is None else infer_s * self.cores
        # A hiccup is not the model's fault: it pays for as much again at most.
        self.credit_s -= min(used_s - run.cost_s, run.cost_s)
        self.credit_s = min(self.credit_s, self.quantum_s)
        self.used.add(used_s, now)
        device.used.add(used_s, now)


class Device:
    """What models share: so many cores of a machine, or a GPU, which counts as one."""

    def __init__(self, cores: float) -> None:
        self.cores = cores
        self.weight = 0.0
        self.now = 0.0
        self.used = Faded()
        self.wanting: dict[Turn, None] = {}
        self.runs = Runs()
        self.edition = 0  # another one when a share may be another
        self._turns: dict[Turn, None] = {}

    def join(self, turn: Turn) -> None:
        """A model is here."""
        self._turns[turn] = None
        self._count()

    def leave(self, turn: Turn) -> None:
        """It is gone, with all it runs."""
        self._turns.pop(turn, None)
        turn.shared = False
        self._forget(turn)
        self._count()

    def move(self, now: float) -> None:
        """Something has begun or ended now."""
        self.now = now
        self.edition += 1

    def due(self, now: float) -> Turn | None:
        """Who should be asked for a batch now: whoever's turn it is, if there is room."""
        wanting = [turn for turn in self.wanting if not self._is_held(turn, now)]
        # While nobody can run no round begins: who runs now may want a turn when that ends.
        if not any(turn.ahead or self.has_room(turn, now) for turn in wanting):
            return None
        while all(turn.credit_s <= 0 for turn in wanting):
            self._renew(wanting)
        # Who waits now waits for a run to end, be it that of whoever goes first.
        end_s = now + max(turn.bound_s for turn in wanting)
        end_s = min(self.runs.end_s(now), end_s)
        turn = min((t for t in wanting if t.credit_s > 0), key=lambda t: t.order(end_s))
        return turn if turn.ahead or self.has_room(turn, now) else None

    def has_room(self, turn: Turn, now: float) -> bool:
        """Whether there are cores for a batch of this model."""
        return self.runs.taken(now) + turn.cores <= self.cores + _ROUNDING

    def _is_held(self, turn: Turn, now: float) -> bool:
        """Whether long runs have all the cores that they may have.

        Who cannot be in time even if it is the next after such a run is left a core, if there is
        more than one, and if it uses no more than its part: that core idles while it has nothing
        to run.
        """
        impatient = [
            one
            for one in self._turns
            if one.slo_s - one.bound_s < turn.bound_s
            and one is not turn
            and self._active(one)
            and one.used.per_s(now) <= one.weight / self.weight * self.cores
        ]
        kept = max([one.cores for one in impatient], default=0.0)
        if kept + turn.cores > self.cores:
            kept = 0.0
        if kept != turn.kept:
            turn.kept = kept
            self.edition += 1
        if not kept:
            return False
        long_s = min(one.slo_s - one.bound_s for one in impatient)
        taken = sum([run.cores for run in self.runs.running(now) if run.bound_s > long_s])
        return taken + (0.0 if turn.ahead else turn.cores) + turn.kept > self.cores + _ROUNDING

    def patience_s(self, turn: Turn) -> float:
        """How long the others that were here of late can wait."""
        others = (one for one in self._turns if one is not turn and self._active(one))
        return min((_PATIENCE * one.slo_s for one in others), default=math.inf)

    def _active(self, turn: Turn) -> bool:
        if turn.runs or turn in self.wanting:
            return True
        return turn.used.per_s(self.now) > _ACTIVE_SHARE * self.cores

    def _renew(self, wanting: Iterable[Turn]) -> None:
        """Begin as many rounds as it takes until one of those has credit."""
        rounds = min(math.floor(-turn.credit_s / turn.quantum_s) + 1 for turn in wanting)
        for turn in self._turns:
            turn.credit_s = min(turn.credit_s + rounds * turn.quantum_s, turn.quantum_s)

    def _count(self) -> None:
        weights = [turn.weight for turn in self._turns]
        self.weight = sum(weights)
        self.edition += 1
        if not weights:
            return
        unit_s = min(_QUANTUM_S / median_low(weights), _LONGEST_QUANTUM_S / max(weights))
        for turn in self._turns:
            turn.resize(turn.weight * unit_s)
            turn.shared = len(self._turns) > 1
            if not turn.shared:  # who is alone tells no more when its runs end
                self._forget(turn)

    def _forget(self, turn: Turn) -> None:
        for batch_id in turn.runs:
            self.runs.remove(turn, batch_id)
        turn.runs.clear()
        self.wanting.pop(turn, None)
