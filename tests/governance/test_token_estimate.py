"""Estimates of what was not counted: within the reservation, and learned from what was counted."""

import random
import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.usage import Usage
from ragstone.governance.token_bound import most_input, most_tokens
from ragstone.governance.token_estimate import TokenEstimates, about_tokens, is_overlong
from ragstone.ports import Prompt, PromptMessage

ENGLISH = "Full-price items can be returned within 45 days of delivery, unworn, with their tags. "


def prompt(*turns: str, max_tokens: int = 10_000) -> Prompt:
    messages = [PromptMessage("user", turn) for turn in turns]
    return Prompt(system="Answer.", messages=messages, max_tokens=max_tokens)


@given(st.text(max_size=300))
def test_an_estimate_is_within_the_bound(text: str) -> None:
    assert 0 <= about_tokens(text) <= most_tokens(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [  # the least and the most of four vocabularies
        (ENGLISH * 4, (81, 81)),
        (
            "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n",
            (19, 24),
        ),
        ("4471-0093-2281 4471-0093-2282 4471-0093-2283", (24, 26)),
        ("Sie können Artikel innerhalb von 45 Tagen nach der Lieferung zurückgeben.", (14, 19)),
        ("全品は配送後45日以内であれば返品できます。", (14, 21)),
    ],
)
def test_an_estimate_is_near_what_vocabularies_make(text: str, tokens: tuple[int, int]) -> None:
    assert 0.8 * min(tokens) <= about_tokens(text) <= 1.5 * max(tokens)


@given(
    st.lists(st.text(max_size=50), max_size=4),
    st.text(max_size=500),
    st.integers(1, 100),
    st.lists(st.tuples(st.text(max_size=200), st.integers(1, 9_999), st.integers(0, 9_999))),
)
def test_a_call_that_was_broken_off_is_within_what_was_reserved(
    turns: list[str], said: str, max_tokens: int, learned: list[tuple[str, int, int]]
) -> None:
    estimates = TokenEstimates()
    for text, read, written in learned:
        counted = Usage(input_tokens=read, output_tokens=written)
        estimates.learn("m", prompt(text), text, counted)
    asked = prompt(*turns, max_tokens=max_tokens)
    usage = estimates.of("m", asked, said)
    assert usage.estimated
    assert usage.input_tokens <= most_input(asked)
    assert usage.output_tokens <= max_tokens or is_overlong(len(said.encode()), max_tokens)


def test_a_text_that_no_limit_has_cut_is_charged_as_it_came() -> None:
    asked = prompt(max_tokens=10)
    within, beyond = ENGLISH * 3, ENGLISH * 8
    assert not is_overlong(len(within), 10)
    assert TokenEstimates().of("m", asked, within).output_tokens == 10
    assert is_overlong(len(beyond), 10)
    assert TokenEstimates().of("m", asked, beyond).output_tokens >= about_tokens(beyond)


@pytest.mark.parametrize("ratio", [0.4, 0.9, 1.0, 1.7, 2.5])
def test_cut_streams_are_charged_in_sum_no_less_and_little_more(ratio: float) -> None:
    """Of a vocabulary that makes `ratio` times the tokens, and up to a quarter more or less."""
    chance, estimates = random.Random(7), TokenEstimates()

    def counted(text: str) -> int:
        return round(about_tokens(text) * ratio * chance.uniform(0.75, 1.25))

    charged = truth = 0
    for number in range(600):
        text = ENGLISH * chance.randint(2, 20)
        asked = prompt(text, max_tokens=100_000)
        usage = Usage(input_tokens=counted(text), output_tokens=counted(text))
        if number % 2 or number < 60:
            estimates.learn("m", asked, text, usage)
        else:
            charged += estimates.of("m", asked, text).output_tokens
            truth += usage.output_tokens
    assert 1.0 <= charged / truth <= 1.25


def test_reasoning_that_nobody_sees_is_learned_too() -> None:
    estimates, text = TokenEstimates(), ENGLISH * 4
    for number in range(40):
        usage = Usage(input_tokens=20, output_tokens=about_tokens(text) + 900 + number)
        estimates.learn("thinks", prompt("Why?"), text, usage)
        estimates.learn("writes", prompt("Why?"), text, Usage(input_tokens=20, output_tokens=80))
    cut = [estimates.of("thinks", prompt("Why?"), text[:at]).output_tokens for at in (0, 40, 340)]
    assert 850 <= cut[0] <= 1_200
    assert all(one < other for one, other in pairwise(cut))
    assert estimates.of("writes", prompt("Why?"), "").output_tokens == 0


def test_each_model_is_learned_by_itself() -> None:
    estimates, text = TokenEstimates(), ENGLISH * 4
    before = estimates.of("other", prompt(text), text)
    for _ in range(20):
        usage = Usage(input_tokens=2 * about_tokens(text), output_tokens=2 * about_tokens(text))
        estimates.learn("m", prompt(text), text, usage)
    assert estimates.of("other", prompt(text), text) == before
    assert estimates.of("m", prompt(text), text).output_tokens > before.output_tokens


def test_what_has_no_words_has_its_tokens_still() -> None:
    chance = random.Random(1)
    secret = "".join(chance.choices(string.ascii_letters + string.digits, k=2_000))
    assert about_tokens(secret) >= 1_000  # as vocabularies make 1,400; four characters say 500
