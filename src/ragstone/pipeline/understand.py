"""Stage 4: a question inside a conversation becomes one that stands alone."""

import re
from typing import Final

from ragstone.domain.query import Question

_POINTS_BACK: Final = re.compile(
    r"\b(it|its|they|them|their|theirs|this|that|these|those|one|ones|he|she|him|her|there|"
    r"same|another|other|instead|too|also)\b|^\s*(and|but|or|so|what about|how about|why)\b",
    re.IGNORECASE,
)
_SHORT_WORDS: Final = 4
_KEPT_TURNS: Final = 2
"""Earlier questions that give the topic; more of them drown the present one."""
_KEPT_CHARS: Final = 400


def understand(question: Question) -> str:
    """The text to search for.

    A question that points back ("and how long does that take?") or is very short is
    searched together with the user's questions before it; any other stands alone. This costs
    no model call; on a topic change the question's own words still weigh most because they
    come last and whole.
    """
    text = " ".join(question.text.split())
    earlier = [turn.content for turn in question.conversation if turn.role == "user"]
    if not earlier or not _depends_on_context(text):
        return text
    topic = " ".join(" ".join(earlier[-_KEPT_TURNS:]).split())[-_KEPT_CHARS:]
    return f"{topic} {text}"


def _depends_on_context(text: str) -> bool:
    return len(text.split()) <= _SHORT_WORDS or _POINTS_BACK.search(text) is not None
