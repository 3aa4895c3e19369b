"""What may be submitted: names, access lists and metadata, refused in a sentence each."""

import math
import re

from ragstone.domain.document import DocumentSource, Metadata, ParsedDocument
from ragstone.domain.errors import Forbidden, InvalidRequest, PayloadTooLarge
from ragstone.domain.principal import EVERYONE, Principal

_COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST_NAME = 1_000


def require_ingest(principal: Principal) -> None:
    """Raises `Forbidden` without the scope `ingest` or `admin`."""
    if principal.scopes.isdisjoint({"ingest", "admin"}):
        raise Forbidden(
            "Changing documents needs the scope 'ingest'.",
            remedy="Use a key that has it.",
        )


def not_yours() -> Forbidden:
    """Says no more of the document that is there than that it is not replaced."""
    return Forbidden(
        "This document cannot be changed with the key that submitted it.",
        remedy="Give it another id, or ask an administrator.",
    )


def require_valid(source: DocumentSource, *, max_bytes: int) -> None:
    """Raises `InvalidRequest` or `PayloadTooLarge`, naming the field."""
    if _COLLECTION.fullmatch(source.collection) is None:
        raise InvalidRequest(
            f"{source.collection!r} cannot be the name of a collection.",
            remedy="Use up to 100 letters, digits, dots, underscores and hyphens of ASCII, "
            "a letter or digit first.",
            field="collection",
        )
    require_name(source.name, field="name")
    if len(source.content) > max_bytes:
        raise PayloadTooLarge(
            f"{source.name!r} has {len(source.content):,} bytes; the limit is {max_bytes:,}.",
            remedy="Split it, or raise ingest.max_file_bytes.",
            field="content",
        )
    for entry in source.access:
        _require_access(entry)
    require_metadata(source.metadata)


def require_name(name: str, *, field: str) -> None:
    """Raises `InvalidRequest` for a name that is empty, very long or not printable."""
    if not name or len(name) > _LONGEST_NAME or _UNFIT.search(name):
        shown = name if len(name) <= 80 else name[:80] + "…"
        raise InvalidRequest(
            f"{shown!r} cannot be the name of a document.",
            remedy=f"Use 1 to {_LONGEST_NAME} characters without control characters.",
            field=field,
        )


def require_metadata(metadata: Metadata) -> None:
    """Raises `InvalidRequest` for a number that is not finite or a field without a name."""
    for field, value in metadata.items():
        if not field:
            raise InvalidRequest("A metadata field has no name.", field="metadata")
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, float) and not math.isfinite(item):
                raise InvalidRequest(
                    f"The metadata field {field!r} holds {item}, which is not a finite number.",
                    remedy="Leave the field out where there is no value.",
                    field="metadata",
                )


def require_document(document: ParsedDocument) -> None:
    """Raises `InvalidRequest` for a document that could not be kept."""
    require_name(document.external_id, field="id")
    require_metadata(document.metadata)


def _require_access(entry: str) -> None:
    kind, colon, name = entry.partition(":")
    named = colon and kind in ("group", "user") and name.strip() and not _UNFIT.search(name)
    if entry == EVERYONE or named:
        return
    raise InvalidRequest(
        f"{entry!r} is not an entry of an access list.",
        remedy="Use '*', 'group:NAME' or 'user:NAME'.",
        field="access",
    )
