"""Each kind of unreadable file gives its own error, which names the file and what to do."""

import gzip
import io
import random
import struct
import zipfile

import pytest

from ragstone.domain.errors import (
    DamagedDocument,
    DocumentTooLarge,
    EmptyDocument,
    EncryptedDocument,
    UndecodableText,
    Unreadable,
    UnsupportedFormat,
)
from ragstone.ingest.parse import ParseLimits
from tests.ingest.parse.samples import LIMITS, VALID, pdf, read, read_all, word

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
ENCRYPTED_DOCX = OLE + "EncryptedPackage".encode("utf-16-le") + b"\0" * 600


def place(value: object) -> str | None:
    """An id that does not hold the bytes: PDF and ZIP files carry the time of their making."""
    return "content" if isinstance(value, bytes) else None


def refused(
    kind: type[Unreadable], name: str, content: bytes, limits: ParseLimits = LIMITS
) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read_all(name, content, limits)
    assert type(caught.value) is kind, repr(caught.value)
    assert name in caught.value.message
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.html", "a.pdf", "a.docx", "a.json", "a"])
@pytest.mark.parametrize("content", [b"", b" \n\t\n"])
def test_an_empty_file_is_empty(name: str, content: bytes) -> None:
    refused(EmptyDocument, name, content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "\u200b\u200b".encode()),
        ("a.md", b"<!-- only a comment -->"),
        ("a.md", b"---\ntitle: T\n---\n"),
        ("a.html", b"<html><body><script>1</script></body></html>"),
        ("a.csv", b"only,a,header\n"),
        ("a.json", b"{}"),
        ("a.jsonl.gz", gzip.compress(b"\n", mtime=0)),
    ],
    ids=place,
)
def test_a_file_without_any_text_is_empty(name: str, content: bytes) -> None:
    refused(EmptyDocument, name, content)


def test_a_pdf_without_text_looks_scanned() -> None:
    assert "scanned" in (refused(EmptyDocument, "a.pdf", pdf(text=False)).remedy or "")


def test_text_in_another_encoding_names_the_byte() -> None:
    error = refused(UndecodableText, "a.txt", "abc é".encode("latin-1"))
    assert "byte 4 (0xe9)" in error.message
    refused(UndecodableText, "a.md", b"text\0more")
    refused(UndecodableText, "a.txt", b"\xff\xfea")
    refused(UndecodableText, "a.json", '{"text": "é"}'.encode("latin-1"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pdf", pdf(password="secret")), ("a.docx", ENCRYPTED_DOCX)],
    ids=place,
)
def test_an_encrypted_file_is_said_to_be_protected(name: str, content: bytes) -> None:
    assert "password" in refused(EncryptedDocument, name, content).message


def test_a_pdf_that_only_restricts_its_owner_is_read() -> None:
    assert read("a.pdf", pdf(password="")).text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", pdf()[: len(pdf()) // 3]),
        ("a.pdf", b"%PDF-1.7\nnothing"),
        ("a.pdf", b"no pdf at all"),
        ("a.docx", word()[:2000]),
        ("a.docx", b"no zip"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}' * 99, mtime=0)[:-12]),
        ("a.json", b'{"text": '),
        ("a.json", b"[" * 100_000),
        ("a.md", b"---\ntitle: [unclosed\n---\nText."),
        ("a.md", b"---\na: &x [1]\nb: *x\n---\nText."),
    ],
    ids=place,
)
def test_a_damaged_file_is_damaged(name: str, content: bytes) -> None:
    refused(DamagedDocument, name, content)


def test_wrong_quoting_names_the_line() -> None:
    error = refused(DamagedDocument, "a.csv", b'a,b\n1,2\n3,"x\n4,5\n')
    assert "line 3" in error.message
    assert "line 2" in refused(DamagedDocument, "a.csv", b'a,b\n1,"x"y\n').message


def test_a_file_or_document_over_its_limit_is_too_large() -> None:
    error = refused(DocumentTooLarge, "a.txt", b"x" * 11, ParseLimits(max_file_bytes=10))
    assert error.field == "ingest.max_file_bytes"
    for name, make in VALID.items():
        if "json" not in name:
            error = refused(DocumentTooLarge, name, make(), ParseLimits(max_document_chars=10))
            assert error.field == "ingest.max_document_chars"


def test_an_oversize_record_does_not_stop_the_others() -> None:
    lines = b'{"id": "a", "text": "0123456789ab"}\n{"id": "b", "text": "short"}'
    first, second = read_all("a.jsonl", lines, ParseLimits(max_document_chars=10))
    assert getattr(first, "code", None) == "document_too_large"
    assert second.external_id == "b"


def test_a_gzip_bomb_is_refused_before_it_unpacks() -> None:
    bomb = gzip.compress(b"0" * 20_000_000)
    assert "bomb" in refused(DocumentTooLarge, "a.jsonl.gz", bomb).message
    limits = ParseLimits(max_unpacked_bytes=1_000, max_unpack_ratio=10**6)
    assert "1,000" in refused(DocumentTooLarge, "a.txt.gz", bomb, limits).message


def test_archives_inside_of_archives_are_not_opened() -> None:
    refused(UnsupportedFormat, "a.jsonl.gz.gz", gzip.compress(gzip.compress(b'{"text": "x"}')))
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w") as archive:
        archive.writestr("inner.zip", b"PK\x03\x04")
    refused(UnsupportedFormat, "archive", nested.getvalue())


def test_a_docx_bomb_is_refused_by_its_directory() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * 20_000_000)
    refused(DocumentTooLarge, "a.docx", stream.getvalue())


def test_a_docx_whose_directory_lies_about_sizes_is_damaged() -> None:
    content = bytearray(word())
    entry = content.rindex(b"word/document.xml") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    struct.pack_into("<I", content, entry + 24, 10)
    refused(DamagedDocument, "a.docx", bytes(content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("picture", b"\x89PNG\r\n\x1a\n"),
        ("a.bin", b"text and \0 zero"),
        ("a.xlsx", b"PK\x03\x04"),
        ("a.pptx", b"PK\x03\x04"),
        ("a.docx", OLE),
    ],
    ids=place,
)
def test_a_format_that_is_not_read_names_what_to_do(name: str, content: bytes) -> None:
    refused(UnsupportedFormat, name, content)


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"], ids=["little", "big"])
@pytest.mark.parametrize("seed", range(5))
def test_a_binary_file_that_begins_like_utf_16_is_not_text(mark: bytes, seed: int) -> None:
    numbers = random.Random(seed)
    # No surrogates and no zeros, so that every pair of bytes decodes.
    units = [numbers.choice([*range(1, 0xD800), *range(0xE000, 0xFFFE)]) for _ in range(2_000)]
    order = "<" if mark == b"\xff\xfe" else ">"
    noise = mark + struct.pack(f"{order}{len(units)}H", *units)
    for content in (noise, mark + b"\0\0\0\1 some words"):
        refused(UnsupportedFormat, "a.bin", content)
        refused(UnsupportedFormat, "noise", content)
        refused(UndecodableText, "a.txt", content)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("text", ["Naïve wool, 5 €", "羊毛の手入れ 🐑", "\ufeffشال من الصوف"])
def test_marked_text_is_read_whatever_its_script(encoding: str, text: str) -> None:
    assert read("notes", f"\ufeff{text}".encode(encoding)).text == text.lstrip("\ufeff")


def test_an_unknown_format_names_those_that_are_read() -> None:
    error = refused(UnsupportedFormat, "a.bin", b"\0\1\2")
    assert "Markdown, text, HTML, PDF, DOCX, CSV, JSON, JSONL" in (error.remedy or "")
