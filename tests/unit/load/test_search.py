"""The search finds the edge where there is one, and ends whatever it is told."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.load.search import Held, Search

EDGES = st.floats(1, 10_000)
FIRSTS = st.floats(1, 10_000)
Server = Callable[[float], Held]


def _run(search: Search, server: Server) -> Search:
    while (rate := search.next_rate) is not None:
        assert search.lowest <= rate <= search.highest
        search = search.after(rate, server(rate))
    return search


def _up_to(edge: float, fails: Held = Held.NO) -> Server:
    return lambda rate: Held.YES if rate <= edge else fails


@given(EDGES, FIRSTS, st.sampled_from([Held.NO, Held.CLEARLY_NOT]))
def test_a_server_with_an_edge_is_known_to_the_resolution(
    edge: float, first: float, fails: Held
) -> None:
    search = _run(Search(first, most_tries=100), _up_to(edge, fails))
    assert search.best is not None
    assert search.best <= edge <= search.best * 1.0301
    # Doubling or halving to a bracket, halving it to 3 %, and each edge once more.
    assert len(search.tries) <= abs(math.log2(edge / first)) + 2 + 6 + 2


@given(EDGES, FIRSTS)
def test_both_edges_are_confirmed(edge: float, first: float) -> None:
    search = _run(Search(first, confirmations=3, most_tries=100), _up_to(edge))
    tallies = search.tallies()
    low, high = search.edges(tallies)
    assert low is not None
    assert high is not None
    assert (tallies[low].held, tallies[high].failed) == (3, 3)


@given(st.lists(st.sampled_from(Held), min_size=60), FIRSTS)
def test_whatever_comes_the_search_ends_and_its_answer_held_more_often_than_not(
    answers: list[Held], first: float
) -> None:
    given_ = iter(answers)
    search = _run(Search(first, most_tries=50), lambda _: next(given_))
    assert len(search.tries) <= 50
    if search.best is not None:
        tally = search.tallies()[search.best]
        assert tally.held >= 2
        assert tally.held > tally.failed


@given(EDGES, st.integers(0, 10_000))
def test_a_tenth_of_wrong_tries_does_not_lead_it_far_astray(edge: float, seed: int) -> None:
    """A wrong try needs a second one at the same rate to be believed."""
    dice = random.Random(seed)
    wrong = 0

    def noisy(rate: float) -> Held:
        nonlocal wrong
        lies = dice.random() < 0.1 and wrong < 1
        wrong += lies
        return Held.YES if (rate <= edge) is not lies else Held.NO

    search = _run(Search(100, most_tries=100), noisy)
    assert search.best is not None
    # One lie in the middle of the way down or up costs tries, and at most the bracket it cut off.
    assert edge / 2.07 <= search.best <= edge * 1.0001


@given(FIRSTS)
def test_a_server_that_holds_everything_is_tried_up_to_the_bound(first: float) -> None:
    search = _run(Search(first, highest=50_000, most_tries=100), lambda _: Held.YES)
    assert search.best == 50_000


@given(FIRSTS)
def test_a_server_that_holds_nothing_ends_the_search_at_the_lowest(first: float) -> None:
    search = _run(Search(first, most_tries=100), lambda _: Held.NO)
    assert search.best is None
    assert min(one.rate for one in search.tries) == search.lowest


def test_a_clear_failure_is_not_tried_again_and_a_narrow_one_is() -> None:
    clear = _run(Search(100, resolution=1.5), _up_to(100, Held.CLEARLY_NOT))
    assert [one.rate for one in clear.tries] == [100, 200, 100]
    narrow = _run(Search(100, resolution=1.5), _up_to(100))
    assert [one.rate for one in narrow.tries] == [100, 200, 100, 200]


def test_a_first_failure_that_was_chance_is_voted_down() -> None:
    search = Search(100, resolution=1.5).after(100, Held.NO)
    search = _run(search, _up_to(180))
    assert [one.rate for one in search.tries] == [100, 50, 50, 100, 100, 200, 200]
    assert search.best == 100


def test_the_search_ends_with_the_tries_it_has() -> None:
    search = _run(Search(100, most_tries=3), _up_to(1000))
    assert len(search.tries) == 3
    assert search.best is None  # nothing was confirmed


@pytest.mark.parametrize(
    "values",
    [{"first": 0.0}, {"first": 1.0, "lowest": 2.0}, {"first": 9.0, "highest": 3.0},
     {"first": 1.0, "resolution": 0.0}, {"first": 1.0, "confirmations": 0}],
)  # fmt: skip
def test_a_search_that_cannot_be_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a search"):
        Search(**values)  # type: ignore[arg-type] # values of both types
