from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import errors
from headrace.client.retry import RetryBudget, RetryPolicy
from headrace.errors import ConnectionFailed, ConnectionLost, HeadraceError

KINDS = [
    errors.InvalidInput,
    errors.QueueFull,
    errors.Expired,
    errors.NotReady,
    errors.ModelFailed,
    errors.EngineLost,
    errors.InternalError,
    ConnectionFailed,
    ConnectionLost,
]
policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 6),
    backoff_s=st.floats(0, 1),
    longest_backoff_s=st.floats(1, 5),
)
pasts = st.lists(
    st.builds(
        lambda kind, after_s: kind("why", retry_after_s=after_s),
        st.sampled_from(KINDS),
        st.none() | st.floats(0, 10),
    ),
    min_size=1,
    max_size=8,
)
lefts, draws = st.floats(-1, 20), st.floats(0, 1)


@given(policies, pasts, lefts, draws, st.booleans())
def test_a_pause_fits_keeps_what_the_server_asked_and_is_bounded(
    policy: RetryPolicy, past: list[HeadraceError], left_s: float, draw: float, again: bool
) -> None:
    pause_s = policy.pause_s(past, left_s, draw, repeatable=again)
    if pause_s is None:
        return
    asked_s = past[-1].retry_after_s or 0
    assert asked_s <= pause_s < left_s
    assert pause_s <= asked_s + min(policy.longest_backoff_s, policy.backoff_s * 2 ** len(past))
    assert len(past) < policy.attempts
    assert past[-1].retryable


@given(policies, pasts, lefts, draws)
def test_what_must_not_run_twice_is_tried_again_only_when_nothing_was_sent(
    policy: RetryPolicy, past: list[HeadraceError], left_s: float, draw: float
) -> None:
    pause_s = policy.pause_s(past, left_s, draw, repeatable=False)
    assert pause_s is None or isinstance(past[-1], ConnectionFailed)


@given(policies, pasts, lefts, draws)
def test_a_request_that_loses_two_connections_is_given_up(
    policy: RetryPolicy, past: list[HeadraceError], left_s: float, draw: float
) -> None:
    past = [*past, ConnectionLost("one"), ConnectionLost("two")]
    assert policy.pause_s(past, left_s, draw, repeatable=True) is None


def test_with_time_a_retryable_error_is_tried_again_and_another_is_not() -> None:
    policy = RetryPolicy()
    assert policy.pause_s([errors.QueueFull("")], 10, 0.5, repeatable=True) == 0.025
    assert policy.pause_s([errors.InvalidInput("")], 10, 0.5, repeatable=True) is None
    assert policy.pause_s([errors.QueueFull("")] * 2, 10, 1, repeatable=True) == 0.1
    assert policy.pause_s([errors.QueueFull("")] * 3, 10, 1, repeatable=True) is None


@pytest.mark.parametrize("keys", [{"attempts": 0}, {"backoff_s": -1}, {"backoff_s": 3}])
def test_a_policy_that_makes_no_sense_is_refused(keys: dict[str, float]) -> None:
    with pytest.raises(errors.SettingsError, match="attempts is 1 or more"):
        RetryPolicy(**keys)  # type: ignore[arg-type]


@given(st.lists(st.booleans(), max_size=300))
def test_retries_are_a_fraction_of_successes_and_a_first_few(asked: list[bool]) -> None:
    budget = RetryBudget(size=10, refill=0.125)
    successes = retries = 0
    for retry in asked:
        if retry:
            retries += budget.take()
        else:
            budget.succeed()
            successes += 1
        assert retries <= 10 + successes / 8


def test_threads_do_not_take_more_than_there_is() -> None:
    budget = RetryBudget(size=10)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: budget.take(), range(200))) == 10
