"""No client ever sees a citation of something that is not there, however the text is sliced."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ragstone.pipeline.citations import CitationFilter, statements_by_citation

texts = st.lists(
    st.sampled_from(
        ["30 days", "[1]", "[2, 9]", "[", "]", "[[", "[12]", " ", "[1", "]. ", "é", "3"]
    )
).map("".join)


def _filtered(pieces: list[str], passages: int) -> tuple[str, CitationFilter]:
    citations = CitationFilter(passages)
    shown = "".join(citations.feed(piece) for piece in pieces) + citations.flush()
    return shown, citations


def test_numbers_that_cite_nothing_are_taken_out() -> None:
    shown, citations = _filtered(["Thirty days [1, 7][", "2]. No fee [8]."], passages=2)
    assert shown == "Thirty days [1][2]. No fee ."
    assert citations.cited == [1, 2]
    assert citations.removed == 2


def test_brackets_that_are_no_citations_stay() -> None:
    text = "See [the guide] and a[0x1] and [ ] and [1.5]."
    assert _filtered(list(text), passages=3)[0] == text


@given(texts, st.lists(st.integers(0, 200)), st.integers(0, 5))
def test_slicing_makes_no_difference(text: str, cuts: list[int], passages: int) -> None:
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(borders)]
    sliced, one = _filtered(pieces, passages)
    whole, other = _filtered([text], passages)
    assert sliced == whole
    assert (one.cited, one.removed) == (other.cited, other.removed)


@given(texts, st.integers(0, 5))
def test_what_is_shown_cites_only_what_exists(text: str, passages: int) -> None:
    shown, citations = _filtered(list(text), passages)
    again = CitationFilter(passages)
    again.feed(shown)
    again.flush()
    assert all(1 <= number <= passages for number in citations.cited)
    assert set(again.cited) <= set(range(1, passages + 1))


def test_statements_are_found_by_their_citation() -> None:
    text = "Returns take 30 days [1]. Sale items take 14 [2][1]. Gift cards never expire."
    assert statements_by_citation(text) == {
        1: "Returns take 30 days . Sale items take 14 .",
        2: "Sale items take 14 .",
    }
