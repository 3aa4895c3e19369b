"""About how many tokens a call used whose provider did not get to count them.

Streams that are cut have no count. What stands in for it is made of the text's characters by kind,
and of how far such an estimate was off in the calls of the same model that were counted. How near
it comes in four vocabularies and forty kinds of text: docs/prices.md.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from ragstone.domain.usage import Usage
from ragstone.governance.token_bound import most_input, most_tokens
from ragstone.ports import Prompt

_QUARTERS: Final = 4
"""Of a token: the unit of the weights below. They are rounded from a least-squares fit to the
greatest count of four vocabularies (cl100k, o200k, an older one of Anthropic's, DeepSeek's)."""
_A_WORD: Final = 4
_A_LONG_WORD: Final = 5
"""Letters that a word has for its one token; each that it has more is half a token."""
_A_LETTER_MORE: Final = 2
_LETTERS: Final = bytes((*range(0x41, 0x5B), *range(0x61, 0x7B)))
_ASCII: Final = (
    (2, bytes(range(0x41, 0x5B))),  # capitals, which also part words of code
    (2, bytes(range(0x30, 0x3A))),  # digits
    (2, bytes((*range(0x21, 0x30), *range(0x3A, 0x41), *range(0x5B, 0x61), *range(0x7B, 0x7F)))),
    (6, b"\n\t"),
)
_BEYOND: Final = (  # by the first byte of a character in UTF-8
    (6, bytes((*range(0xC2, 0xCD), 0xE1))),  # accents; Vietnamese, Georgian, Khmer
    (3, bytes(range(0xCD, 0xD0))),  # Greek
    (2, bytes(range(0xD0, 0xD4))),  # Cyrillic
    (4, bytes(range(0xD4, 0xE0))),  # Armenian, Hebrew, Arabic
    (5, b"\xe0"),  # Indic scripts, Thai
    (6, b"\xe2\xee\xef"),  # symbols
    (4, bytes(range(0xE3, 0xEE))),  # Chinese, Japanese, Korean
    (10, bytes(range(0xF0, 0xF5))),  # emoji
)

_DOUBT: Final = 0.25
"""By how much an estimate is raised before anything was learned."""
_MEMORY: Final = 64
"""Calls over which is learned."""
_LEAST: Final = 16
"""Tokens of a text from which a ratio is learned: of "No." there is none."""
_MOST_RATIO: Final = 3
"""No vocabulary makes so many times more of an answer: what is beyond is reasoning unseen."""
_ALWAYS, _ONE_OF = 16, 16
"""The first calls of a model are all learned from, then one of so many, to save the work."""
_CLEARLY: Final = 12
"""Bytes of text for a token of `max_tokens`. Over a whole answer no vocabulary has more than seven
(of Georgian; of English five): a provider that sends more does not keep to the limit."""


def about_tokens(text: str) -> int:
    """By kinds of characters; never above `most_tokens`. 7 us for 1,000 characters."""
    content = text.encode("utf-8", "surrogatepass")
    words = len(content.split())
    quarters = words * _A_WORD
    quarters += max(0, _count(content, _LETTERS) - words * _A_LONG_WORD) * _A_LETTER_MORE
    for weight, kind in _ASCII if text.isascii() else _ASCII + _BEYOND:
        quarters += weight * _count(content, kind)
    return min(-(-quarters // _QUARTERS), most_tokens(text))


def is_overlong(size: int, max_tokens: int) -> bool:
    """Whether an answer of `size` bytes is clearly longer than `max_tokens` allows."""
    return size > _CLEARLY * (max_tokens + _LEAST)


@dataclass(slots=True)
class _Learned:
    """Mean and mean deviation of the last calls, more or less."""

    mean: float
    deviation: float
    samples: int = 0

    @property
    def upper(self) -> float:
        """Above four of five, so that the sum of many is not below what it stands for."""
        return self.mean + self.deviation

    def hear(self, sample: float) -> None:
        self.samples = min(self.samples + 1, _MEMORY)
        self.mean += (sample - self.mean) / self.samples
        self.deviation += (abs(sample - self.mean) - self.deviation) / (self.samples + 1)


@dataclass(slots=True)
class _Model:
    read: _Learned = field(default_factory=lambda: _Learned(1.0, _DOUBT))
    """The provider's count of a prompt, to ours."""
    written: _Learned = field(default_factory=lambda: _Learned(1.0, _DOUBT))
    """The same of a text."""
    unseen: _Learned = field(default_factory=lambda: _Learned(0.0, 0.0))
    """Tokens of output beside the text: reasoning."""
    calls: int = 0


class TokenEstimates:
    """What is learned of each model's vocabulary; of one process, since its start."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def of(self, model: str, prompt: Prompt, text: str) -> Usage:
        """Of a call that ended after `text`; within what is reserved for it, except for a text
        that is clearly longer than `max_tokens` allows: that was produced all the same."""
        known = self._models.get(model) or _Model()
        read = math.ceil(_about_prompt(prompt) * known.read.upper)
        written = math.ceil(known.unseen.upper + about_tokens(text) * known.written.upper)
        if not is_overlong(len(text.encode("utf-8", "surrogatepass")), prompt.max_tokens):
            written = min(written, prompt.max_tokens)
        return Usage(
            input_tokens=min(read, most_input(prompt)), output_tokens=written, estimated=True
        )

    def learn(self, model: str, prompt: Prompt, text: str, counted: Usage) -> None:
        """From a call that ended by itself, as its provider counted it."""
        known = self._models.setdefault(model, _Model())
        known.calls += 1
        if known.calls > _ALWAYS and known.calls % _ONE_OF:
            return
        read, written = _about_prompt(prompt), about_tokens(text)
        if read >= _LEAST:
            known.read.hear(min(counted.input_tokens / read, _MOST_RATIO))
        if counted.output_tokens > _MOST_RATIO * (written + _LEAST):
            known.unseen.hear(counted.output_tokens - written * known.written.mean)
        else:
            known.unseen.hear(0.0)
            if written >= _LEAST:
                known.written.hear(counted.output_tokens / written)


def _about_prompt(prompt: Prompt) -> int:
    texts = (prompt.system, *(message.content for message in prompt.messages))
    return sum(map(about_tokens, texts))


def _count(content: bytes, kind: bytes) -> int:
    return len(content) - len(content.translate(None, kind))
