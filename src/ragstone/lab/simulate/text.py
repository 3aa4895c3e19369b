"""What a simulated model says: words of the passages that it was given, each passage cited.

Deterministic, so that a checker knows what the answer must be, and verbatim, so that every
citation holds and a passage that leaked shows in the answer.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Final

_HEADING: Final = re.compile(r"(?:\A|\n\n)\[(\d+)\] [^\n]*\n")
_NO_PASSAGES: Final = "This answer was made up by a simulator that was given no passages ".split()

WORDS_EACH: Final = 24
"""Words of a passage before the answer cites it and goes on with the next."""


def answer_words(prompt: str, tokens: int) -> list[str]:
    """`tokens` words, each but the first with its space; the last one cites where it can."""
    texts = [(number, words) for number, text in _passages(prompt) if (words := text.split())]
    if texts:
        said = list(islice(_cited(texts), tokens))
        words = [*(word for _, word in said[:-1]), f"[{said[-1][0]}]"]
    else:
        words = list(islice(cycle(_NO_PASSAGES), tokens))
    return [words[0], *(f" {word}" for word in words[1:])]


def _cited(texts: list[tuple[str, list[str]]]) -> Iterator[tuple[str, str]]:
    """Words without end, each with the number of its passage."""
    for number, words in cycle(texts):
        for word in words[:WORDS_EACH]:
            yield number, word
        yield number, f"[{number}]"


def _passages(prompt: str) -> list[tuple[str, str]]:
    """Number and text of each passage in the prompt, as `pipeline/prompt.py` writes them."""
    evidence = _between(prompt, "<passages>\n", "\n</passages>") or ""
    headings = list(_HEADING.finditer(evidence))
    ends = [*(heading.start() for heading in headings), len(evidence)][1:]
    return [
        (heading[1], evidence[heading.end() : end])
        for heading, end in zip(headings, ends, strict=True)
    ]


def _between(text: str, start: str, end: str) -> str | None:
    begin = text.find(start)
    stop = text.find(end, begin)
    return text[begin + len(start) : stop] if begin >= 0 and stop >= 0 else None


def thoughts(tokens: int) -> list[str]:
    """Reasoning of so many words."""
    return [f" {word}" for word in islice(cycle("let us see what they say".split()), tokens)]


def question_hash(prompt: str) -> str:
    """Of the question alone where the prompt marks it: equal for every attempt at it."""
    asked = _between(prompt, "<question>\n", "\n</question>") or prompt
    return hashlib.blake2b(asked.encode(errors="replace"), digest_size=8).hexdigest()
