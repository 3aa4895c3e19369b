"""Queries and judgments from files, with every fault named by its line."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ragstone.domain.errors import InvalidRequest

_HEADER: Final = ["query_id", "document_id", "grade"]


class JudgedQuery(msgspec.Struct, frozen=True):
    """One line of a queries file; other fields are left alone."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """Queries that have at least one relevant document, and their judgments."""

    queries: list[JudgedQuery]
    judgments: dict[str, dict[str, int]]
    """Grade by document, by query. A document that is not here was not judged."""
    unjudged: int
    """Queries left out because nothing relevant is known for them."""


def read_judged_set(queries: Path, qrels: Path) -> JudgedSet:
    """`queries`: JSON lines with `id` and `text`. `qrels`: tab-separated with the header
    `query_id`, `document_id`, `grade`. Raises `InvalidRequest`."""
    asked = _read_queries(queries)
    judgments = _read_judgments(qrels)
    relevant = {query for query, grades in judgments.items() if max(grades.values()) > 0}
    kept = [query for query in asked if query.id in relevant]
    if not kept:
        raise InvalidRequest(
            f"No query of {queries} has a relevant document in {qrels}.",
            remedy="Check that both files use the same query ids.",
        )
    return JudgedSet(kept, {q.id: judgments[q.id] for q in kept}, len(asked) - len(kept))


def _read_queries(path: Path) -> list[JudgedQuery]:
    decoder = msgspec.json.Decoder(JudgedQuery)
    found: list[JudgedQuery] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            found.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(
                f"{path}, line {number}: {error}.",
                remedy='Each line is {"id": "...", "text": "..."}.',
            ) from None
    return found


def _read_judgments(path: Path) -> dict[str, dict[str, int]]:
    rows = csv.reader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE)
    if next(rows, None) != _HEADER:
        raise InvalidRequest(
            f"{path} does not begin with the line {' '.join(_HEADER)} (tab-separated).",
            remedy="Add the header.",
        )
    judgments: dict[str, dict[str, int]] = {}
    for row in rows:
        if not row:
            continue
        try:
            query, document, grade = row
            judgments.setdefault(query, {})[document] = int(grade)
        except ValueError:
            raise InvalidRequest(
                f"{path}, line {rows.line_num}: expected three fields, the last a whole number.",
                remedy="Separate query_id, document_id and grade by tabs.",
            ) from None
    return judgments


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}.") from None
