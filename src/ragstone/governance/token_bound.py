"""How many tokens a text has at most, in a vocabulary that is not at hand.

The bound rests on how vocabularies in use are made. In byte-level BPE (GPT, Llama 3, Qwen) every
token stands for at least one byte of the text. Unigram and BPE models with byte fallback
(SentencePiece: Gemma, Mistral) first put the text into NFKC and a space before it; then each
token stands for at least one byte of that. WordPiece drops accents and splits at most into
characters. So the bytes of the text, in NFKC where that is longer, and one for the space, bound
them all. English has about four bytes a token: the bound reserves four times what is spent.
"""

import unicodedata
from typing import Final

from ragstone.ports import Prompt

_A_MESSAGE: Final = 16
"""Tokens around a message: its role, its beginning and its end. OpenAI's chat format has 4,
Llama 3's has 5, Anthropic's is not published."""
_A_PROMPT: Final = 64
"""Tokens around a prompt: the template's own words, and the beginning of the answer."""


def most_tokens(text: str) -> int:
    """No vocabulary makes more of it."""
    if text.isascii():
        return len(text) + 1
    size = _bytes(text)
    if not unicodedata.is_normalized("NFKC", text):
        size = max(size, _bytes(unicodedata.normalize("NFKC", text)))
    return size + 1


def most_input(prompt: Prompt) -> int:
    """Tokens of input for which a provider may charge."""
    texts = (prompt.system, *(message.content for message in prompt.messages))
    return _A_PROMPT + sum(most_tokens(text) + _A_MESSAGE for text in texts)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
