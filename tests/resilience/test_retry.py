"""Retries stay within their budget and are never earlier than they were asked to be."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.errors import (
    CircuitOpen,
    DeadlineExceeded,
    DependencyBusy,
    ModelAuthentication,
    ModelFailed,
    ModelNotFound,
    ModelProtocolError,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejectedRequest,
    ModelTimedOut,
    ModelUnreachable,
    RagstoneError,
)
from ragstone.resilience.retry import Retries, RetryBudget, RetrySettings, is_worth_repeating

SHORT = ModelRateLimited("429", retry_after=0.5)


@pytest.mark.parametrize(
    "error",
    [ModelUnreachable("x"), ModelFailed("x"), ModelProtocolError("x"), SHORT],
    ids=lambda error: error.code,
)
def test_what_may_do_better_in_a_moment_is_repeated(error: RagstoneError) -> None:
    assert is_worth_repeating(error)


@pytest.mark.parametrize(
    "error",
    [
        ModelTimedOut("x"),
        ModelQuotaExhausted("x"),
        ModelAuthentication("x"),
        ModelNotFound("x"),
        ModelRejectedRequest("x"),
        ModelRateLimited("says not how long"),
        ModelRateLimited("x", retry_after=20.0),
        ModelFailed("x", retry_after=20.0),
        CircuitOpen("x", retry_after=0.1),
        DependencyBusy("x", retry_after=0.1),
        DeadlineExceeded("x"),
    ],
    ids=lambda error: f"{error.code}-{error.retry_after}",
)
def test_what_stays_as_it_is_or_is_slow_is_not(error: RagstoneError) -> None:
    assert not is_worth_repeating(error)


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.0, 0.05, 0.1, 0.5]))
def test_the_budget_bounds_retries_at_any_time(wishes: list[bool], share: float) -> None:
    budget = RetryBudget(share)
    firsts = retries = 0
    for wants in wishes:
        budget.deposit()
        firsts += 1
        while wants and budget.withdraw():
            retries += 1
    assert retries <= 1 + share * firsts + 1e-6


def test_calm_times_do_not_save_up_a_burst() -> None:
    budget = RetryBudget(0.1)
    for _ in range(10_000):
        budget.deposit()
    burst = 0
    while budget.withdraw():
        burst += 1
    assert burst <= 10


def test_a_quiet_server_may_retry_once() -> None:
    retries = Retries(RetrySettings(), random=Random(1))
    retries.budget.deposit()
    assert retries.pause(ModelUnreachable("x"), attempts=1, time_left=10.0) is not None
    assert retries.pause(ModelUnreachable("x"), attempts=1, time_left=10.0) is None


@given(st.integers(0, 1000), st.floats(0, 2), st.integers(1, 9), st.floats(0, 60))
def test_a_pause_is_never_earlier_than_asked_and_fits(
    seed: int, retry_after: float, attempts: int, time_left: float
) -> None:
    retries = Retries(RetrySettings(attempts=10, base_seconds=0.1), random=Random(seed))
    error = ModelRateLimited("429", retry_after=retry_after)
    pause = retries.pause(error, attempts=attempts, time_left=time_left)
    if pause is not None:
        assert pause > retry_after
        assert pause < time_left
        assert pause <= retry_after + 0.001 + min(2.0, 0.1 * 2 ** (attempts - 1))


def test_a_pause_that_does_not_fit_costs_no_budget() -> None:
    retries = Retries(RetrySettings(), random=Random(1))
    assert retries.pause(SHORT, attempts=1, time_left=0.4) is None
    assert retries.pause(SHORT, attempts=1, time_left=4.0) is not None


def test_attempts_are_bounded() -> None:
    retries = Retries(RetrySettings(attempts=2), random=Random(1))
    assert retries.pause(ModelFailed("x"), attempts=2, time_left=10.0) is None
