"""How long questions to an engine wait after one of them met silence."""

from contextlib import suppress

import pytest

from ragstone.hop.patience import SHORT_SECONDS, Patience


def met_silence() -> Patience:
    patience = Patience()
    with suppress(TimeoutError), patience.waiting(2.0):
        raise TimeoutError
    return patience


def test_at_first_each_question_has_its_time() -> None:
    patience = Patience()
    with patience.waiting(2.0) as first, patience.waiting(1.0) as second:
        assert (first, second) == (2.0, 1.0)


def test_after_a_silence_one_at_a_time_has_all_its_time() -> None:
    patience = met_silence()
    with suppress(TimeoutError), patience.waiting(2.0) as trying:
        with suppress(TimeoutError), patience.waiting(2.0) as other:
            raise TimeoutError
        assert (trying, other) == (2.0, SHORT_SECONDS)
        raise TimeoutError
    with patience.waiting(2.0) as next_one:
        assert next_one == 2.0


def test_any_answer_gives_all_their_time_back() -> None:
    patience = met_silence()
    with suppress(TimeoutError), patience.waiting(2.0):
        with patience.waiting(2.0):
            pass
        with patience.waiting(2.0) as after:
            assert after == 2.0
        raise TimeoutError


def test_who_is_given_up_around_an_answer_says_nothing_of_a_silence() -> None:
    patience = met_silence()
    with patience.waiting(2.0) as trying:
        with suppress(TimeoutError), patience.waiting(2.0) as short:
            with patience.waiting(2.0):
                """Is answered."""
            raise TimeoutError
        assert (trying, short) == (2.0, SHORT_SECONDS)
    with patience.waiting(2.0) as one, patience.waiting(2.0) as another:
        assert (one, another) == (2.0, 2.0)


@pytest.mark.parametrize("ended", [ConnectionError, KeyboardInterrupt])
def test_a_try_that_ends_otherwise_leaves_the_next_one_to_try(ended: type[BaseException]) -> None:
    patience = met_silence()
    with suppress(ended), patience.waiting(2.0):
        raise ended
    with patience.waiting(2.0) as seconds:
        assert seconds == 2.0


def test_who_waits_without_limit_goes_on_doing_so_and_is_no_try() -> None:
    patience = met_silence()
    with patience.waiting(None) as unlimited, patience.waiting(2.0) as trying:
        assert (unlimited, trying) == (None, 2.0)
