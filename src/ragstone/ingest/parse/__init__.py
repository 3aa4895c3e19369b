"""Bytes of a file to documents: plain text with its structure over it.

`parse_source` is the whole of it. It runs inside of a parser process (`parser_process.py`),
since what it reads was written by strangers.
"""

from collections.abc import Iterator

from ragstone.domain.document import DocumentSource, ParsedDocument
from ragstone.domain.errors import (
    DamagedDocument,
    EmptyDocument,
    ParserCrashed,
    Unreadable,
)
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse.archive import gunzip
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.registry import (
    ENDINGS,
    FORMATS,
    detect_format,
    inner_name,
    is_gzip,
    unsupported,
)

__all__ = ["ENDINGS", "FORMATS", "ParseLimits", "is_readable_name", "parse_source"]


def parse_source(
    source: DocumentSource, limits: ParseLimits
) -> Iterator[ParsedDocument | DocumentError]:
    """Every document of `source`, or why one of its records could not be read.

    A file that is one document has `external_id == source.name`; a record has its own id.
    The metadata is what the file itself says; `source.metadata` is not merged in.

    Raises `Unreadable`, and nothing else, when the source as a whole cannot be read.
    """
    name = source.name
    try:
        limits.check_file(name, len(source.content))
        content, inner = _unpacked(name, source.content, limits)
        if not content.strip():
            raise EmptyDocument(
                f"{name} is empty.", remedy="Check that the file is the one you meant."
            )
        known = detect_format(inner, content)
        yield from known.load()(name, content, limits)
    except Unreadable:
        raise
    except MemoryError:
        raise out_of_memory(name) from None
    except Exception as error:
        # The libraries below read strangers' bytes and may raise anything.
        raise DamagedDocument(
            f"{name} could not be read ({type(error).__name__}).",
            remedy="The file is probably damaged: export it again, or convert it to PDF or text.",
        ) from error


def out_of_memory(name: str) -> ParserCrashed:
    """The error for a source whose reading needs more memory than a parser may have."""
    return ParserCrashed(
        f"Reading {name} needs more memory than a parser may use.",
        remedy="Split the file, or raise ingest.parser_memory_bytes.",
        field="ingest.parser_memory_bytes",
    )


def is_readable_name(name: str) -> bool:
    """Whether a name's ending is one that is read: how a folder's files are chosen."""
    return inner_name(name).rpartition(".")[2].lower() in ENDINGS and "." in name


def _unpacked(name: str, content: bytes, limits: ParseLimits) -> tuple[bytes, str]:
    """The content without gzip, and the name that says its format."""
    if not is_gzip(content):
        return content, name
    content = gunzip(name, content, limits)
    if is_gzip(content):
        raise unsupported(name, "it is compressed twice.", "Unpack it.")
    return content, inner_name(name)
