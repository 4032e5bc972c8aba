"""Up to which size a larger batch pays: when the search ends, and what is timed again first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from headrace.engine.size_search import SizeSearch

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def once(seconds: float) -> list[float]:
    return [seconds] * 5


def timed(search: SizeSearch, sizes: Iterable[int], run_s: Callable[[int], float]) -> SizeSearch:
    for rows in sizes:
        search.add(rows, once(run_s(rows)))
    return search


def searched(run_s: Callable[[int, int], float], longest_s: float = 1.0) -> list[int]:
    """Search as warm-up does; ``run_s`` has the rows, and how often they were timed before."""
    search = SizeSearch(longest_s)
    for rows in SIZES:
        search.add(rows, once(run_s(rows, 0)))
        if search.has_ended:
            for doubtful in search.doubtful():
                search.add(doubtful, once(run_s(doubtful, 1)))
        if search.has_ended:
            break
    return list(search.kept)


def test_it_goes_on_while_larger_batches_pay() -> None:
    assert searched(lambda rows, _: 0.004 + 0.001 * rows) == list(SIZES)


def test_two_sizes_in_a_row_that_cost_more_end_it() -> None:
    assert searched(lambda rows, _: 0.001 * rows**2) == [1, 2, 3]
    search = timed(SizeSearch(), (1, 2, 3), lambda rows: 0.001 * (1.2 if rows == 2 else 1) * rows)
    assert not search.has_ended


def test_four_sizes_in_a_row_that_are_no_better_end_it() -> None:
    assert searched(lambda rows, _: 0.001 * rows) == [1, 2, 3, 4, 6]


def test_a_run_that_is_too_long_is_not_kept_unless_it_is_of_the_first_size() -> None:
    assert searched(lambda rows, _: 0.01 * rows, longest_s=0.035) == [1, 2, 3]
    assert searched(lambda rows, _: 0.01 * rows, longest_s=0.001) == [1]
    assert searched(lambda _, __: 3.0, longest_s=9.0) == [1]


@pytest.mark.parametrize("disturbed", [{2, 3}, {2, 3, 4}, {3, 4, 6, 8}, {24, 32}])
def test_a_disturbance_does_not_end_it(disturbed: set[int]) -> None:
    def run_s(rows: int, before: int) -> float:
        return (0.0005 + 0.0005 * rows) * (3 if rows in disturbed and not before else 1)

    assert searched(run_s) == list(SIZES)


def test_nor_does_one_that_made_a_run_too_long() -> None:
    def run_s(rows: int, before: int) -> float:
        return (0.001 + 0.0001 * rows) * (9 if rows == 3 and not before else 1)

    assert searched(run_s, longest_s=0.005) == list(SIZES)


def test_of_what_was_timed_twice_what_took_less_is_believed() -> None:
    search = SizeSearch()
    search.add(1, [0.002] * 19 + [0.004])
    search.add(1, [0.003] * 20)
    assert search.kept[1].median_s == pytest.approx(0.002)
    assert search.kept[1].p95_s == pytest.approx(0.0021)
    search.add(1, [0.001] * 20)
    assert search.kept[1].median_s == pytest.approx(0.001)
    assert search.spent_s == pytest.approx(0.003)


def test_nothing_is_timed_a_third_time_nor_long_runs_a_second() -> None:
    short = timed(SizeSearch(), (1, 2, 3), lambda rows: 0.001 * rows**2)
    assert short.doubtful() == [1, 2, 3]
    assert timed(short, (1, 2, 3), lambda rows: 0.001 * rows**2).doubtful() == []
    long = timed(SizeSearch(), (1, 2, 3), lambda rows: 0.004 * rows**2)
    assert long.doubtful() == [1, 2]  # three of 36 ms are an average over whatever went on


def test_the_best_and_those_after_it_are_timed_again() -> None:
    search = timed(SizeSearch(), (1, 2), lambda rows: 0.002 + 0.001 * rows)
    timed(search, (3, 4), lambda rows: 0.003 * rows)
    assert search.has_ended
    assert search.doubtful() == [2, 3, 4]
    assert timed(SizeSearch(0.01), (1, 2), lambda rows: 0.008 * rows).doubtful() == [2]
