"""The bound on tokens holds for every kind of vocabulary at hand."""

import functools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ragstone.governance.token_bound import most_tokens

CORPUS = [
    "Full-price items can be returned within 45 days of delivery, unworn, with their tags.",
    "Größe und Farbe wählen; ﷺ ½ ﬁne naïve İstanbul 한국어 日本語 العربية 👩‍👩‍👧",
]


@functools.cache
def byte_level() -> Tokenizer:
    """As GPT's, Llama 3's and Qwen's are made; nearly untrained, so the bound is tight."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    return made


@functools.cache
def byte_fallback() -> Tokenizer:
    """As SentencePiece makes them: NFKC, a space before, bytes for what is not known."""
    vocabulary = {"<unk>": 0, "▁": 1, **{f"<0x{byte:02X}>": 2 + byte for byte in range(256)}}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return made


@functools.cache
def wordpiece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[UNK]"], show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    return made


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@pytest.mark.parametrize("made", [byte_level, byte_fallback, wordpiece])
@given(text=_texts)
@example(text="ﷺ" * 20)
@example(text="½ﬁ한국👩‍👩‍👧")
@example(text=" a  b ")
def test_no_tokenizer_makes_more(made, text: str) -> None:
    assert len(made().encode(text, add_special_tokens=False).ids) <= most_tokens(text)
