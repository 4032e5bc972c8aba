"""Two models on one machine, played: the light one must not notice what the heavy one wants.

Two cores, and runs like those of MiniLM (int8, short texts) and EfficientNet on one of them. Each
has an objective of 50 ms. Without turns the machine is shared as the system does it: every run gets
an even part of the cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from headrace.scheduler import LatencyModel, Policy, Scheduler
from headrace.scheduler.fairness import Device, Turn
from headrace.scheduler.simulate import (
    Arrival,
    Pace,
    Player,
    Result,
    Rule,
    linear,
    simulate_together,
)
from tests.unit.scheduler.baselines import EagerFifo

pytestmark = pytest.mark.slow

CORES = 2
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
PLAYED_S, SETTLED_S = 12.0, 2.0


@dataclass(frozen=True)
class Model:
    """A run of b rows takes alpha + beta * b."""

    alpha_s: float
    beta_s: float
    slo_s: float
    weight: float = 1.0

    def run_s(self, rows: int) -> float:
        return self.alpha_s + self.beta_s * rows

    def scheduler(self, turn: Turn | None) -> Scheduler:
        measured = [(1, b, self.run_s(b), 1.08 * self.run_s(b)) for b in SIZES]
        latency = LatencyModel(measured, sizes=SIZES, pads=False, handover_s=0.0003)
        return Scheduler(Policy(self.slo_s, CORES, 2048, SIZES[-1]), latency, turn)

    @property
    def capacity_rps(self) -> float:
        """What it can do alone, with batches that leave room in the objective."""
        rows = max((b for b in SIZES if self.run_s(b) <= self.slo_s / 1.7), default=1)
        return CORES * rows / self.run_s(rows)

    def arrivals(self, load: float, seed: int) -> list[Arrival]:
        rate_rps = load * self.capacity_rps
        gaps_s = np.random.default_rng(seed).exponential(1 / rate_rps, int(2 * rate_rps * PLAYED_S))
        times_s = np.cumsum(gaps_s)
        return [Arrival(at_s, self.slo_s) for at_s in times_s[times_s < PLAYED_S].tolist()]


LIGHT = Model(0.001, 0.0055, 0.050, weight=2.5)
HEAVY = Model(0.0015, 0.0105, 0.050)


def play(loads: dict[Model, float], *, turns: bool, seed: int = 1) -> list[Result]:
    """Each model at a part of what it could do alone, all at once."""
    device = Device(CORES) if turns else None
    players = []
    for number, (model, load) in enumerate(loads.items()):
        turn = None
        if device is not None:
            turn = Turn(device, weight=model.weight, cores=1, slo_s=model.slo_s)
            device.join(turn)
        random = np.random.default_rng(100 * seed + number)
        service = linear(model.alpha_s, model.beta_s, random.uniform(0.92, 1.08, 5000).tolist())
        arrivals = model.arrivals(load, 10 * seed + number)
        players.append(Player(model.scheduler(turn), arrivals, service, CORES, turn))
    return simulate_together(
        players,
        device=device,
        reply_s=0.0003,
        pace=Pace(lambda running: min(1.0, CORES / running)),
        settled_s=SETTLED_S,
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_light_model_is_in_time_beside_one_at_twice_the_machine_and_that_gets_the_rest(
    seed: int,
) -> None:
    light, heavy = play({LIGHT: 0.6, HEAVY: 2.0}, turns=True, seed=seed)
    assert light.p99_s is not None
    assert light.p99_s <= LIGHT.slo_s
    assert light.in_time_share >= 0.96
    assert heavy.p99_s is not None
    assert heavy.p99_s <= HEAVY.slo_s
    assert heavy.goodput_rps >= 0.85 * 0.4 * HEAVY.capacity_rps


def test_without_turns_it_is_not() -> None:
    light, _ = play({LIGHT: 0.6, HEAVY: 2.0}, turns=False)
    assert light.in_time_share <= 0.93


def test_models_that_both_want_all_answer_by_their_weights() -> None:
    same = Model(0.0015, 0.0105, 0.0501, weight=3.0)
    first, second = play({same: 2.0, HEAVY: 2.0}, turns=True)
    assert first.goodput_rps / second.goodput_rps == pytest.approx(3.0, rel=0.15)
    total_rps = first.goodput_rps + second.goodput_rps
    assert total_rps >= 0.88 * HEAVY.capacity_rps


def test_a_model_whose_neighbours_are_quiet_has_the_whole_machine() -> None:
    crowd = {Model(0.001, 0.005, 0.05 + 0.001 * number): 0.001 for number in range(5)}
    heavy, *_ = play({HEAVY: 1.5, **crowd}, turns=True)
    assert heavy.goodput_rps >= 0.93 * HEAVY.capacity_rps


def test_a_heavy_model_makes_short_runs_while_one_with_a_short_objective_is_there() -> None:
    brief = Model(0.001, 0.001, 0.030, weight=3.0)
    large = Model(0.004, 0.004, 0.200)
    light, heavy = play({brief: 0.3, large: 2.0}, turns=True)
    assert light.p99_s is not None
    assert light.p99_s <= brief.slo_s
    assert light.in_time_share >= 0.97
    assert heavy.mean_batch <= 3.0  # 16 ms, of the 15 that half an objective allows
    _, alone = play({brief: 0.000001, large: 2.0}, turns=True)
    assert alone.mean_batch >= 8.0


def test_each_has_its_own_books_and_the_machine_is_shared_evenly_without_turns() -> None:
    """Two runs of 4 ms on one core, each its own model's: both end at 8."""

    def player(at_s: float, rule: Rule) -> Player:
        return Player(rule, [Arrival(at_s, 1.0)], linear(0.004, 0.0), 1)

    first, second = simulate_together(
        [player(0.0, EagerFifo(1, 1)), player(0.0, EagerFifo(1, 1))],
        pace=Pace(lambda busy: 1 / busy),
    )
    assert first.p50_s == second.p50_s == pytest.approx(0.008)
    assert first.utilisation == second.utilisation == pytest.approx(1.0)
    assert first.offered == second.offered == 1
