"""Sentences are found where a reader would find them, and nothing is lost between them."""

from hypothesis import given
from hypothesis import strategies as st

from ragstone.pipeline.sentences import content_words, sentence_spans


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def test_abbreviations_and_decimals_do_not_end_a_sentence() -> None:
    text = "Costs are approx. 4.50 EUR, e.g. for Dr. Lee. Ask us! Really?\n\nNew paragraph"
    assert _sentences(text) == [
        "Costs are approx. 4.50 EUR, e.g. for Dr. Lee.",
        "Ask us!",
        "Really?",
        "New paragraph",
    ]


def test_list_items_stand_alone() -> None:
    assert _sentences("You need:\n- the receipt\n- the tag\n2. a bag") == [
        "You need:",
        "- the receipt",
        "- the tag",
        "2. a bag",
    ]


@given(st.text(max_size=300))
def test_spans_are_in_order_and_cover_all_text(text: str) -> None:
    spans = sentence_spans(text)
    position = 0
    for start, end in spans:
        assert position <= start < end
        assert not text[position:start].strip()
        position = end
    assert not text[position:].strip()


def test_content_words_leave_out_the_commonest_and_plurals() -> None:
    assert content_words("How do I return the dresses and deliveries?") == {
        "return",
        "dresse",
        "delivery",
    }
