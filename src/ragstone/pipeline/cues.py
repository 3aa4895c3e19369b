"""What a question asks for, in words: its content words, and the kind of answer it wants."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal

STOP_WORDS: Final = frozenset(
    "a about after all am an and any are as at be been before being but by can could did do does "
    "doing for from had has have having he her here hers him his how i if in into is it its just "
    "may me might more most must my no nor not of on once only or other our out over own please "
    "shall she should so some such than that the their them then there these they this those to "
    "too under until up us very was we were what when where which while who whom why will with "
    "would you your yours".split()
)

AnswerType = Literal["time", "money", "number", "name"]

_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_ASKING: Final = frozenset(
    "according does described discussed find get give given go happen info information know let "
    "like list long make many mean mention mentioned much need often provide say show soon tell "
    "thing think used using want way work anyone anything anybody someone something".split()
)
"""Words of questions that answers rarely repeat."""

_QUESTION_TYPES: Final[tuple[tuple[AnswerType, re.Pattern[str]], ...]] = (
    (
        "money",
        re.compile(
            r"\bhow (?:much (?!time|longer)|expensive)|\b(?:costs?|prices?|fees?|charges?d?|salary"
            r"|budget|refund amount|revenues?|income|expenses?)\b",
            re.I,
        ),
    ),
    (
        "time",
        re.compile(
            r"\bhow (?:long|soon|quickly|fast|late|early|old|often|many (?:\w+ )?(?:seconds|minutes"
            r"|hours|days|weeks|months|years)|much (?:time|longer))\b|\bwhen\b|\bwhat (?:time|date"
            r"|day|year|month)\b|\b(?:which|in what) (?:day|year|month|period)\b|\bdeadline\b"
            r"|\bopening (?:hours|times)\b|\b(?:open|close)s?\b",
            re.I,
        ),
    ),
    (
        "number",
        re.compile(
            r"\bhow (?:many|big|large|high|tall|wide|heavy|hot|warm|far|deep|thick)\b"
            r"|\b(?:percentage|number of|what (?:size|temperature|rate|share|percent|limit))\b",
            re.I,
        ),
    ),
    ("name", re.compile(r"\bwho(?:m|se)?\b|\bwhere\b|\bwhich (?:stores?|city|country)\b", re.I)),
)
_NUMBER_WORDS: Final = (
    r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|twenty|thirty|forty"
    r"|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|half|twice|once"
)
_NUMBER: Final = rf"(?:\d|\b(?:{_NUMBER_WORDS})\b)"
_ANSWERS: Final[Mapping[AnswerType, re.Pattern[str]]] = {
    "time": re.compile(
        rf"{_NUMBER}[\w.,–-]*(?: \w+)? (?:second|minute|hour|working|business|calendar|day|week"
        r"|month|year)|\b(?:19|20)\d\d\b|\d{1,2}[:.]\d\d\b|\b\d{1,2} ?(?:am|pm)\b|\b(?:Mon|Tues"
        r"|Wednes|Thurs|Fri|Satur|Sun)days?\b|\b(?:January|February|March|April|May|June|July"
        r"|August|September|October|November|December)\b|\b(?:same|next|following) day\b"
        r"|\b(?:lifetime|daily|weekly|monthly|yearly|annually|immediately|always|never)\b",
        re.I,
    ),
    "money": re.compile(
        r"(?:[$€£¥]|(?:\b|_)(?:EUR|USD|GBP|CHF)\b):? ?\d|\d ?(?:[$€£¥%]|\b(?:EUR|USD|GBP|CHF|euros?"
        r"|dollars?|pounds?|cents?|percent|million|billion)\b)|\bfree\b|\bno (?:extra )?(?:cost"
        r"|charge|fee)|\bwithout (?:cost|charge)|\bnothing\b|\bincluded\b",
        re.I,
    ),
    "number": re.compile(_NUMBER, re.I),
    "name": re.compile(r"(?<![.!?:] )(?<!^)\b[A-ZÀ-Þ][\w’']+"),
}
_NAME: Final = re.compile(r"(?<=[^.!?:\s] )[\"'“(]?([A-ZÀ-Þ][\w’'-]*[a-zß-ÿ][\w’'-]*)")
"""A capital inside of a sentence; a word all in capitals may be shouting or a unit."""
_ENDINGS: Final = (
    "ations", "ation", "ments", "ment", "ings", "ing", "iest", "ies", "ied", "ier", "ers",
    "ness", "ible", "able", "est", "ed", "er", "es", "ly", "al", "s", "y", "e",
)  # fmt: skip
_SHORTEST_STEM: Final = 3
_LAYERS: Final = 2
"""Of endings: "delivered" and "delivery" meet below the "er" of "deliver"."""
_FULL_WEIGHT_LENGTH: Final = 8


@lru_cache(maxsize=1 << 15)
def stem(word: str) -> str:
    """`word` (lower case) without common English endings; coarse, for overlap only."""
    for _ in range(_LAYERS):
        word = _without_ending(word)
    return word


def _without_ending(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            if ending == "s" and word.endswith(("ss", "us")):
                break
            word = word[: -len(ending)]
            break
    if len(word) > _SHORTEST_STEM and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word


def content_stems(text: str) -> set[str]:
    """Stems of the words that carry meaning."""
    words = set(_WORD.findall(text.casefold()))
    if "'" in text or "’" in text:
        words = {word.removesuffix("'s").removesuffix("’s") for word in words}
    return set(map(stem, words - STOP_WORDS))


def question_stems(question: str) -> set[str]:
    """Content stems without the words of asking, unless there are no others."""
    words = {match.casefold() for match in _WORD.findall(question)}
    return content_stems(" ".join(words - _ASKING)) or content_stems(" ".join(words))


def answer_types(question: str) -> list[AnswerType]:
    """The kinds of answer that the question's words ask for; often none."""
    return [kind for kind, pattern in _QUESTION_TYPES if pattern.search(question)]


def holds_answer_type(text: str, types: Iterable[AnswerType]) -> bool:
    """Whether `text` has something of one of the kinds, such as a duration."""
    return any(_ANSWERS[kind].search(text) for kind in types)


def named_things(question: str) -> set[str]:
    """Stems of the names in the question, as far as capitals tell."""
    names = (
        name.casefold().removesuffix("'s").removesuffix("’s") for name in _NAME.findall(question)
    )
    return {stem(name) for name in names if name not in STOP_WORDS}


def word_weights(words: Collection[str], texts: Sequence[Collection[str]]) -> dict[str, float]:
    """How much each question word tells: rare among the texts, and long, tells more.

    An inverse document frequency over the candidates themselves (Spärck Jones, 1972,
    smoothed), since a word that all of them have cannot choose between them.
    """
    return {
        word: math.log(1 + (len(texts) + 1) / (1 + sum(word in text for text in texts)))
        * (0.5 + 0.5 * min(len(word), _FULL_WEIGHT_LENGTH) / _FULL_WEIGHT_LENGTH)
        for word in words
    }
