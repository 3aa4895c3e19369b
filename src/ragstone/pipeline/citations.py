"""Citation markers in generated text: only those that exist pass, also in a stream."""

import re
from typing import Final

_MARKER: Final = re.compile(r"\[\s*(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\s*\]")
_MAY_BECOME_MARKER: Final = re.compile(r"\[[\d\s,;]*$")
_LONGEST_MARKER: Final = 32
_SHOWN_MARKER: Final = re.compile(r"\[(\d{1,4})\]")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?\]])\s+(?=[^\[\s])|\n+")


class CitationFilter:
    """Rewrites markers as they stream: `[2, 9]` with five passages becomes `[2]`.

    Text is held back only while it may still become a marker, at most 32 characters, so a
    client never sees a citation that is later taken away.
    """

    def __init__(self, passage_count: int) -> None:
        self._count = passage_count
        self._held = ""
        self.cited: list[int] = []
        """Numbers in the order of their first use."""
        self.removed = 0
        """Numbers that cite nothing."""

    def feed(self, text: str) -> str:
        """What may be shown now."""
        if not self._held and "[" not in text:
            return text
        text = self._held + text
        open_marker = _MAY_BECOME_MARKER.search(text)
        if open_marker and len(text) - open_marker.start() <= _LONGEST_MARKER:
            self._held = text[open_marker.start() :]
            text = text[: open_marker.start()]
        else:
            self._held = ""
        return _MARKER.sub(self._rewrite, text)

    def flush(self) -> str:
        """What was held back at the end of the text."""
        text, self._held = self._held, ""
        return _MARKER.sub(self._rewrite, text)

    def _rewrite(self, marker: re.Match[str]) -> str:
        numbers = [int(number) for number in re.findall(r"\d+", marker[1])]
        kept = [number for number in numbers if 1 <= number <= self._count]
        self.removed += len(numbers) - len(kept)
        self.cited.extend(number for number in kept if number not in self.cited)
        return "".join(f"[{number}]" for number in kept)


def statements_by_citation(text: str) -> dict[int, str]:
    """For each `[number]` in `text` the sentences that carry it, together, without any marker."""
    found: dict[int, str] = {}
    for sentence in _SENTENCE_END.split(text):
        numbers = _SHOWN_MARKER.findall(sentence)
        if numbers:
            said = _SHOWN_MARKER.sub("", sentence).strip()
            for number in set(map(int, numbers)):
                found[number] = f"{found[number]} {said}" if number in found else said
    return found
