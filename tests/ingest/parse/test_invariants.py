"""What must hold for any bytes at all."""

import contextlib
import random
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.domain.document import ParsedDocument
from ragstone.domain.errors import Unreadable
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse.normalize import clean, clean_lines, one_line
from tests.ingest.parse.samples import VALID, check_invariants, read, read_all

MUTANTS = 25
FRAGMENTS = (
    "# h\n|- * 1. > ` ~~~ --- === <b> <table> <td> <p style='display:none'> </p> <ul><li> <h1> "
    "<!-- & &amp; &#8203; [x](y) ![a](b) \\ \t \r\n \u200b \u202e \u00ad é e\u0301 \U0001f600 "
    '{"text": "x"} "," ; : , word Word'
).split(" ")


def check_reading(name: str, content: bytes) -> None:
    items: list[ParsedDocument | DocumentError] = []
    with contextlib.suppress(Unreadable):
        items = read_all(name, content)
    for item in items:
        if isinstance(item, ParsedDocument):
            check_invariants(item)
            assert item.text == clean(item.text)
            assert item.title == one_line(item.title)


@pytest.mark.parametrize("name", [*VALID, "noending"])
@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=400))
def test_no_bytes_raise_anything_but_unreadable(name: str, content: bytes) -> None:
    check_reading(name, content)


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.html", "a.csv", "a.json", "a.jsonl", "no"])
@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), max_size=30))
def test_no_markup_raises_anything_but_unreadable(name: str, parts: list[str]) -> None:
    check_reading(name, " ".join(parts).encode("utf-8", "replace"))


@pytest.mark.parametrize("name", VALID)
def test_no_mutation_of_a_valid_file_raises_anything_but_unreadable(name: str) -> None:
    chance = random.Random(name)
    original = VALID[name]()
    for _ in range(MUTANTS):
        content = bytearray(original)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        cut = chance.randrange(len(content)) if chance.random() < 0.3 else len(content)
        check_reading(name, bytes(content[:cut]))


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    for function in (clean, clean_lines, one_line):
        once = function(text)
        assert function(once) == once
        assert unicodedata.is_normalized("NFC", once)


def test_no_invisible_character_survives() -> None:
    visible_format_marks = {chr(code) for code in range(0x600, 0x606)} | set(
        "\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
    )
    kept = {
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) in ("Cc", "Cf", "Cs") and clean(character) == character
    }
    assert kept <= visible_format_marks | {"\t", "\n"}


def test_hidden_characters_and_line_breaks_are_normalised_before_offsets_are_counted() -> None:
    text = "Pay\u200bpal \u202eabc\u202c e\u0301t\u00e9 co\u00adoperate\r\nnext\u2028line \ufeff"
    assert read("a.txt", text).text == "Paypal abc été cooperate\nnext\nline"


def test_lone_surrogates_become_replacement_characters() -> None:
    assert clean("a\ud800b") == "a\ufffdb"
