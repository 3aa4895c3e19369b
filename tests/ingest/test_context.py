"""Metadata is found by its words, within the room there is."""

from ragstone.ingest.atoms import TokenCounter
from ragstone.ingest.context import metadata_words, with_metadata

METADATA = {
    "director": "Ridley Scott",
    "tags": ["space", "android"],
    "sku": "AF-1234",
    "sizes": ["UK 10", "UK 12"],
    "year": 1979,
    "url": "https://example.org/poster.jpg",
    "empty": "",
}


def test_words_are_taken_and_addresses_and_numbers_are_not() -> None:
    assert metadata_words(METADATA, codes=True) == (
        "Ridley Scott\nspace, android\nAF-1234\nUK 10, UK 12"
    )


def test_codes_are_for_the_lexical_leg_alone() -> None:
    assert "AF-1234" not in metadata_words(METADATA, codes=False)


def test_metadata_takes_only_the_room_that_is_left() -> None:
    counter = TokenCounter(lambda text: len(text.split()))
    assert with_metadata("a b c", "one two three", counter=counter, tokens=5) == "a b c\none two"
    assert with_metadata("a b c", "one", counter=counter, tokens=3) == "a b c"
    assert with_metadata("a b c", "", counter=counter, tokens=9) == "a b c"
