"""What a document is called."""

import re
from pathlib import PurePosixPath

from ragstone.ingest.parse.normalize import clean, one_line

_LONGEST = 300
_FROM_TEXT = 80


def choose_title(name: str, *candidates: object) -> str:
    """The first candidate that is text and not blank, else the file's name made readable."""
    for candidate in candidates:
        if isinstance(candidate, str) and (title := one_line(candidate)):
            return title[:_LONGEST].rstrip()
    return title_from_name(name)


def title_from_name(name: str) -> str:
    """`care/wool-sweaters.md` is called "Wool sweaters"."""
    stem = PurePosixPath(name.replace("\\", "/")).name
    while (shorter := re.sub(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{0,7}$", "", stem)) != stem:
        stem = shorter
    words = one_line(re.sub(r"[_\-\s]+", " ", stem))
    return (words[:1].upper() + words[1:])[:_LONGEST].rstrip() or "Untitled"


def title_from_text(text: str) -> str:
    """The first line, cut between words to some 80 characters."""
    start = clean(text[: 10 * _FROM_TEXT]).strip()
    line = one_line(start.partition("\n")[0])
    if len(line) <= _FROM_TEXT:
        return line
    return line[:_FROM_TEXT].rpartition(" ")[0] or line[:_FROM_TEXT]
