"""Bytes to text: UTF-8 with or without a byte order mark, or UTF-16 and UTF-32 with one."""

import codecs
import unicodedata

from ragstone.domain.errors import UndecodableText

_MARKS = (
    # UTF-32's little-endian mark begins with UTF-16's, so it comes first.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLED_CHARS = 4096
_STRANGE_SHARE = 0.02
"""Of controls, private and unassigned characters. Random bytes read as UTF-16 give 0.15; text
gives none but for an icon font's characters and those newer than this Python's tables."""
_REMEDY = "Save the file as UTF-8 and ingest it again."


def decode_text(name: str, content: bytes, *, declared: str | None = None) -> str:
    """The text of `content`, in the encoding that its mark names, else `declared`, else UTF-8.

    Raises `UndecodableText`, which says where the first wrong byte is.
    """
    encoding, mark = marked_encoding(content)
    if encoding is None:
        encoding = declared or "utf-8"
        _refuse_zero_bytes(name, content)
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        offset = len(mark) + error.start
        raise UndecodableText(
            f"{name} is not {encoding.upper()} text: byte {offset} "
            f"(0x{content[offset]:02x}) does not belong there.",
            remedy=_REMEDY,
        ) from None
    except UnicodeError:
        raise UndecodableText(f"{name} is not {encoding.upper()} text.", remedy=_REMEDY) from None
    if mark and not _reads_as_text(text):
        raise UndecodableText(
            f"{name} begins with the mark of {encoding.upper()} text, but what follows is none.",
            remedy=_REMEDY,
        )
    return text


def marked_encoding(content: bytes) -> tuple[str | None, bytes]:
    """The encoding that a byte order mark names, and the mark."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding, mark
    return None, b""


def _reads_as_text(text: str) -> bool:
    """Nearly every pair of bytes is some UTF-16 character; few of those occur in texts."""
    sample = text[:_SAMPLED_CHARS]
    strange = sum(
        unicodedata.category(character) in ("Cc", "Cn", "Co") and not character.isspace()
        for character in sample
    )
    return "\0" not in text and strange <= _STRANGE_SHARE * len(sample)


def _refuse_zero_bytes(name: str, content: bytes) -> None:
    if (offset := content.find(b"\0")) >= 0:
        raise UndecodableText(
            f"{name} is not text: byte {offset} is zero, as in binary files and in UTF-16 "
            "without a byte order mark.",
            remedy=_REMEDY,
        )
