"""The bound on tokens holds for every kind of vocabulary at hand."""

import functools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ragstone.domain.usage import Usage
from ragstone.governance.token_bound import about_tokens, about_usage, most_input, most_tokens
from ragstone.ports import Prompt, PromptMessage

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


@given(st.text(max_size=300))
def test_an_estimate_is_within_the_bound(text: str) -> None:
    assert 0 <= about_tokens(text) <= most_tokens(text)


@given(st.lists(st.text(max_size=50), max_size=4), st.text(max_size=500), st.integers(1, 100))
def test_a_call_that_was_broken_off_is_within_what_was_reserved(
    turns: list[str], said: str, max_tokens: int
) -> None:
    prompt = Prompt(
        system="Answer from the passages.",
        messages=[PromptMessage("user", turn) for turn in turns],
        max_tokens=max_tokens,
    )
    usage = about_usage(prompt, said)
    assert usage.estimated
    assert usage.input_tokens <= most_input(prompt)
    assert usage.output_tokens <= max_tokens


def test_english_is_four_characters_a_token() -> None:
    assert about_tokens("Forty-five days.") == 4
    assert about_tokens("日本語") == 3
    prompt = Prompt(system="abcd", messages=[PromptMessage("user", "abcdefgh")], max_tokens=5)
    assert about_usage(prompt, "abcde") == Usage(input_tokens=3, output_tokens=2, estimated=True)
