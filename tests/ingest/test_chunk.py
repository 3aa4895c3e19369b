"""Chunks follow the structure, lose nothing, and keep their size."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.document import Block, Chunk, ParsedDocument
from ragstone.ingest.atoms import TokenCounter
from ragstone.ingest.chunk import Chunker, ChunkSettings, chunk
from ragstone.ingest.context import embedding_text, lexical_text, table_headers


def count_words(text: str) -> int:
    """Three characters to a token, word by word."""
    return sum(-(-len(word) // 3) for word in text.split())


def document(*pieces: tuple[str, str, int], title: str = "Title") -> ParsedDocument:
    """A document of (kind, text, level) pieces, an empty line between them."""
    text, blocks = "", []
    for kind, piece, level in pieces:
        start = len(text)
        text += piece
        blocks.append(Block(kind=kind, start=start, end=len(text), level=level))  # type: ignore[arg-type]
        text += "\n\n"
    return ParsedDocument(external_id="d", title=title, text=text, blocks=blocks)


def words(count: int, word: str = "abc") -> str:
    return " ".join([word] * count) + "."


def cut(parsed: ParsedDocument, target: int = 40, overlap: int = 0) -> list[Chunk]:
    return chunk(parsed, target_tokens=target, overlap_tokens=overlap, count_tokens=count_words)


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)
_PIECE = st.tuples(
    st.sampled_from(
        ["heading", "paragraph", "list_item", "code", "table_header", "table_row", "gap"]
    ),
    st.lists(_WORDS | st.sampled_from(["One. Two!", "e.g. this", "\n"]), max_size=25).map(" ".join),
    st.integers(0, 12),
)


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    text, blocks = "", []
    for kind, piece, level in draw(st.lists(_PIECE, max_size=12)):
        start = len(text)
        text += piece
        if kind != "gap":
            blocks.append(Block(kind=kind, start=start, end=len(text), level=level))  # type: ignore[arg-type]
        text += draw(st.sampled_from(["", "\n", "\n\n"]))
    return ParsedDocument(external_id="d", title="T", text=text, blocks=blocks)


@given(documents(), st.integers(4, 60), st.integers(0, 20))
def test_chunks_are_exact_ordered_bounded_and_cover_all_text(
    parsed: ParsedDocument, target: int, overlap: int
) -> None:
    overlap = min(overlap, target - 1)
    chunks = cut(parsed, target, overlap)
    counter = TokenCounter(count_words)
    assert [piece.ordinal for piece in chunks] == list(range(len(chunks)))
    covered: set[int] = set()
    reached = 0
    last_start = -1
    for piece in chunks:
        assert piece.text == parsed.text[piece.start : piece.end]
        assert piece.text == piece.text.strip() != ""
        assert piece.start > last_start
        assert piece.end > reached
        assert counter.count(piece.text) <= target
        repeated = parsed.text[piece.start : reached]
        assert counter.count(repeated) <= overlap
        covered.update(range(piece.start, piece.end))
        last_start, reached = piece.start, piece.end
    missing = [i for i, letter in enumerate(parsed.text) if not letter.isspace()]
    assert covered.issuperset(missing)


@given(documents())
def test_without_overlap_no_character_is_in_two_chunks(parsed: ParsedDocument) -> None:
    chunks = cut(parsed, 20)
    assert all(a.end <= b.start for a, b in itertools.pairwise(chunks))


def test_a_document_that_fits_is_one_chunk() -> None:
    parsed = document(("heading", "Care", 1), ("paragraph", words(5), 0), ("paragraph", "x.", 0))
    assert [piece.text for piece in cut(parsed)] == [parsed.text.strip()]


def test_an_empty_document_has_no_chunks() -> None:
    assert cut(ParsedDocument(external_id="d", title="", text=" \n ", blocks=[])) == []


def test_a_chunk_does_not_cross_a_heading_of_its_level() -> None:
    parsed = document(
        ("heading", "Wash", 2), ("paragraph", words(25), 0),
        ("heading", "Iron", 2), ("paragraph", words(25), 0),
    )  # fmt: skip
    chunks = cut(parsed)
    assert [piece.heading_path for piece in chunks] == [("Wash",), ("Iron",)]
    assert [piece.text.split()[0] for piece in chunks] == ["Wash", "Iron"]


def test_a_section_is_kept_with_its_subsections_where_they_fit() -> None:
    parsed = document(
        ("heading", "Care", 1), ("paragraph", words(8), 0),
        ("heading", "Wash", 2), ("paragraph", words(8), 0),
        ("heading", "Shipping", 1), ("paragraph", words(30), 0),
    )  # fmt: skip
    assert [piece.heading_path for piece in cut(parsed)] == [("Care",), ("Shipping",)]


def test_a_heading_is_not_torn_from_what_follows() -> None:
    parsed = document(
        ("heading", "Chapter", 1),
        ("heading", "Part", 2), ("paragraph", words(30), 0), ("paragraph", words(30), 0),
    )  # fmt: skip
    chunks = cut(parsed)
    assert chunks[0].text.startswith("Chapter\n\nPart\n\nabc")
    assert len(chunks) == 2
    assert chunks[1].heading_path == ("Chapter", "Part")


def test_tiny_neighbours_share_a_chunk_under_their_common_heading() -> None:
    parsed = document(
        ("heading", "Stores", 1), ("paragraph", words(30), 0),
        ("heading", "A", 2), ("paragraph", "b c.", 0),
        ("heading", "B", 2), ("paragraph", words(20), 0),
    )  # fmt: skip
    assert [piece.heading_path for piece in cut(parsed)] == [("Stores",), ("Stores",)]


def test_long_paragraphs_are_cut_between_sentences() -> None:
    parsed = document(("paragraph", " ".join([words(9)] * 12), 0))
    chunks = cut(parsed)
    assert len(chunks) == 3
    assert all(piece.text.endswith(".") for piece in chunks)


def test_abbreviations_do_not_end_a_sentence() -> None:
    sentence = "Ask Dr. Brown, e.g. about the wool of fig. 3, on any day."
    chunks = cut(document(("paragraph", " ".join([sentence] * 6), 0)), target=30)
    assert {piece.text for piece in chunks} == {sentence}


def test_words_larger_than_a_chunk_are_split() -> None:
    chunks = cut(document(("paragraph", "x" * 1000, 0)), target=10)
    assert "".join(piece.text for piece in chunks) == "x" * 1000
    assert max(count_words(piece.text) for piece in chunks) <= 10


def test_scripts_without_spaces_are_cut_by_size() -> None:
    chunks = chunk(
        document(("paragraph", "这件裙子不能机洗。" * 40, 0)),
        target_tokens=50,
        overlap_tokens=0,
        count_tokens=len,
    )
    assert all(len(piece.text) <= 50 and piece.text.endswith("。") for piece in chunks)


def test_table_rows_stay_whole_and_know_their_header() -> None:
    rows = [("table_row", f"{number} | " + words(6), 0) for number in range(20)]
    parsed = document(("paragraph", "Sizes.", 0), ("table_header", "size | note", 0), *rows)
    chunks = cut(parsed)
    assert len(chunks) > 3
    for piece in chunks[1:]:
        assert re.match(r"\d+ \|", piece.text)
    assert table_headers(parsed, chunks) == ["", *["size | note"] * (len(chunks) - 1)]


def test_overlap_repeats_whole_sentences() -> None:
    parsed = document(("paragraph", " ".join(f"{words(7)[:-1]} n{i}." for i in range(20)), 0))
    chunks = cut(parsed, target=40, overlap=10)
    for before, after in itertools.pairwise(chunks):
        assert after.start < before.end
        assert after.text.startswith("abc")


def test_overlap_never_reaches_into_another_section() -> None:
    parsed = document(
        ("heading", "Wash", 2), ("paragraph", words(30), 0),
        ("heading", "Iron", 2), ("paragraph", words(30), 0),
    )  # fmt: skip
    assert cut(parsed, overlap=15)[1].text.startswith("Iron")


def test_pages_are_those_where_chunks_begin() -> None:
    text = f"{words(30)}\n{words(30)}"
    middle = text.index("\n")
    blocks = [
        Block(kind="paragraph", start=0, end=middle, page=4),
        Block(kind="paragraph", start=middle + 1, end=len(text), page=5),
    ]
    parsed = ParsedDocument(external_id="d", title="", text=text, blocks=blocks)
    assert [piece.page for piece in cut(parsed)] == [4, 5]


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap_tokens"):
        Chunker(ChunkSettings(target_tokens=10, overlap_tokens=10), count_words)


def test_each_distinct_word_is_counted_once() -> None:
    seen: list[str] = []

    def counting(text: str) -> int:
        seen.append(text)
        return 1

    chunker = Chunker(ChunkSettings(target_tokens=50), counting)
    for _ in range(3):
        chunker.chunk(document(("paragraph", "the cat and the dog. " * 500, 0)))
    assert sorted(seen) == sorted({"the", "cat", "and", "dog."})


class TestContext:
    counter = TokenCounter(count_words)

    def chunk(self, text: str, *path: str) -> Chunk:
        return Chunk(ordinal=0, start=0, end=len(text), text=text, heading_path=path)

    def embedded(self, title: str, piece: Chunk, header: str = "", room: int = 48) -> str:
        return embedding_text(title, piece, header, counter=self.counter, prefix_tokens=room)

    def test_title_and_headings_and_header_come_first(self) -> None:
        piece = self.chunk("M | 40", "Sizes", "Women")
        assert self.embedded("Guide", piece, "size | chest") == (
            "Guide\nSizes > Women\nsize | chest\nM | 40"
        )
        assert lexical_text("Guide", piece, "size | chest") == self.embedded(
            "Guide", piece, "size | chest"
        )

    def test_nothing_is_said_twice(self) -> None:
        piece = self.chunk("Wool\n\nCold water.", "Care guide", "Wool")
        assert self.embedded("Care guide", piece) == "Care guide\nWool\n\nCold water."
        assert self.embedded("Wool", self.chunk("Wool\n\nCold.", "Wool")) == "Wool\n\nCold."

    def test_a_long_context_is_cut_to_its_room_and_keeps_the_innermost_heading(self) -> None:
        piece = self.chunk("text", "outer heading", "inner")
        embedded = self.embedded("a very long title " * 9, piece, "h | h", room=12)
        prefix = embedded.removesuffix("text")
        assert self.counter.count(prefix) <= 12
        assert "inner" in prefix
        assert "heading" not in prefix
        assert lexical_text("a very long title " * 9, piece).count("long") == 9

    @given(st.text(max_size=80), st.lists(st.text(max_size=40), max_size=4), st.integers(0, 30))
    def test_the_context_never_exceeds_its_room(
        self, title: str, path: list[str], room: int
    ) -> None:
        embedded = self.embedded(title, self.chunk("body", *path), room=room)
        assert self.counter.count(embedded.removesuffix("body")) <= room
