"""Passages are packed within the budget, best first, each thing once."""

from hypothesis import given
from hypothesis import strategies as st

from ragstone.pipeline.pack import pack
from tests.pipeline.passages import passage


def _words(text: str) -> int:
    return len(text.split())


@given(
    st.lists(st.text("ab ", min_size=1, max_size=40), max_size=12),
    st.integers(1, 10),
    st.integers(1, 30),
)
def test_never_over_the_budget_and_in_order(texts: list[str], top_k: int, budget: int) -> None:
    found = [passage(text, number=n, document=f"doc_{n}") for n, text in enumerate(texts, 1)]
    packed = pack(found, top_k=top_k, budget_tokens=budget, count_tokens=_words)
    assert len(packed.passages) <= top_k
    assert packed.tokens == sum(_words(p.text) for p in packed.passages)
    assert packed.tokens <= budget or len(packed.passages) == 1
    assert [p.ordinal for p in packed.passages] == sorted(p.ordinal for p in packed.passages)
    assert packed.passages[:1] == found[:1]


def test_the_same_text_is_packed_once() -> None:
    found = [
        passage("Thirty days.", document="a"),
        passage("thirty  days.", number=2, document="b"),
        passage("No fee.", number=3, document="c"),
    ]
    packed = pack(found, top_k=3, budget_tokens=100, count_tokens=_words)
    assert [p.document_id for p in packed.passages] == ["a", "c"]


def test_a_passage_inside_another_is_left_out() -> None:
    whole = passage("Thirty days. No fee.", document="a")
    part = passage("No fee.", number=2, document="a", start=13)
    packed = pack([whole, part], top_k=3, budget_tokens=100, count_tokens=_words)
    assert packed.passages == [whole]


def test_a_smaller_passage_may_follow_one_that_does_not_fit() -> None:
    found = [
        passage("one two three", document="a"),
        passage("one two three four five", number=2, document="b"),
        passage("six", number=3, document="c"),
    ]
    packed = pack(found, top_k=3, budget_tokens=5, count_tokens=_words)
    assert [p.document_id for p in packed.passages] == ["a", "c"]
