"""Extractive answers: what is quoted is there, is cited, and is refused when nothing fits."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.errors import EmbedderError, ModelFilesMissing
from ragstone.domain.passage import Passage, Scores
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.pipeline.cues import answer_types, content_stems, holds_answer_type, stem
from ragstone.pipeline.extract import Extract, extract
from ragstone.pipeline.units import split_units
from ragstone.ports import Embedder

RETURNS = (
    "How long you have\n\n"
    "What you bought | Return window\n"
    "What you bought: Full-price items; Return window: 45 days from delivery\n"
    "What you bought: Sale items; Return window: 21 days from delivery\n\n"
    "The day after the parcel is delivered counts as day one. "
    "This also holds for gifts from Mr. Hale, e.g. vouchers."
)
COST = (
    "What it costs\n\n"
    "Returning in any full-price store is free. A prepaid parcel label costs EUR 3.95 per return. "
    "Large items collected by our crew cost EUR 39 to send back."
)
CARE = "Wash wool by hand in cold water. Dry it flat on a towel, never in the sun."


def passage(number: int, text: str, *, title: str = "Policy", start: int = 1_000) -> Passage:
    return Passage(
        chunk_id=f"c{number}",
        document_id=f"d{number}",
        external_id=f"e{number}",
        version=1,
        ordinal=0,
        title=title,
        text=text,
        start=start,
        end=start + len(text),
        scores=Scores(fused=1 / number),
    )


PASSAGES = [
    passage(1, RETURNS, title="Returns policy"),
    passage(2, COST, title="Returns policy"),
    passage(3, CARE, title="Wool care", start=7),
]


class BrokenEmbedder(HashingEmbedder):
    async def embed_documents(self, texts):
        raise EmbedderError("down")


@pytest.fixture(scope="module")
def minilm() -> Iterator[MiniLmEmbedder]:
    try:
        loaded = MiniLmEmbedder()
    except ModelFilesMissing as error:
        pytest.skip(f"the embedding model is not there: {error}")
    yield loaded
    asyncio.run(loaded.close())


@pytest.fixture(params=["hashing", "broken", "minilm"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "minilm":
        return request.getfixturevalue("minilm")
    return HashingEmbedder() if request.param == "hashing" else BrokenEmbedder()


def quoted(result: Extract, passages: list[Passage]) -> list[str]:
    return [
        passages[q.number - 1].text[
            q.start - passages[q.number - 1].start : q.end - passages[q.number - 1].start
        ]
        for q in result.citations
    ]


@pytest.mark.parametrize(
    ("question", "expected", "number"),
    [
        ("How long is the return window for sale items?", "Sale items; Return window: 21 days", 1),
        ("How much does a prepaid parcel label cost?", "EUR 3.95", 2),
        ("How do I wash wool?", "Wash wool by hand", 3),
    ],
)
async def test_the_sentence_that_answers_is_quoted_and_cited(
    embedder, question, expected, number
) -> None:
    result = await extract(question, PASSAGES, embedder)
    assert result.found
    assert expected in result.text
    assert f"[{number}]" in result.text
    assert any(expected in quote for quote in quoted(result, PASSAGES))


@pytest.mark.parametrize(
    "question", ["What is the dose of ibuprofen for a child?", "Who founded Copenhagen?"]
)
async def test_what_is_not_there_is_not_found(embedder, question) -> None:
    result = await extract(question, PASSAGES, embedder)
    assert not result.found
    assert result.text == ""
    assert result.citations == ()


async def test_what_is_said_of_one_place_is_no_answer_about_another(embedder) -> None:
    hours = [passage(1, "The store in Cork opens at 9:30 on weekdays.", title="Opening hours")]
    assert (await extract("When does the store in Cork open?", hours, embedder)).found
    assert not (await extract("When does the store in Copenhagen open?", hours, embedder)).found


@pytest.mark.parametrize("passages", [[], [passage(1, "")], [passage(1, " \n\n ")]])
async def test_nothing_is_found_in_nothing(embedder, passages) -> None:
    assert not (await extract("How long?", passages, embedder)).found


@pytest.mark.parametrize("question", ["", "?", "the of and"])
async def test_a_question_without_words_is_not_answered(embedder, question) -> None:
    assert not (await extract(question, PASSAGES, embedder)).found


async def test_a_failing_embedder_is_said(embedder) -> None:
    result = await extract("How do I wash wool?", PASSAGES, embedder)
    assert result.degraded == (("extract_lexical",) if isinstance(embedder, BrokenEmbedder) else ())


async def test_at_most_the_asked_number_of_sentences(embedder) -> None:
    for limit in (1, 2, 3):
        result = await extract("What does returning cost?", PASSAGES, embedder, max_sentences=limit)
        assert 1 <= len(result.citations) <= limit


async def test_the_same_sentence_is_not_quoted_twice(embedder) -> None:
    copies = [passage(number, COST) for number in (1, 2, 3)]
    result = await extract("How much does a prepaid parcel label cost?", copies, embedder)
    quotes = quoted(result, copies)
    assert len(set(quotes)) == len(quotes)


async def test_quotes_of_a_passage_keep_its_order(embedder) -> None:
    text = "Delivery to islands costs EUR 20. Walls are blue. Delivery to towns costs EUR 5."
    result = await extract("What does delivery cost?", [passage(1, text)], embedder)
    assert [q.start for q in result.citations] == sorted(q.start for q in result.citations)
    assert "EUR 20" in result.text
    assert "EUR 5" in result.text


async def test_a_sentence_that_leans_back_brings_what_it_leans_on(embedder) -> None:
    text = "The spare key hangs in the blue cabinet. It must be signed for with the store manager."
    question = "With whom must I sign? The store manager?"
    result = await extract(question, [passage(1, text)], embedder)
    assert len(result.citations) == 2
    assert result.text.startswith("The spare key")


async def test_a_list_item_brings_its_lead_in(embedder) -> None:
    text = "We never take back:\n\n- opened candles and lamp oil\n- swimwear without its seal\n"
    text = text.replace(":\n\n", ":\n")
    result = await extract("Can I return opened candles?", [passage(1, text)], embedder)
    assert result.text.startswith("We never take back: [1]\nopened candles and lamp oil [1]")


async def test_numbers_in_brackets_do_not_look_like_citations(embedder) -> None:
    text = "Wool shrinks in hot water [7]. See also the appendix."
    result = await extract("Does wool shrink in hot water?", [passage(1, text)], embedder)
    assert "(7)" in result.text
    assert "[7]" not in result.text


async def test_a_record_is_quoted_as_a_whole_without_its_path(embedder) -> None:
    text = (
        "methods[0].name: Visa\nmethods[0].refund: 3 to 5 working days\n"
        "methods[1].name: PayPal\nmethods[1].refund: same day"
    )
    result = await extract("How long does a PayPal refund take?", [passage(1, text)], embedder)
    assert "name: PayPal; refund: same day [1]" in result.text


async def test_a_known_vector_is_not_embedded_again() -> None:
    class CountingEmbedder(HashingEmbedder):
        queries = 0

        async def embed_query(self, text):
            self.queries += 1
            return await super().embed_query(text)

    embedder = CountingEmbedder()
    vector = await HashingEmbedder().embed_query("How do I wash wool?")
    given = await extract("How do I wash wool?", PASSAGES, embedder, vector=vector)
    assert embedder.queries == 0
    assert given == await extract("How do I wash wool?", PASSAGES, embedder)


async def test_much_text_is_read_outside_of_the_event_loop(embedder) -> None:
    long = [passage(1, CARE + " The weather was fine in the valley." * 400)]
    assert "Wash wool by hand" in (await extract("How do I wash wool?", long, embedder)).text


pieces = st.sampled_from(
    [
        "Sale items can be returned within 21 days.",
        "This is short!",
        "Heading here",
        "Size: M; Chest: 92",
        "A | B",
        "- a list item",
        "1. first step",
        "rows[0].name: Visa",
        "[3]",
        "Dr. No. vs. 3.5 kg etc.",
        "price 12 € für Größe 44",
        "全角の文です。次の文です。",
        ":",
        "...",
        "Note:",
    ]
)
texts = st.lists(st.tuples(pieces, st.sampled_from([" ", "\n", "\n\n", "\t", "\r\n"])), max_size=12)


@given(parts=texts, tail=st.text(max_size=40))
def test_units_are_in_order_apart_and_without_white_space_at_their_ends(parts, tail) -> None:
    text = "".join(piece + gap for piece, gap in parts) + tail
    units = split_units(text, ("Heading here",))
    end = 0
    for position, unit in enumerate(units):
        assert end <= unit.start < unit.end <= len(text)
        assert text[unit.start : unit.end] == text[unit.start : unit.end].strip()
        assert all(0 <= above < position for above in unit.context)
        end = unit.end
    assert bool(units) or not text.strip()


@given(parts=texts, question=st.text(max_size=60))
async def test_every_quote_stands_in_its_passage(parts, question) -> None:
    text = "".join(piece + gap for piece, gap in parts)
    passages = [passage(1, text), passage(2, CARE, start=0)]
    result = await extract(question + " return sale items days", passages, BrokenEmbedder())
    assert result.found == bool(result.citations) == (result.text != "")
    for quote in result.citations:
        assert passages[quote.number - 1].start <= quote.start < quote.end
        assert quote.end <= passages[quote.number - 1].end
        assert f"[{quote.number}]" in result.text


def kinds(text: str, headings: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(u.kind, text[u.start : u.end]) for u in split_units(text, headings)]


def test_abbreviations_do_not_end_sentences() -> None:
    text = "Ask Dr. Moss, e.g. on Fri. 3 May. He is in No. 5. Prices are approx. EUR 2.50."
    assert [words for _, words in kinds(text)] == [
        "Ask Dr. Moss, e.g. on Fri. 3 May.",
        "He is in No. 5.",
        "Prices are approx. EUR 2.50.",
    ]


def test_headings_and_table_headers_are_context_of_what_follows() -> None:
    units = split_units(RETURNS)
    assert [unit.kind for unit in units[:4]] == ["heading", "heading", "row", "row"]
    assert units[3].context == (0, 1)


def test_wrapped_lines_are_one_sentence_and_new_ones_are_not() -> None:
    text = (
        "The parcel leaves our warehouse in the morning\nand arrives in the evening.\n"
        "Short line\nAnother thing."
    )
    assert [words for _, words in kinds(text)] == [
        "The parcel leaves our warehouse in the morning\nand arrives in the evening.",
        "Short line",
        "Another thing.",
    ]


def test_text_without_capitals_still_has_sentences() -> None:
    assert len(kinds("net income rose in 2002. the increase was due to rates. costs fell.")) == 3


def test_only_short_lines_are_quotable_all_the_same() -> None:
    assert {kind for kind, _ in kinds("Blue\n\nGreen\n\nRed")} != {"heading"}


@pytest.mark.parametrize(
    ("question", "text", "kind"),
    [
        ("How long can I keep it?", "within 30 days", "time"),
        ("When do you open?", "from 9:30", "time"),
        ("How much is delivery?", "delivery is free", "money"),
        ("What does a zip cost?", "job: zip; price_eur: 22", "money"),
        ("How many stores are there?", "twelve stores", "number"),
        ("Where is the repair desk?", "at the store in Cork", "name"),
    ],
)
def test_questions_know_what_kind_of_answer_they_want(question, text, kind) -> None:
    assert kind in answer_types(question)
    assert holds_answer_type(text, [kind])
    assert not holds_answer_type("on every floor", [kind])


def test_forms_of_a_word_meet_in_one_stem() -> None:
    for forms in (
        "return returns returned returning",
        "deliver delivery delivered deliveries delivers",
        "ship ships shipped shipping",
        "charge charges charged",
    ):
        assert len({stem(form) for form in forms.split()}) == 1
    assert content_stems("What is the price of it?") == {stem("price")}


@given(st.text())
def test_a_stem_stands_in_the_text_that_it_was_taken_from(text: str) -> None:
    assert all(found in text.casefold() for found in content_stems(text))


async def test_quotes_of_several_documents_stand_under_their_titles(embedder) -> None:
    found = [
        passage(1, "Sale items can be returned within 21 days.", title="Returns 2026"),
        passage(2, "The return window of sale items: 14 days in all shops.", title="Returns 2024"),
    ]
    result = await extract("How many days to return sale items?", found, embedder)
    titles = {f"[{n}]": f"Returns {year}: " for n, year in ((1, 2026), (2, 2024))}
    lines = result.text.split("\n\n")
    assert len(lines) == 2
    assert all(line.startswith(titles[line[-3:]]) for line in lines)


async def test_quotes_of_one_document_need_no_title(embedder) -> None:
    result = await extract("How many days to return sale items?", PASSAGES[:1], embedder)
    assert result.found
    assert not result.text.startswith("Returns policy:")
