"""How long a batch takes: what warm-up says, what is learnt, and what is made of holes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.scheduler import LatencyModel
from headrace.scheduler.latency import Measurement

SIZES = (1, 2, 4, 8, 16, 32)
EXAMPLES = settings(derandomize=True, max_examples=150, deadline=None)


def run_s(rows: int) -> float:
    return 0.004 + 0.0005 * rows


def measured(
    elements: int = 1, sizes: Sequence[int] = SIZES, tail: float = 1.1
) -> list[Measurement]:
    return [(elements, rows, run_s(rows), tail * run_s(rows)) for rows in sizes]


def model(*, pads: bool = False, sizes: Sequence[int] = SIZES) -> LatencyModel:
    return LatencyModel(measured(sizes=sizes), sizes=sizes, pads=pads)


# -- what warm-up said -----------------------------------------------------------------------------


def test_expects_what_was_measured_and_straight_lines_between() -> None:
    for rows in (1, 2, 3, 5, 8, 13, 24, 31, 32):
        assert model().expect(1, rows) == pytest.approx(run_s(rows))


def test_padded_batches_cost_what_they_are_padded_to() -> None:
    padded = model(pads=True)
    for rows, runs in ((1, 1), (3, 4), (5, 8), (8, 8), (9, 16), (17, 32)):
        assert padded.expect(1, rows) == pytest.approx(run_s(runs))


def test_a_hole_in_warm_up_is_filled_and_its_end_is_extrapolated() -> None:
    holed = LatencyModel(measured(sizes=(2, 8)), sizes=SIZES, pads=False)
    assert holed.expect(1, 4) == pytest.approx(run_s(4))
    assert holed.expect(1, 32) == pytest.approx(run_s(32))
    assert holed.expect(1, 1) == pytest.approx(run_s(2))  # nothing is known below: no less


def test_one_measured_size_is_taken_to_be_half_fixed_cost() -> None:
    single = LatencyModel([(1, 4, 0.008, 0.008)], sizes=SIZES, pads=False)
    assert single.expect(1, 4) == pytest.approx(0.008)
    assert single.expect(1, 8) == pytest.approx(0.012)


def test_more_rows_than_the_largest_size_cost_in_proportion() -> None:
    assert model().expect(1, 64) == pytest.approx(2 * run_s(32))


def test_a_larger_batch_that_measured_faster_counts_as_equal() -> None:
    noisy = LatencyModel([(1, 1, 0.005, 0.005), (1, 2, 0.004, 0.004)], sizes=(1, 2), pads=False)
    assert noisy.expect(1, 2) == noisy.expect(1, 1) == 0.005


def test_the_tail_starts_from_warm_up_within_reason() -> None:
    def tail(ratio: float) -> float:
        return LatencyModel(measured(tail=ratio), sizes=SIZES, pads=False).tail

    assert tail(1.3) == pytest.approx(1.3)
    assert tail(1.0) == 1.1
    assert tail(9.0) == 2.0
    assert model().bound(1, 4) == pytest.approx(1.1 * run_s(4))


# -- what is learnt --------------------------------------------------------------------------------


def test_a_machine_become_slower_is_seen_at_sizes_that_have_not_run() -> None:
    learning = model()
    for _ in range(60):
        learning.observe(1, 16, 1.5 * run_s(16))
    assert learning.expect(1, 16) == pytest.approx(1.5 * run_s(16), rel=0.02)
    assert learning.expect(1, 2) == pytest.approx(1.25 * run_s(2), rel=0.1)


def test_a_curve_of_another_form_is_learnt_size_by_size() -> None:
    learning, random = model(), Random(1)
    for _ in range(3000):
        rows = random.choice(SIZES)
        learning.observe(1, rows, 0.003 + 0.001 * rows)
    for rows in SIZES:
        assert learning.expect(1, rows) == pytest.approx(0.003 + 0.001 * rows, rel=0.08)


def test_rows_between_two_sizes_teach_both() -> None:
    learning = model()
    for _ in range(60):
        learning.observe(1, 12, 1.4 * run_s(12))
    assert learning.expect(1, 12) == pytest.approx(1.4 * run_s(12), rel=0.02)
    elsewhere = learning.expect(1, 2) / run_s(2)
    assert learning.expect(1, 8) > 1.05 * elsewhere * run_s(8)
    assert learning.expect(1, 16) > 1.05 * elsewhere * run_s(16)


def test_one_hiccup_hardly_changes_anything() -> None:
    learning = model()
    learning.observe(1, 8, 100 * run_s(8))
    assert learning.expect(1, 8) <= 1.11 * run_s(8)


def test_a_size_that_does_not_run_any_more_forgets_its_bad_time() -> None:
    learning = model()
    for _ in range(200):
        learning.observe(1, 32, 2 * run_s(32))
    bad = learning.expect(1, 32) / learning.expect(1, 8)
    for _ in range(3000):
        learning.observe(1, 8, run_s(8))
    assert learning.expect(1, 8) == pytest.approx(run_s(8), rel=0.02)
    # What is left is off by less than a tenth, where it was by half.
    assert bad > 1.3 * run_s(32) / run_s(8)
    assert learning.expect(1, 32) == pytest.approx(run_s(32), rel=0.1)


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.6])
def test_the_tail_holds_98_of_100_runs(spread: float) -> None:
    learning, random = model(), Random(2)
    late, runs = 0, 4000
    for number in range(2 * runs):
        seconds = run_s(8) * (1 + spread * random.random())
        if number >= runs:
            late += seconds > learning.bound(1, 8)
        learning.observe(1, 8, seconds)
    assert 0.01 * runs <= late <= 0.035 * runs


def test_the_tail_stays_within_its_bounds() -> None:
    learning = model()
    for _ in range(2000):
        learning.observe(1, 8, run_s(8))
    assert learning.tail == 1.02
    for _ in range(40):
        for factor in (1.0, 1.0, 9.0, 9.0):
            learning.observe(1, 8, factor * learning.expect(1, 8))
    assert 1.5 < learning.tail <= 3.0


def test_what_a_large_batch_does_a_small_one_does_as_fast() -> None:
    learning = model()
    for _ in range(100):
        learning.observe(1, 32, 0.004)
    assert learning.expect(1, 32) == pytest.approx(0.004, rel=0.02)
    assert learning.expect(1, 8) <= learning.expect(1, 16) <= learning.expect(1, 32)


@EXAMPLES
@given(
    st.lists(st.tuples(st.integers(1, 32), st.floats(0.0, 0.2)), max_size=60),
    st.booleans(),
)
def test_whatever_runs_more_rows_never_take_less(runs: list[tuple[int, float]], pads: bool) -> None:
    learning = model(pads=pads)
    for rows, seconds in runs:
        learning.observe(1, rows, seconds)
    expected = [learning.expect(1, rows) for rows in range(1, 40)]
    assert expected == pytest.approx(sorted(expected))
    assert expected[0] > 0


# -- the inverse -----------------------------------------------------------------------------------


@EXAMPLES
@given(
    st.lists(st.tuples(st.integers(1, 32), st.floats(0.001, 0.05)), max_size=30),
    st.floats(-0.01, 0.05),
    st.booleans(),
)
def test_fitting_is_the_most_rows_whose_bound_is_within(
    runs: list[tuple[int, float]], room_s: float, pads: bool
) -> None:
    learning = model(pads=pads)
    for rows, seconds in runs:
        learning.observe(1, rows, seconds)
    fitting = learning.fitting(1, room_s)
    assert 0 <= fitting <= 32
    if fitting:
        assert learning.bound(1, fitting) <= room_s * (1 + 1e-9)
    if fitting < 32:
        assert learning.bound(1, fitting + 1) > room_s * (1 - 1e-9)


# -- the knee --------------------------------------------------------------------------------------


def test_where_larger_batches_do_not_pay_the_knee_is_one() -> None:
    flat = LatencyModel([(1, b, 0.01 * b, 0.01 * b) for b in SIZES], sizes=SIZES, pads=False)
    assert flat.knee(1, None) == 1


def test_where_they_pay_it_is_the_first_that_costs_hardly_more_than_the_best() -> None:
    # Per row: 4.5, 2.5, 1.5, 1.0, 0.75 and 0.625 ms.
    assert model().knee(1, None) == 32
    # Per row: 1.4, 1.2, 1.1, 1.05, 1.025 and 1.0125 ms.
    gentle = [(1, b, 0.0004 + 0.001 * b, 0.0004 + 0.001 * b) for b in SIZES]
    assert LatencyModel(gentle, sizes=SIZES, pads=False).knee(1, None) == 16


def test_no_batch_at_the_knee_takes_longer_than_the_limit() -> None:
    assert model().knee(1, 0.010) == 12
    assert model(pads=True).knee(1, 0.010) == 8
    assert model().knee(1, 0.001) == 1  # even one row takes longer, but something must run


def test_the_knee_follows_what_is_learnt() -> None:
    learning = model()
    assert learning.knee(1, 0.010) == 12
    for _ in range(100):
        learning.observe(1, 12, 2 * run_s(12))
    assert learning.knee(1, 0.010) <= 5
    for _ in range(3000):
        learning.observe(1, 2, run_s(2))
    assert learning.knee(1, 0.010) >= 10


# -- sizes past the knee ---------------------------------------------------------------------------


def disturbed(*, pads: bool = False) -> LatencyModel:
    """Somebody had the cores while all sizes but the first were timed."""
    times = [(1, rows, run_s(rows) * (1 if rows == 1 else 10), 1.0) for rows in SIZES]
    return LatencyModel(times, sizes=SIZES, pads=pads)


def serve(learning: LatencyModel, runs: int) -> list[int]:
    """Run full batches as the scheduler does; return the sizes that were tried."""
    tried = []
    for _ in range(runs):
        cap = learning.knee(1, None)
        rows = learning.try_larger(1, cap, None)
        learning.observe(1, rows, run_s(rows), trial=rows > cap)
        tried += [rows] if rows > cap else []
    return tried


@pytest.mark.parametrize("pads", [False, True])
def test_a_warm_up_that_was_disturbed_is_found_out(pads: bool) -> None:
    learning = disturbed(pads=pads)
    assert learning.knee(1, None) == 1
    serve(learning, 1000)
    assert learning.knee(1, None) == 32
    assert learning.expect(1, 32) == pytest.approx(run_s(32), rel=0.1)
    # It is not drifted back to either.
    serve(learning, 5000)
    assert learning.knee(1, None) == 32


def test_one_that_was_right_is_tried_ever_more_rarely() -> None:
    times = [(1, rows, 0.001 * rows, 0.001 * rows) for rows in SIZES]
    flat = LatencyModel(times, sizes=SIZES, pads=False)
    tried = []
    for run in range(10_000):
        cap = flat.knee(1, None)
        rows = flat.try_larger(1, cap, None)
        flat.observe(1, rows, 0.001 * rows, trial=rows > cap)
        tried += [run] if rows > cap else []
    assert tried[:4] == [16, 49, 114, 243]
    assert len(tried) == 9
    assert flat.knee(1, None) == 1


STEPS = (1, 2, 3, 4, 6, 8, 12, 16)


def worth_four_s(rows: int) -> float:
    """10 ms a row, past four rows 16."""
    return 0.010 * rows * (1.6 if rows > 4 else 1.0)


def rows_in(learning: LatencyModel, took_s: Callable[[int], float], sigma: float) -> float:
    """Run full batches whose times depend on what is in them; return rows a second of the last."""
    random, rows, seconds = Random(1), 0, 0.0
    for run in range(20_000):
        cap = learning.knee(1, None)
        size = learning.try_larger(1, cap, None)
        learning.observe(1, size, took_s(size) * random.lognormvariate(0, sigma), trial=size > cap)
        if run >= 10_000:
            rows, seconds = rows + size, seconds + took_s(size)
    return rows / seconds


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.4])
def test_runs_that_are_short_for_what_is_in_them_are_no_surprise(sigma: float) -> None:
    times = [(1, rows, worth_four_s(rows), 1.05 * worth_four_s(rows)) for rows in STEPS]
    right = LatencyModel(times, sizes=STEPS, pads=False, handover_s=0.0003)
    assert rows_in(right, worth_four_s, sigma) == pytest.approx(100, rel=0.02)
    assert right.knee(1, None) <= 6
    assert right.alone(1, 16) == pytest.approx(worth_four_s(16))


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.4])
def test_a_wrong_table_is_found_out_though_runs_differ(sigma: float) -> None:
    def took_s(rows: int) -> float:
        return 0.001 + 0.0005 * rows

    times = [(1, rows, took_s(rows) * (3 if rows > 4 else 1), 1.0) for rows in STEPS]
    wrong = LatencyModel(times, sizes=STEPS, pads=False)
    assert rows_in(wrong, took_s, sigma) == pytest.approx(16 / took_s(16), rel=0.1)


def tried(learning: LatencyModel, *ratios: float) -> None:
    """Have the sizes past the knee tried, each run so far from what is expected."""
    for ratio in ratios:
        cap = learning.knee(1, None)
        while (size := learning.try_larger(1, cap, None)) == cap:
            learning.observe(1, cap, learning.expect(1, cap))
        learning.observe(1, size, ratio * learning.expect(1, size), trial=True)


def flat(tail: float = 1.1) -> LatencyModel:
    """Larger batches do not pay."""
    times = [(1, rows, 0.01 * rows, 0.01 * rows * tail) for rows in SIZES]
    return LatencyModel(times, sizes=SIZES, pads=False)


def test_the_second_of_three_that_are_short_is_believed() -> None:
    for ratios in ((0.78,), (0.78, 1.0, 1.0), (1.0, 0.78), (1.0, 0.88, 1.0, 0.88)):
        learning = flat()
        tried(learning, *ratios)
        assert learning.alone(1, 2) == pytest.approx(0.02), ratios
    for ratios in ((0.79, 0.81), (0.81, 1.0, 0.79)):
        learning = flat()
        tried(learning, *ratios)
        assert learning.alone(1, 2) == pytest.approx(0.81 * 0.02, rel=0.01), ratios


def test_one_that_is_shorter_than_runs_ever_are_is_half_believed() -> None:
    learning = flat()
    tried(learning, 0.6)
    assert learning.expect(1, 2) == pytest.approx(0.8 * 0.02)


def test_no_trial_moves_the_sizes_that_run_nor_the_scale() -> None:
    learning = flat()
    tried(learning, 0.01, 3.0)
    assert learning.alone(1, 1) == learning.expect(1, 1) == pytest.approx(0.01)
    assert learning.tail == pytest.approx(1.1, abs=0.03)


def test_what_trials_said_wrongly_is_put_right_by_what_runs() -> None:
    learning = flat()
    tried(learning, 0.5, 0.5, 0.5)
    assert learning.knee(1, None) > 1
    assert learning.alone(1, 2) < 0.016
    for _ in range(4000):
        rows = learning.knee(1, None)
        learning.observe(1, rows, 0.01 * rows)
    assert learning.alone(1, 2) > 0.018


def test_nothing_is_tried_that_would_take_longer_than_the_limit() -> None:
    learning = disturbed()
    for _ in range(100):
        assert learning.try_larger(1, 1, 0.9 * learning.expect(1, 2)) == 1
        learning.observe(1, 1, run_s(1))
    tries = set()
    for _ in range(20):  # what does not fit is not asked for at every batch
        tries.add(learning.try_larger(1, 1, 1.1 * learning.expect(1, 2)))
        learning.observe(1, 1, run_s(1))
    assert tries == {1, 2}


def test_past_the_largest_size_there_is_nothing_to_try() -> None:
    learning = model()
    for _ in range(100):
        assert learning.try_larger(1, 32, None) == 32
        learning.observe(1, 32, run_s(32))


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), pads=st.booleans())
def test_whatever_trials_say_a_larger_batch_takes_no_less(seed: int, pads: bool) -> None:
    random = Random(seed)
    learning = model(pads=pads)
    for _ in range(300):
        cap = learning.knee(1, None)
        rows = learning.try_larger(1, cap, None)
        learning.observe(1, rows, random.expovariate(1 / run_s(rows)), trial=rows > cap)
        times = [learning.expect(1, size) for size in SIZES]
        alone = [learning.alone(1, size) for size in SIZES]
        assert times == sorted(times)
        assert alone == sorted(alone)


# -- cold starts and guesses -----------------------------------------------------------------------


def test_of_a_cold_model_nothing_is_known_and_everything_may_run() -> None:
    cold = LatencyModel([], sizes=SIZES, pads=False)
    assert cold.expect(1, 8) == 0.0
    assert cold.knee(1, 0.05) == 32
    assert cold.fitting(1, 0.001) == 32


def test_a_slow_first_run_is_forgotten_with_the_second() -> None:
    cold = LatencyModel([], sizes=SIZES, pads=False)
    cold.observe(1, 4, 1.0)
    assert cold.expect(1, 4) == pytest.approx(1.0)
    cold.observe(1, 4, 0.006)
    assert cold.expect(1, 4) == pytest.approx(0.006)


def test_first_runs_count_by_their_median() -> None:
    cold, random = LatencyModel([], sizes=SIZES, pads=False), Random(3)
    times = [0.006 * random.uniform(0.8, 1.25) for _ in range(7)]
    for seconds in times:
        cold.observe(1, 4, seconds)
    assert cold.expect(1, 4) == pytest.approx(sorted(times)[3])


def test_it_goes_on_to_batches_larger_than_one() -> None:
    cold = LatencyModel([], sizes=SIZES, pads=False)
    for _ in range(100):
        rows = cold.knee(1, 0.03)
        cold.observe(1, rows, run_s(rows))
    assert cold.knee(1, 0.03) >= 24


def shapes(*all_elements: int) -> LatencyModel:
    """3 ms, and 10 us an element; measured are those of so many."""

    def took_s(elements: int, rows: int) -> float:
        return 0.003 + 1e-5 * elements * rows

    times = [
        (of, rows, took_s(of, rows), took_s(of, rows)) for of in all_elements for rows in SIZES
    ]
    return LatencyModel(times, sizes=SIZES, pads=False)


@pytest.mark.parametrize("elements", [20, 100, 150, 200, 300, 600])
def test_a_bucket_never_seen_is_guessed_on_the_line_between_those_that_were(elements: int) -> None:
    guessing = shapes(50, 100, 200)
    guessing.observe(1000, 1, 0.5)  # what is a guess itself, or nearly, says nothing
    assert guessing.expect(elements, 4) == pytest.approx(0.003 + 4e-5 * elements, rel=0.01)


def test_of_one_bucket_known_half_is_taken_not_to_depend_on_the_elements() -> None:
    guessing = LatencyModel(measured(10), sizes=SIZES, pads=False)
    assert guessing.expect(30, 4) == pytest.approx(2 * run_s(4))
    assert guessing.expect(5, 4) == pytest.approx(0.75 * run_s(4))


def test_beyond_all_known_a_row_costs_no_more_than_in_proportion() -> None:
    steep = LatencyModel([(10, 1, 0.001, 0.001), (20, 1, 0.1, 0.1)], sizes=(1,), pads=False)
    assert steep.expect(40, 1) == pytest.approx(0.2)
    assert steep.expect(5, 1) == pytest.approx(0.0005)
    falling = LatencyModel([(10, 1, 0.1, 0.1), (20, 1, 0.001, 0.001)], sizes=(1,), pads=False)
    assert falling.expect(40, 1) == pytest.approx(0.001)


def test_a_guessed_bucket_that_has_run_says_what_others_cost() -> None:
    guessing = LatencyModel(measured(10), sizes=SIZES, pads=False)
    before_s = guessing.expect(50, 1)
    for _ in range(8):
        guessing.observe(100, 1, 2 * run_s(1))
    guessing.expect(10**6, 1)
    assert before_s == pytest.approx(3 * run_s(1))
    assert guessing.expect(55, 1) == pytest.approx(1.5 * run_s(1))


def stale_after(known: LatencyModel, refusals: int = 16) -> int:
    """After so many runs of 10 elements those of 100 are doubted, refused so often meanwhile."""
    for _ in range(refusals):
        known.refused(100)
    for number in range(5000):
        if known.is_stale(100):
            return number
        known.observe(10, 1, known.expect(10, 1))
    return -1


def test_a_bucket_that_has_not_run_for_long_is_doubted_ever_more_rarely_while_it_is_right() -> None:
    known, waits = shapes(10, 100), []
    for _ in range(3):
        waits.append(stale_after(known))
        known.observe(100, 1, known.expect(100, 1), probe=True)
    assert waits == [256, 511, 1023]
    known.observe(100, 1, known.expect(100, 1))  # by then it runs anyway
    assert stale_after(known) == 255
    known.observe(100, 1, known.expect(100, 1))
    assert stale_after(known, refusals=15) == -1  # it is only rare


def test_a_guess_that_probes_found_right_is_doubted_no_later_for_that() -> None:
    known = shapes(10)
    for _ in range(8):
        known.observe(100, 1, known.expect(100, 1), probe=True)
    assert stale_after(known) == 255


def test_a_probe_that_was_shorter_makes_a_guess_of_all_sizes_and_no_other_bucket_heeds_it() -> None:
    known = shapes(10, 100)
    before_s = [known.expect(10, rows) for rows in SIZES]
    known.observe(100, 2, known.expect(100, 2) / 4, probe=True)
    for rows in SIZES:
        assert known.expect(100, rows) == pytest.approx((0.003 + 1e-3 * rows) / 4)
    assert known.is_young(100)
    for _ in range(7):
        known.observe(100, 2, known.expect(100, 2))
    assert not known.is_young(100)
    assert [known.expect(10, rows) for rows in SIZES] == before_s


def test_a_probe_shows_that_warm_up_was_right_where_what_was_learnt_is_not() -> None:
    known = shapes(10, 100)
    warm_s = [known.expect(100, rows) for rows in SIZES]
    for _ in range(60):  # a noisy time
        known.observe(100, 2, 3 * warm_s[1])
        known.observe(10, 2, 0.003 + 2e-4)
    assert known.expect(100, 2) > 1.5 * warm_s[1]
    slower = known.expect(10, 32) / known.alone(10, 32)
    known.observe(100, 2, slower * known.alone(100, 2), probe=True)
    assert not known.is_young(100)
    assert known.alone(100, 2) == pytest.approx(warm_s[1])
    ratios = {known.expect(100, rows) / known.alone(100, rows) for rows in SIZES}
    assert max(ratios) == pytest.approx(min(ratios), rel=0.2)


@pytest.mark.parametrize("why", ["it differs so much", "it was of another size"])
def test_a_short_run_that_says_little_makes_no_guess_of_what_is_known(why: str) -> None:
    known = shapes(10, 100)
    trial = why == "it was of another size"
    for _ in range(0 if trial else 40):
        for factor in (1.0, 1.0, 3.0):
            known.observe(10, 1, factor * known.expect(10, 1))
    known.observe(100, 2, 0.6 * known.expect(100, 2), trial=trial, probe=True)
    assert not known.is_young(100)


def test_guesses_that_ran_least_recently_are_forgotten_first() -> None:
    guessing = LatencyModel(measured(10), sizes=SIZES, pads=False)
    for elements in range(11, 3000):
        for _ in range(9):
            guessing.observe(11, 1, 0.5)
        guessing.expect(elements, 1)
    assert guessing.expect(11, 1) == pytest.approx(0.5)
    assert not guessing.is_young(11)


def test_a_wrong_guess_is_put_right_by_the_first_run_and_spoils_no_other_bucket() -> None:
    guessing = LatencyModel(measured(10), sizes=SIZES, pads=False)
    assert guessing.expect(100, 4) == pytest.approx(5.5 * run_s(4))
    guessing.observe(100, 4, run_s(4))
    assert guessing.expect(100, 4) == pytest.approx(run_s(4))
    assert guessing.expect(10, 4) == pytest.approx(run_s(4))
    assert guessing.tail == pytest.approx(1.1)


def test_a_new_bucket_whose_first_run_compiles_is_wrong_alone_and_not_for_long() -> None:
    guessing = LatencyModel(measured(10), sizes=SIZES, pads=False)
    guessing.observe(20, 4, 200 * run_s(4))
    for run in range(200):
        guessing.observe(20, 4, 2 * run_s(4))
        guessing.observe(10, 4, run_s(4))
        assert guessing.expect(20, 4) == pytest.approx(2 * run_s(4)), run
        assert guessing.expect(10, 32) == pytest.approx(run_s(32)), run


def test_a_bucket_that_has_run_little_says_nothing_of_the_others() -> None:
    guessing = LatencyModel(measured(10), sizes=SIZES, pads=False)
    for _ in range(8):
        guessing.observe(20, 1, 2 * run_s(1))
    for _ in range(30):  # its larger batches take longer than was guessed
        guessing.observe(20, 8, 4 * run_s(8))
    assert guessing.expect(20, 8) == pytest.approx(4 * run_s(8), rel=0.05)
    assert guessing.expect(10, 8) == pytest.approx(run_s(8))


def test_any_number_of_shapes_is_kept_in_bounded_memory() -> None:
    guessing = LatencyModel(measured(10), sizes=SIZES, pads=False)
    for elements in range(11, 3000):
        guessing.observe(elements, 1, 0.01)
    assert len(guessing._curves) <= 300
    assert guessing.expect(10, 4) == pytest.approx(run_s(4), rel=0.05)


def test_sizes_that_do_not_begin_with_one_cost_at_least_the_first() -> None:
    large = LatencyModel(measured(sizes=(8, 16)), sizes=(8, 16), pads=True)
    assert large.expect(1, 1) == large.expect(1, 8) == pytest.approx(run_s(8))
    assert large.fitting(1, 1.0) == 16
    assert large.fitting(1, 0.001) == 0


# -- made anew -------------------------------------------------------------------------------------


def test_made_anew_the_first_runs_say_how_all_sizes_have_changed() -> None:
    """Else the sizes that ran would look cheaper than those that did not, which would never run."""
    anew = model()
    anew.renew(1, 8, 3.0)
    for _ in range(8):
        anew.observe(1, 8, 1.2 * run_s(8))
    for rows in SIZES:
        assert anew.expect(1, rows) == pytest.approx(1.2 * run_s(rows))
    assert anew.knee(1, None) == model().knee(1, None)
