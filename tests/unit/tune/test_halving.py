"""Who is raced how long, and what is told apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.tune.halving import Costs, Ranking, cost_s, plan, rank, survivors, turns
from headrace.tune.space import Candidate
from tests.unit.tune.made import BF16, F32, OTHER, candidate

COSTS = Costs(4.0, 0.8)
A, B, C = candidate(BF16), candidate(F32), candidate(OTHER, 2, 64)


def slices(mean: float, spread: float = 0.0, number: int = 6, seed: int = 0) -> tuple[float, ...]:
    random = np.random.default_rng(seed)
    return tuple((mean * (1 + spread * random.normal(size=number))).tolist())


def ranked(seen: dict[Candidate, tuple[float, ...]], prefer: Candidate | None) -> Ranking:
    """Ranked where the forecast has nothing to say."""
    return rank(seen, prefer, dict.fromkeys(seen, 1.0))


@given(st.integers(1, 20), st.floats(0, 600))
def test_a_plan_fits_its_time_and_never_widens(entrants: int, left_s: float) -> None:
    rungs = plan(entrants, left_s, COSTS)
    assert cost_s(rungs, COSTS) <= max(left_s, cost_s(plan(entrants, 0, COSTS), COSTS))
    keeps = [rung.keep for rung in rungs]
    assert keeps == sorted(keeps, reverse=True)
    assert len(set(keeps)) == len(keeps)
    assert all(1 <= keep <= entrants for keep in keeps)


def test_more_time_is_more_of_a_race() -> None:
    least, short, long = plan(8, 0, COSTS), plan(8, 40, COSTS), plan(8, 400, COSTS)
    assert 0 < cost_s(least, COSTS) < cost_s(short, COSTS) < cost_s(long, COSTS)
    assert [rung.keep for rung in long] == [8, 4, 2]


def test_slices_of_slow_models_are_planned_as_long_as_they_are() -> None:
    (rung,) = rungs = plan(1, 0, COSTS)
    # 15 requests at 5 a second, and what warms up before them.
    assert cost_s(rungs, Costs(4.0, 0.8, 5.0)) == 4.0 + 2 * rung.slices * (1.15 * 3.0 + 0.8)
    slow = Costs(4.0, 0.8, 0.1)
    assert cost_s(rungs, slow) == 4.0 + 2 * rung.slices * (1.15 * 5.0 + 0.8)
    assert len(plan(8, 150, slow)) < len(plan(8, 150, COSTS))


def test_two_that_enter_are_raced_in_the_last_rung_only() -> None:
    (only,) = plan(2, 400, COSTS)
    assert (only.keep, only.blocks) == (2, 3)


def test_turns_go_forth_and_back_so_that_a_drift_falls_on_all_alike() -> None:
    assert list(turns("ABC", 2)) == list("ABCCBAABCCBA")
    places = {one: [n for n, who in enumerate(turns("ABC", 2)) if who == one] for one in "ABC"}
    assert {sum(found) for found in places.values()} == {22}


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=12), st.integers(1, 12))
def test_the_untuned_one_survives_and_nobody_that_is_better_is_dropped(
    rates: list[float], keep: int
) -> None:
    worth = {candidate(F32, 1 + place, 1): rate for place, rate in enumerate(rates)}
    always = C
    worth[always] = -1.0
    left = survivors(worth, keep, always)
    assert Counter(left)[always] == 1
    assert len(left) == min(keep, len(rates)) + 1
    gone = set(worth) - set(left)
    assert all(worth[one] <= min(worth[kept] for kept in left if kept != always) for one in gone)


def test_what_is_clearly_ahead_wins() -> None:
    ranking = ranked({A: slices(200, 0.01), B: slices(100, 0.01, seed=1), C: slices(90)}, C)
    assert ranking.winner == ranking.first == A
    assert ranking.tied == (A,)
    assert set(ranking.behind) == {B, C}


def test_nearer_than_three_per_cent_is_not_ranked_however_sure() -> None:
    ranking = ranked({A: slices(102), B: slices(100), C: slices(50)}, C)
    assert ranking.first == A
    assert set(ranking.tied) == {A, B}
    assert ranking.winner == B, "in f32, as the model was made, is simpler"


def test_what_the_intervals_do_not_tell_apart_is_not_ranked() -> None:
    noisy = ranked({A: slices(110, 0.3), B: slices(100, 0.3, seed=5)}, B)
    assert noisy.winner == B


def test_of_what_is_tied_the_untuned_one_is_preferred() -> None:
    ranking = ranked({A: slices(101), B: slices(100), C: slices(100)}, C)
    assert ranking.winner == C


def test_where_nothing_is_preferred_the_cheapest_of_what_is_tied_wins() -> None:
    small = candidate(BF16, 1)
    assert ranked({A: slices(101), small: slices(100), C: slices(100)}, None).winner == small


def test_who_is_tied_only_by_noise_and_far_behind_by_the_forecast_is_not_taken() -> None:
    noisy = {A: slices(100, 0.4), B: slices(105, 0.4, seed=5)}
    assert rank(noisy, B, {A: 200.0, B: 190.0}).winner == B
    said = rank(noisy, B, {A: 200.0, B: 100.0})
    assert said.winner == A
    assert set(said.tied) == {A, B}


def test_who_does_far_more_in_the_race_is_taken_though_the_forecast_had_it_behind() -> None:
    small, large = candidate(BF16, 2, 4), candidate(BF16, 2, 8)
    noisy = {
        small: (250.0, 120.0, 190.0, 240.0, 110.0, 212.0),
        large: (150.0, 140.0, 130.0, 160.0, 125.0, 141.0),
    }
    said = rank(noisy, None, {small: 315.0, large: 392.0})
    assert set(said.tied) == {small, large}
    assert said.winner == small  # the cheapest of what is alike by both together
    assert rank(noisy, None, {small: 150.0, large: 392.0}).winner == large


def test_of_what_differs_only_in_its_cap_that_wins_which_did_more_though_nothing_is_told() -> None:
    small, large = candidate(BF16, 2, 1), candidate(BF16, 2, 8)
    for more, less in ((small, large), (large, small)):
        noisy = {more: slices(110, 0.3), less: slices(100, 0.3, seed=5)}
        said = rank(noisy, None, {small: 200.0, large: 205.0})
        assert set(said.tied) == {small, large}
        assert said.winner == more


def test_of_two_slices_only_what_is_far_behind_is_told() -> None:
    far = ranked({A: slices(100, number=2), B: slices(60, number=2)}, B)
    assert far.winner == A
    near = ranked({A: slices(100, number=2), B: slices(95, number=2)}, B)
    assert near.winner == B


@given(st.lists(st.lists(st.floats(1, 1000), min_size=6, max_size=6), min_size=2, max_size=5))
def test_everybody_is_tied_or_behind_and_the_winner_is_tied(rates: list[list[float]]) -> None:
    who = {candidate(F32, 1 + place, 1): tuple(one) for place, one in enumerate(rates)}
    ranking = ranked(who, candidate(F32, 1, 1))
    assert set(ranking.tied) | set(ranking.behind) == set(who)
    assert not set(ranking.tied) & set(ranking.behind)
    assert ranking.winner in ranking.tied
