"""One spelling for text from every format, before any offset is counted.

Unicode NFC; line breaks are LF; every kind of space is a plain one; control characters and
characters that nobody sees are gone: zero-width ones, bidirectional overrides, soft hyphens,
variation selectors and tag characters. The last three are known carriers for instructions
that only a model reads. Homoglyphs stay as they are: telling them from real Greek or Cyrillic
needs the language, and a wrong guess would damage a document that is honest.
"""

import re
import unicodedata

_INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls other than tab and line breaks
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "]"
)
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_RUNS_OF_SPACE = re.compile(r"[ \t]{2,}|\t")
_ASCII_CONTROLS = {code: None for code in (*range(0x20), 0x7F) if chr(code) not in "\t\n\v\f\r"}


def clean(text: str) -> str:
    """`text` in the one spelling; applying it twice changes nothing more."""
    if text.isascii():
        # The common case, several times faster than by regular expression.
        text = text.translate(_ASCII_CONTROLS)
        has_other_breaks = "\r" in text or "\v" in text or "\f" in text
        return _BREAKS.sub("\n", text) if has_other_breaks else text
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _BREAKS.sub("\n", _INVISIBLE.sub("", text))
    return unicodedata.normalize("NFC", _SPACES.sub(" ", text))


def clean_lines(text: str) -> str:
    """`clean`, runs of spaces made one, and no space around any line."""
    text = clean(text)
    if "  " in text or "\t" in text:
        text = _RUNS_OF_SPACE.sub(" ", text)
    if "\n" not in text:
        return text.strip()
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def one_line(text: str) -> str:
    """`clean`, with every run of whitespace made one space."""
    return " ".join(clean(text).split())
