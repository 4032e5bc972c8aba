"""Who waits, and whose turn it is: the queue against a plain sorted list."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.scheduler.queue import Entry, Line, Queue


def entry(
    deadline_s: float = math.inf, rows: int = 1, bucket: str = "a", priority: int = 0
) -> Entry:
    return Entry(deadline_s, rows, bucket, 1, 0.0, priority)


def filled(entries: Iterable[Entry]) -> Queue:
    queue = Queue()
    for each in entries:
        queue.put(each)
    return queue


def order(each: Entry) -> tuple[int, float, int]:
    return each.priority, each.deadline_s, each.sequence


def line_of(queue: Queue, bucket: str = "a") -> Line:
    line = queue.line(bucket)
    assert line is not None
    return line


entries = st.builds(
    entry,
    deadline_s=st.sampled_from([1.0, 2.0, 3.0, math.inf]) | st.floats(0.5, 4.0),
    rows=st.integers(1, 4),
    bucket=st.sampled_from(["a", "b", "c"]),
    priority=st.sampled_from([0, 0, 1, -1]),
)
EXAMPLES = settings(derandomize=True, max_examples=200, deadline=None)


def test_turns_go_by_priority_then_deadline_then_arrival() -> None:
    late, soon, soon_too = entry(2.0), entry(1.0), entry(1.0)
    urgent, patient = entry(9.0, priority=-1), entry(0.5, priority=1)
    queue = filled([late, soon, soon_too, urgent, patient])
    assert queue.take("a", 9) == [urgent, soon, soon_too, late, patient]
    assert queue.first() is None


def test_the_first_that_are_more_than_so_many_rows() -> None:
    line = line_of(filled([entry(rows=4), entry(rows=2), entry(rows=4)]))
    assert [line.rows_past(rows) for rows in (1, 4, 5, 6, 9, 10)] == [4, 6, 6, 10, 10, 10]


def test_who_was_in_before_keeps_its_place_among_equals() -> None:
    first, second, third = entry(1.0), entry(1.0), entry(1.0)
    queue = filled([first, second])
    assert queue.take("a", 1) == [first]
    queue.put(third)
    queue.put(first)
    assert queue.take("a", 9) == [first, second, third]


def test_takes_up_to_so_many_rows_and_stops_at_who_does_not_fit() -> None:
    small, large, last = entry(1.0, 2), entry(2.0, 3), entry(3.0, 1)
    queue = filled([small, large, last])
    assert queue.take("a", 4) == [small]  # the last would fit, but it is not its turn
    assert queue.take("a", 1) == [large]  # at least one, whatever its rows
    assert queue.take("a", 1) == [last]
    assert queue.take("a", 1) == []


def test_takes_from_one_bucket_and_leaves_the_others() -> None:
    mine, other = entry(2.0), entry(1.0, bucket="b")
    queue = filled([mine, other])
    assert queue.first() is other
    assert queue.take("a", 9) == [mine]
    assert queue.first() is other
    assert queue.buckets == 1


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    crowd = [entry(float(number)) for number in range(1000)]
    queue = filled(crowd)
    for each in crowd[1:]:
        assert queue.forget(each)
        assert not queue.forget(each)
    assert len(line_of(queue).keys) == 1
    assert queue.forget(crowd[0])
    assert queue.line("a") is None
    assert (queue.entries, queue.rows, queue.buckets) == (0, 0, 0)


def test_the_expired_are_found_behind_those_of_a_higher_priority() -> None:
    calm, pressed = entry(9.0, priority=-1), entry(1.0)
    other = entry(1.5, bucket="b", priority=3)
    queue = filled([calm, pressed, other])
    assert queue.expires_s == 1.0
    assert queue.expired(0.9) == []
    assert queue.expired(1.0) == [pressed]
    assert queue.expires_s == 1.5
    assert queue.expired(2.0) == [other]
    assert queue.first() is calm
    assert queue.expires_s == 9.0


def test_those_without_a_deadline_never_expire() -> None:
    queue = filled([entry()])
    assert queue.expires_s == math.inf
    assert queue.expired(1e12) == []
    assert queue.entries == 1


def test_the_heads_before_a_newcomer_are_those_before_the_head_of_its_bucket() -> None:
    first, mine, third = entry(1.0, bucket="b"), entry(2.0), entry(3.0, bucket="c")
    queue = filled([third, mine, first])
    assert queue.heads_before(entry(9.0), 9) == (1, [first])  # it runs with ``mine``
    assert queue.heads_before(entry(0.5), 9) == (0, [])
    assert queue.heads_before(entry(9.0, bucket="d"), 9) == (3, [first, mine, third])
    assert queue.heads_before(entry(3.0, bucket="d"), 9) == (3, [first, mine, third])
    assert queue.heads_before(entry(2.5, bucket="d"), 9) == (2, [first, mine])
    assert queue.heads_before(entry(9.0, bucket="d"), 2) == (3, [first, mine])


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("place", [0, 1, 40, 400, 499, 500])
def test_rows_before_are_counted_from_either_end_of_a_long_line(rows: int, place: int) -> None:
    line = line_of(filled(entry(float(number), rows) for number in range(500)))
    assert line.rows_before(0, place - 0.5) == place * rows


def test_deep_in_a_long_line_of_mixed_rows_the_mean_is_taken() -> None:
    line = line_of(filled(entry(float(number), 1 + number % 3) for number in range(600)))
    exact = sum(1 + number % 3 for number in range(301))
    assert line.rows_before(0, 300.5) == pytest.approx(exact, rel=0.01)


@pytest.mark.slow
@EXAMPLES
@given(st.lists(entries, min_size=1, max_size=40), entries)
def test_rows_before_count_who_goes_first(crowd: list[Entry], newcomer: Entry) -> None:
    queue = filled(crowd)
    line = queue.line(newcomer.bucket)
    newcomer.sequence = 10**9
    before = [e for e in crowd if e.bucket == newcomer.bucket and order(e) < order(newcomer)]
    counted = 0 if line is None else line.rows_before(newcomer.priority, newcomer.deadline_s)
    assert counted == sum(each.rows for each in before)


@pytest.mark.slow
@EXAMPLES
@given(st.data(), st.lists(entries, max_size=30))
def test_whatever_is_done_to_it_it_is_a_sorted_list(
    data: st.DataObject, crowd: list[Entry]
) -> None:
    queue, plain = Queue(), list[Entry]()
    outside = list(crowd)
    for _ in range(len(crowd) * 2):
        deed = data.draw(st.sampled_from(["put", "put", "forget", "take", "expire"]))
        if deed == "put" and outside:
            each = outside.pop()
            queue.put(each)
            plain.append(each)
        elif deed == "forget" and plain:
            each = data.draw(st.sampled_from(plain))
            queue.forget(each)
            plain.remove(each)
            outside.append(each)
        elif deed == "take" and plain:
            head = min(plain, key=order)
            taken = queue.take(head.bucket, data.draw(st.integers(1, 6)))
            line = sorted((e for e in plain if e.bucket == head.bucket), key=order)
            assert taken == line[: len(taken)]
            assert taken
            plain = [each for each in plain if each not in taken]
            outside += taken
        elif deed == "expire":
            now = data.draw(st.floats(0.0, 5.0))
            gone = queue.expired(now)
            assert set(gone) == {each for each in plain if each.deadline_s <= now}
            plain = [each for each in plain if each.deadline_s > now]
            if gone:
                assert queue.expires_s == min((e.deadline_s for e in plain), default=math.inf)
        assert queue.first() is min(plain, key=order, default=None)
        assert queue.last() is max(plain, key=order, default=None)
        for priority in (-2, -1, 0, 1, 2):
            assert queue.has_after(priority) == any(each.priority > priority for each in plain)
        assert set(queue) == set(plain)
        assert all(each.waiting for each in plain)
        assert not any(each.waiting for each in outside)
        assert queue.entries == len(plain)
        assert queue.rows == sum(each.rows for each in plain)
        assert queue.buckets == len({each.bucket for each in plain})
        assert queue.expires_s <= min((e.deadline_s for e in plain), default=math.inf)
        for bucket in "abc":
            rows = sum(each.rows for each in plain if each.bucket == bucket)
            assert queue.rows_of(bucket) == rows
