"""Text to token ids for BERT models, never more than a limit, in time bounded by that limit."""

from itertools import islice
from unicodedata import category

from tokenizers import Tokenizer

from ragstone.domain.errors import ModelFilesMissing

_CHARS_PER_TOKEN = 16
"""First guess at how much of a long text is needed; English has about 4 to 5."""
_LONGEST_WORD = 100
"""WordPiece makes one unknown token of a longer word (its `max_input_chars_per_word`)."""


class WordPiece:
    """A `tokenizer.json`, without the padding and truncation that it may ask for.

    Safe to call from several threads at once.
    """

    def __init__(self, tokenizer_json: bytes, *, max_tokens: int) -> None:
        """`max_tokens` counts the special tokens. Raises `ModelFilesMissing` on bad content."""
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer_json.decode())
        except Exception as error:  # tokenizers raises bare `Exception`s
            raise ModelFilesMissing(f"The tokenizer cannot be loaded: {error}.") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens

    def ids(self, text: str) -> list[int]:
        """Ids with the special tokens at both ends, cut to `max_tokens`.

        The same as cutting the whole text's ids, but a long text is tokenised only as far as
        it takes.
        """
        guess = self._max_tokens * _CHARS_PER_TOKEN
        while len(text) > guess:
            prefix = text[:guess]
            encoding = self._tokenizer.encode(_encodable(prefix))
            if len(encoding) > self._max_tokens:
                # The word that the prefix cuts in two must begin behind the last token kept,
                # or be so long that it is unknown either way.
                _, end = encoding.offsets[self._max_tokens - 2]
                if _has_more_than(_LONGEST_WORD, prefix, end):
                    return self._cut(encoding.ids)
            guess *= 4
        return self._cut(self._tokenizer.encode(_encodable(text)).ids)

    def count(self, text: str) -> int:
        """Tokens of the whole text, special tokens not counted."""
        return len(self._tokenizer.encode(_encodable(text), add_special_tokens=False))

    def _cut(self, ids: list[int]) -> list[int]:
        if len(ids) <= self._max_tokens:
            return ids
        return [*ids[: self._max_tokens - 1], ids[-1]]


def _has_more_than(count: int, text: str, start: int) -> bool:
    """Whether more than `count` characters of `text[start:]` are left by BERT's normaliser, which
    drops control characters, the replacement character and, decomposed, accents."""
    left = (
        character
        for character in islice(text, start, None)
        if character != "\ufffd" and category(character)[0] != "C" and category(character) != "Mn"
    )
    return next(islice(left, count, None), None) is not None


def _encodable(text: str) -> str:
    """`text` with lone surrogates, which have no UTF-8 form, replaced by question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
