"""JSON and JSON Lines: records become documents, any other JSON becomes `path: value` lines.

A record is an object with a string `text`, and optionally `id`, `title` and `metadata`; its
other fields join the metadata. Where `text` is blank, the title is the text. A record without
an `id` is called after its place: `FILE#17` for line 17 (JSON Lines) or the 17th element (a
JSON list). A hash of its content would be as stable, but then a corrected record would leave
its old version behind.
"""

from collections.abc import Iterator

import msgspec

from ragstone.domain.document import Metadata, ParsedDocument
from ragstone.domain.errors import DamagedDocument, EmptyDocument, Unreadable
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.decode import decode_text, marked_encoding
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.metadata import flatten
from ragstone.ingest.parse.normalize import one_line
from ragstone.ingest.parse.plain import add_paragraphs
from ragstone.ingest.parse.titles import choose_title, title_from_name, title_from_text

_KNOWN = frozenset({"id", "title", "text", "metadata"})
_SHAPE = 'Write each record as {"id": ..., "title": ..., "text": ..., "metadata": {...}}.'
_LONGEST_ID = 1_000


def parse_json(
    name: str, content: bytes, limits: ParseLimits
) -> Iterator[ParsedDocument | DocumentError]:
    """A document for each record, else one for the whole file. Raises `Unreadable`."""
    value = _decoded(name, decode_text(name, content))
    elements = value if isinstance(value, list) else [value]
    if any(_is_record(element) for element in elements):
        reader = _RecordReader(name, limits, place="element")
        alone = not isinstance(value, list)
        for number, element in enumerate(elements, start=1):
            yield reader.read(element, number, fallback_id=name if alone else None)
        return
    builder = DocumentBuilder(name, limits)
    for line in _leaves(value, ""):
        builder.add("paragraph", line, tight=True)
    yield builder.build(name, title_from_name(name), {})


def parse_json_lines(
    name: str, content: bytes, limits: ParseLimits
) -> Iterator[ParsedDocument | DocumentError]:
    """A document for each line that is not blank, or why that line gave none.

    Raises `Unreadable` when there is no line at all.
    """
    reader = _RecordReader(name, limits, place="line")
    if marked_encoding(content)[0] is not None:
        content = decode_text(name, content).encode()
    found = False
    for number, line in enumerate(_lines(content), start=1):
        if not line.strip():
            continue
        found = True
        try:
            value = _decoded(f"{name}, line {number},", line.decode())
        except UnicodeDecodeError as error:
            yield reader.error(
                number,
                "undecodable_text",
                f"is not UTF-8 text: byte {error.start} (0x{line[error.start]:02x}) "
                "does not belong there. Save the file as UTF-8.",
            )
        except Unreadable as error:
            yield DocumentError(
                external_id=reader.place_id(number), code=error.code, message=str(error)
            )
        else:
            yield reader.read(value, number)
    if not found:
        raise EmptyDocument(f"{name} holds no records.", remedy=_SHAPE)


class _RecordReader:
    """Turns records of one file into documents."""

    def __init__(self, name: str, limits: ParseLimits, *, place: str) -> None:
        self._name = name
        self._limits = limits
        self._place = place
        self._seen: dict[str, int] = {}

    def place_id(self, number: int) -> str:
        return f"{self._name}#{number}"

    def error(self, number: int, code: str, problem: str) -> DocumentError:
        """What is wrong with record `number`, which has no id of its own."""
        return DocumentError(
            external_id=self.place_id(number),
            code=code,
            message=f"{self._name}, {self._place} {number}, {problem}",
        )

    def read(
        self, value: object, number: int, *, fallback_id: str | None = None
    ) -> ParsedDocument | DocumentError:
        """The document of one record; without an id it is called `fallback_id` or its place."""
        if not isinstance(value, dict):
            return self.error(number, "damaged_document", f"is not an object. {_SHAPE}")
        if not isinstance(value.get("text"), str):
            return self.error(number, "damaged_document", f'has no string "text". {_SHAPE}')
        raw_id = value.get("id")
        if isinstance(raw_id, bool) or not isinstance(raw_id, str | int | None):
            return self.error(number, "damaged_document", 'has an "id" that is no string.')
        external_id = one_line(str(raw_id)) if raw_id is not None else ""
        external_id = external_id or fallback_id or self.place_id(number)
        if len(external_id) > _LONGEST_ID:
            return self.error(
                number, "damaged_document", f'has an "id" of over {_LONGEST_ID} characters.'
            )
        if (earlier := self._seen.setdefault(external_id, number)) != number:
            return self.error(
                number,
                "damaged_document",
                f"has the id {external_id!r} of {self._place} {earlier} and was passed over. "
                "Give each record its own id.",
            )
        return self._document(value, external_id, number)

    def _document(
        self, record: dict[str, object], external_id: str, number: int
    ) -> ParsedDocument | DocumentError:
        text, title = str(record["text"]), record.get("title")
        if not one_line(text) and isinstance(title, str):
            text = title  # A product without a description is still a product.
        builder = DocumentBuilder(f"{self._name}, {self._place} {number},", self._limits)
        builder.empty_remedy = 'Give it a "text" or a "title".'
        try:
            add_paragraphs(builder, text)
            return builder.build(
                external_id,
                choose_title(external_id, title, title_from_text(text)),
                _record_metadata(record),
            )
        except Unreadable as error:
            return DocumentError(external_id=external_id, code=error.code, message=str(error))


def _record_metadata(record: dict[str, object]) -> Metadata:
    """Other fields first, so that `metadata` wins where both name a field."""
    fields: dict[object, object] = {
        key: value for key, value in record.items() if key not in _KNOWN
    }
    metadata = record.get("metadata")
    if isinstance(metadata, dict):
        return flatten(fields | metadata)
    return flatten(fields if metadata is None else fields | {"metadata": metadata})


def _is_record(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text"), str)


def _decoded(name: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DamagedDocument(
            f"{name} is not valid JSON: {str(error).rstrip('.')}.",
            remedy="Check it with a JSON validator.",
        ) from None


def _leaves(value: object, path: str) -> Iterator[str]:
    """`stores[0].city: Berlin` for every value that is not empty."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _leaves(item, f"{path}[{position}]")
    elif value is not None and value != "":
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield f"{path}: {shown}" if path else shown


def _lines(content: bytes) -> Iterator[bytes]:
    """The lines of `content`, without a second copy of all of it."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        yield content[start:end]
        start = end + 1
