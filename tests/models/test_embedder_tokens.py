"""Tokenising in bounded time gives what tokenising everything gives; batches lose nothing."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ragstone.domain.errors import ModelFilesMissing
from ragstone.models.embedders.length_batches import padded, plan_batches
from ragstone.models.embedders.wordpiece import WordPiece
from tests.models.embedder_model import require_weights

LIMIT = 8


@pytest.fixture(scope="module")
def wordpiece() -> WordPiece:
    return WordPiece(require_weights().tokenizer.read_bytes(), max_tokens=LIMIT)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer.from_file(str(require_weights().tokenizer))
    made.no_padding()
    made.enable_truncation(LIMIT)
    return made


WORDS = st.one_of(
    st.sampled_from(["linen", "unbelievable", "3,14", "x" * 99, "y" * 101, "é", "漢字", "-" * 30]),
    st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable()),
    st.sampled_from([" " * 150, "z" * 400, "\x00" * 200]),
)


@settings(deadline=None, max_examples=300)
@example(["x" * 99, "\x00" * 200, "linen"], "")
@example(["x" * 99, "e\u0301" * 200, "linen"], "")
@given(st.lists(WORDS, max_size=40), st.sampled_from(["", " "]))
def test_a_long_text_has_the_ids_of_the_whole_text_cut(
    wordpiece: WordPiece, tokenizer: Tokenizer, words: list[str], separator: str
) -> None:
    text = separator.join(words)
    assert wordpiece.ids(text) == tokenizer.encode(text).ids


def test_a_damaged_tokenizer_is_refused() -> None:
    with pytest.raises(ModelFilesMissing, match="tokenizer"):
        WordPiece(b"{}", max_tokens=LIMIT)
    with pytest.raises(ModelFilesMissing, match="tokenizer"):
        WordPiece(b"\xff", max_tokens=LIMIT)


@given(st.lists(st.integers(1, 256), max_size=200), st.integers(1, 1024))
def test_every_text_is_in_one_batch_and_no_batch_is_too_large(
    lengths: list[int], max_tokens: int
) -> None:
    batches = plan_batches(lengths, max_tokens=max_tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= max_tokens


@given(st.lists(st.integers(1, 256), min_size=1, max_size=200))
def test_batches_run_from_long_to_short(lengths: list[int]) -> None:
    planned = [lengths[i] for batch in plan_batches(lengths, max_tokens=512) for i in batch]
    assert planned == sorted(lengths, reverse=True)


def test_padding_is_masked() -> None:
    arrays = padded([[101, 7, 102], [101, 102]])
    assert arrays["input_ids"].tolist() == [[101, 7, 102], [101, 102, 0]]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert arrays["input_ids"].dtype == arrays["attention_mask"].dtype == np.int64
