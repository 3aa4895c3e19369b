"""Excerpts keep what matters, within their share, and never a word that is not in the passage."""

from hypothesis import given
from hypothesis import strategies as st

from ragstone.pipeline.compress import ELLIPSIS, compress, excerpts
from tests.pipeline.passages import passage

RETURNS = (
    "Our shops are open from Monday to Saturday. Full-price items can be returned within 45 days "
    "of delivery. We like dogs. Every shop has water for them."
)
_TEXTS = st.lists(
    st.text(st.sampled_from("ab1 .?\n-|:é…"), min_size=1, max_size=200), min_size=1, max_size=5
)


def test_the_sentence_that_answers_stays() -> None:
    [excerpt] = compress("Within how many days can items be returned?", [passage(RETURNS)], 0.5)
    assert excerpt.text == (
        f"{ELLIPSIS} Full-price items can be returned within 45 days of delivery. {ELLIPSIS}"
    )


def test_a_passage_of_which_nothing_matters_is_empty() -> None:
    other = passage("The founder had a dog named Bolt.", number=2)
    first, second = compress("How many days for returns?", [passage(RETURNS), other], 0.4)
    assert "45 days" in first.text
    assert second.text == ""
    assert second.spans == ()


def test_a_sentence_keeps_its_heading_and_the_one_it_leans_on() -> None:
    text = (
        "Other things\n\nNothing of interest is written here at all, in many words and more.\n\n"
        "Gift cards\n\nA gift card is valid for three years. It cannot be exchanged for cash."
    )
    [excerpt] = compress("Can cash be had in exchange?", [passage(text)], 0.75)
    assert "Gift cards" in excerpt.text
    assert "A gift card is valid for three years. It cannot be exchanged" in excerpt.text
    assert "Nothing of interest" not in excerpt.text


def test_where_one_sentence_stands_out_less_than_the_share_is_kept() -> None:
    asked = "Within how many days of delivery can full-price items be returned?"
    [clear] = compress(asked, [passage(RETURNS)], 0.95)
    [alike] = compress("Tell me more", [passage(RETURNS)], 0.95)
    assert "45 days" in clear.text
    assert "water" not in clear.text
    assert "water" in alike.text


def test_the_same_sentence_is_kept_once_and_another_figure_is_another_sentence() -> None:
    found = [
        passage("Returns take 30 days. They are free.", document="a"),
        passage("Returns take 30 days! In Cork they take longer.", number=2, document="b"),
        passage("Returns take 45 days.", number=3, document="c"),
    ]
    texts = [excerpt.text for excerpt in compress("How many days do returns take?", found, 0.99)]
    assert "30 days" in texts[0]
    assert "30 days" not in texts[1]
    assert "45 days" in texts[2]


def test_no_sentence_is_the_same_with_and_without_a_negation() -> None:
    found = [
        passage("The fee is refunded.", document="a"),
        passage("The fee is not refunded.", number=2, document="b"),
    ]
    assert all(e.text for e in compress("Is the fee refunded?", found, 1.0))


@given(_TEXTS, st.floats(0.05, 1.0), st.text("ab1 ?", max_size=20))
def test_excerpts_are_pieces_of_the_passages_within_the_share(
    texts: list[str], share: float, query: str
) -> None:
    found = [passage(text, number=n, document=f"d{n}") for n, text in enumerate(texts, 1)]
    cut = compress(query, found, share)
    assert len(cut) == len(found)
    pieces = [text[a:b] for text, e in zip(texts, cut, strict=True) for a, b in e.spans]
    for text, excerpt in zip(texts, cut, strict=True):
        ends = [end for span in excerpt.spans for end in span]
        assert ends == sorted(ends)
        assert all(0 <= end <= len(text) for end in ends)
        for start, end in excerpt.spans:
            assert text[start:end] in excerpt.text
    allowed = share * sum(len(text.encode()) for text in texts)
    size = sum(len(piece.encode()) for piece in pieces)
    assert size <= max(allowed, *(len(text.encode()) for text in texts))


@given(_TEXTS)
async def test_the_whole_share_leaves_the_texts_as_they_are(texts: list[str]) -> None:
    found = [passage(text, number=n) for n, text in enumerate(texts, 1)]
    assert await excerpts("a", found, 1.0) == texts


def test_the_same_question_is_always_cut_in_the_same_way() -> None:
    found = [passage(RETURNS), passage("The founder had a dog named Bolt.", number=2)]
    assert compress("dogs?", found, 0.5) == compress("dogs?", found, 0.5)
