"""Tells line breaks that only wrap a paragraph from those that mean something.

A wrapped line ends because its next word would not have fitted. An address, a poem or one
sentence to a line breaks earlier than that. Whoever cuts text into sentences takes a line break
for an end, so the wrapping ones have to go.
"""

import itertools

_NARROWEST = 40
_WIDEST = 130
"""Nobody wraps by hand below or above these widths, in characters."""
_SLACK = 0.9


def unwrap(text: str) -> str:
    """`text` with each wrapping line break made a space."""
    if "\n" not in text:
        return text
    lines = [line.strip() for line in text.split("\n")]
    width = max(map(len, lines))
    if not _NARROWEST <= width <= _WIDEST:
        return "\n".join(lines)
    parts = [lines[0]]
    for line, following in itertools.pairwise(lines):
        parts += (" " if _wraps(line, following, width) else "\n", following)
    return "".join(parts)


def _wraps(line: str, following: str, width: int) -> bool:
    if not line or not following:
        return False
    if following[0].islower():
        return True
    next_word = following.split(maxsplit=1)[0]
    return len(line) + 1 + len(next_word) >= width * _SLACK
