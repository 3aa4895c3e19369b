import math

import pytest

from ragstone.index.lexical import (
    K1,
    MAX_QUERY_TERMS,
    B,
    average_length,
    document_vector,
    query_vector,
    stem,
    terms,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Washing of Dresses", ["washing", "dress"]),
        ("part AF-1234", ["part", "af", "1234", "af1234"]),
        ("AF1234", ["af1234"]),
        ("return within 30 days", ["return", "within", "30", "day"]),
        ("3.5 and 3,5", ["3.5", "3.5"]),
        ("men's t-shirts", ["men", "shirt", "tshirts"]),
        ("Café CRÈME", ["cafe", "creme"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("東京都", ["東京", "京都"]),
        ("カ", ["カ"]),
        ("型番AB12", ["型番", "ab12"]),
        ("the of and", []),
        ("", []),
        ("snake_case", ["snake", "case", "snakecase"]),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("dresses", "dress"),
        ("boxes", "box"),
        ("houses", "house"),
        ("sizes", "size"),
        ("berries", "berry"),
        ("movies", "movie"),
        ("shoes", "shoe"),
    ],
)
def test_plural_and_singular_are_one_term(plural: str, singular: str) -> None:
    assert stem(plural) == stem(singular)


@pytest.mark.parametrize("word", ["dress", "bus", "1080s", "gas1", "is"])
def test_what_only_looks_like_a_plural_stays(word: str) -> None:
    assert stem(word) == word


def test_document_weights_are_those_of_bm25() -> None:
    vector = document_vector("stone stone kerb", average_length=6.0)
    norm = K1 * (1 - B + B * 3 / 6)
    expected = [2 * (K1 + 1) / (2 + norm), (K1 + 1) / (1 + norm)]
    assert all(math.isclose(a, b) for a, b in zip(vector.values, expected, strict=True))
    assert vector.indices == query_vector("stone kerb stone").indices


def test_a_long_question_keeps_its_first_terms() -> None:
    vector = query_vector(" ".join(f"word{i}" for i in range(1000)))
    assert len(vector.indices) == MAX_QUERY_TERMS
    assert vector.indices[0] == query_vector("word0").indices[0]


def test_the_average_length_is_not_skewed_by_one_odd_document() -> None:
    assert 90 < average_length([1]) < 100
    assert 195 < average_length([200] * 1000) <= 200
