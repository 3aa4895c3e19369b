"""Text to atoms: the smallest pieces that the packer moves, with their sizes in tokens.

An atom is a heading, a table row, a line of code or a sentence; only what is larger than a
chunk is cut further, at words and at last inside of a word. Offsets are code points of the
document's text; an atom never begins or ends with white space.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

CUT_HEADING = 0.0
CUT_BLOCK = 0.05
CUT_SENTENCE = 0.25
CUT_WORD = 1.0
CUT_AFTER_HEADING = 4.0
"""The price of beginning a chunk at an atom, against the squared share of a chunk left empty
(`packing.pack`): a paragraph's border is nearly free, a sentence's border is worth a half-empty
chunk, the middle of a sentence more than a whole one, and tearing a heading or a table's header
from what follows is done only where nothing else fits."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]{{1,64}}")
"""What tokens are counted by: a run between white space, and a single character in scripts that
write none (Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean)."""

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+|\n+\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|No|Nos|Fig|Figs|Eq|vs|cf|approx|etc|al|ca|Inc|Ltd|Co"
    r"|Corp|e\.g|i\.e|z\.B|bzw))\.$"
)
_CACHED_WORDS = 200_000


class Atom(NamedTuple):
    """A piece of text that stays whole."""

    start: int
    end: int
    tokens: int
    cut: float
    """The price of beginning a chunk here."""


class TokenCounter:
    """Counts tokens word by word, each distinct word once.

    Exact for WordPiece, and close for byte-pair vocabularies, since their pre-tokenizers never
    join across white space. Counting a text again and again costs dictionary look-ups only.
    """

    def __init__(self, count_tokens: Callable[[str], int]) -> None:
        self._count_tokens = count_tokens
        self._known: dict[str, int] = {}

    def count(self, text: str) -> int:
        """Tokens of `text`; at least one for each word."""
        words = _WORD.findall(text)
        known = self._known
        try:
            return sum([known[word] for word in words])
        except KeyError:
            self._learn(words)
            return sum([known[word] for word in words])

    def _learn(self, words: Iterable[str]) -> None:
        if len(self._known) >= _CACHED_WORDS:
            self._known.clear()
        for word in words:
            if word not in self._known:
                self._known[word] = max(1, self._count_tokens(word))

    def words(self, text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int, int]]:
        """(start, end, tokens) of each word in `text[start:end]`; none larger than `limit`
        tokens unless it is a single character."""
        for match in _WORD.finditer(text, start, end):
            yield from self._halves(text, match.start(), match.end(), limit)

    def _halves(
        self, text: str, start: int, end: int, limit: int
    ) -> Iterator[tuple[int, int, int]]:
        tokens = self.count(text[start:end])
        if tokens <= limit or end - start == 1:
            yield start, end, tokens
            return
        middle = (start + end) // 2
        yield from self._halves(text, start, middle, limit)
        yield from self._halves(text, middle, end, limit)


def whole(counter: TokenCounter, text: str, start: int, end: int, limit: int) -> list[Atom]:
    """A heading or a table row: one atom, cut at words only where it exceeds `limit` tokens."""
    start, end = trimmed(text, start, end)
    if start >= end:
        return []
    tokens = counter.count(text[start:end])
    if tokens <= limit:
        return [Atom(start, end, tokens, CUT_BLOCK)]
    return _at_words(counter, text, start, end, limit, CUT_BLOCK)


def sentences(counter: TokenCounter, text: str, start: int, end: int, limit: int) -> list[Atom]:
    """A paragraph or code: an atom for each sentence or line, long ones cut at words."""
    atoms: list[Atom] = []
    cut = CUT_BLOCK
    for left, right in _sentence_spans(text, start, end):
        tokens = counter.count(text[left:right])
        if tokens <= limit:
            atoms.append(Atom(left, right, tokens, cut))
        else:
            atoms.extend(_at_words(counter, text, left, right, limit, cut))
        cut = CUT_SENTENCE
    return atoms


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends."""
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    return left, max(left, start + len(piece.rstrip()))


def _sentence_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    left = start
    for match in _SENTENCE_END.finditer(text, start, end):
        if _ABBREVIATION.search(text, max(left, match.start() - 8), match.start() + 1):
            continue
        span = trimmed(text, left, match.end())
        if span[0] < span[1]:
            yield span
        left = match.end()
    span = trimmed(text, left, end)
    if span[0] < span[1]:
        yield span


def _at_words(
    counter: TokenCounter, text: str, start: int, end: int, limit: int, cut: float
) -> list[Atom]:
    """Runs of words of up to a quarter of `limit`, so that the packer can fill chunks with them."""
    size = max(1, limit // 4)
    atoms: list[Atom] = []
    run_start, run_end, run_tokens = start, start, 0
    for left, right, tokens in counter.words(text, start, end, limit):
        if run_tokens and run_tokens + tokens > size:
            atoms.append(Atom(run_start, run_end, run_tokens, cut))
            cut, run_start, run_tokens = CUT_WORD, left, 0
        elif not run_tokens:
            run_start = left
        run_end, run_tokens = right, run_tokens + tokens
    if run_tokens:
        atoms.append(Atom(run_start, run_end, run_tokens, cut))
    return atoms
