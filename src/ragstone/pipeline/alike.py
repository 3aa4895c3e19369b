"""Whether two questions differ in nothing that could change the answer, as far as words tell.

Vectors do not tell: "with receipt" and "without receipt" lie closer together than most
paraphrases. So everything by which questions are known to differ has to be equal, and what may
differ is a short list: letter case, endings of words, politeness, articles and the like.
"""

import re
from hashlib import blake2b
from typing import Final, NamedTuple

from ragstone.pipeline.cues import STOP_WORDS, stem

_TOKEN: Final = re.compile(r"(?:(?<![\w)])[-−](?=\d))?[^\W_]+(?:['’.,:/-][^\W_]+)*|[$€£¥%+#&<>=]")
_NEGATED: Final = re.compile(r"\b(?:can|won|shan)['’]?t\b|n['’]t\b|\bcannot\b", re.IGNORECASE)

_POLARITY: Final = frozenset(
    "not no nor never without none nothing nobody neither hardly rarely seldom barely unless "
    "except excluding but only just still yet already even again instead else other another".split()
)
_EXTENT: Final = frozenset(
    "all any each every both either some few several most more less least fewer many much too "
    "enough above below over under up down in out on off before after since until during between "
    "within inside outside first last next previous latest earliest now today tomorrow yesterday "
    "current once twice per than same different".split()
)
_ROLES: Final = frozenset("from to into onto by with for against via than and or".split())
"""Where one of these stands, it matters which word comes first: a transfer from A to B."""

_MODALS: Final = {
    **dict.fromkeys(
        "must should shall need needs needed required obliged have has".split(), "must"
    ),
    **dict.fromkeys("may might could can able allowed possible permitted".split(), "may"),
    **dict.fromkeys("was were did had been used".split(), "past"),
    **dict.fromkeys("will would going".split(), "future"),
}
_PERSONS: Final = {
    **dict.fromkeys("you your yours".split(), "you"),
    **dict.fromkeys("he she they him her them his their theirs someone somebody".split(), "they"),
}
_ASKS: Final = {
    **dict.fromkeys("what which whats".split(), "what"),
    **dict.fromkeys("who whom whose".split(), "who"),
    **{word: word for word in ("when", "where", "why", "how")},
}
_MEASURES: Final = frozenset("long much many often soon far big large old late early fast".split())
_POLITE: Final = frozenset(
    "please hi hello hey thanks thank dear kindly sorry tell know wonder wondering like want ask "
    "asking question help let explain say".split()
)
_KEPT: Final = _POLARITY | _EXTENT
_IDLE: Final = (STOP_WORDS | _POLITE) - _KEPT


class Meaning(NamedTuple):
    """What has to be equal."""

    content: frozenset[str]
    """Stems of the words that carry meaning."""
    order: tuple[str, ...]
    """The same as they come, where a word such as "from" or "to" gives them roles."""
    figures: tuple[str, ...]
    """Numbers, dates, codes and signs, sorted, each as often as it comes."""
    function: frozenset[str]
    """Words of polarity and extent, kinds of modal verbs, and persons."""
    asks: frozenset[str]
    """The question words."""
    names: frozenset[str]
    """Capitalised and quoted words within the text."""


def meaning(question: str) -> Meaning:
    """Of a question in English; other languages have stems of their words, and more has to be
    equal."""
    words: list[str] = []
    figures: list[str] = []
    function: set[str] = {"not"} if _NEGATED.search(question) else set()
    asks: set[str] = set()
    roles: set[str] = set()
    before = ""
    for token in _TOKEN.findall(_NEGATED.sub(" ", question)):
        word = token.casefold().replace("’", "'").removesuffix("'s")
        if not word[0].isalpha() or any(map(str.isdigit, word)):
            figures.append(word)
        elif word in _ASKS:
            asks.add(_ASKS[word])
        elif before == "how" and word in _MEASURES:
            asks.add(f"how {word}")
        elif word in _KEPT or word in _MODALS or word in _PERSONS:
            function.add(_MODALS.get(word) or _PERSONS.get(word) or word)
        elif word in _ROLES:
            roles.add(word)
        elif word not in _IDLE:
            words.append(stem(word))
        before = word
    return Meaning(
        content=frozenset(words),
        order=tuple(words) if roles else (),
        figures=tuple(sorted(figures)),
        function=frozenset(function),
        asks=frozenset(asks),
        names=_names(question),
    )


def meaning_digest(question: str) -> bytes:
    """The same for questions of one meaning, and for no others; 16 bytes."""
    parts = [sorted(part) if isinstance(part, frozenset) else part for part in meaning(question)]
    return blake2b(repr(parts).encode(errors="replace"), digest_size=16).digest()


_NAME: Final = re.compile(r"(?<=[^.!?:\s] )[\"'“(]?([A-ZÀ-Þ][\w’'-]+)|[\"“]([^\"”]+)[\"”]")


def _names(question: str) -> frozenset[str]:
    """A capital inside of a sentence, or what stands in quotes; `I` is nobody."""
    found = (match[1] or match[2] for match in _NAME.finditer(question))
    return frozenset(name for name in found if name.split("'")[0].split("’")[0] != "I")
