"""Queries and judgments from files, with every fault named by its line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ragstone.domain.errors import InvalidRequest

_HEADER: Final = ["query_id", "document_id", "grade"]
_GRADE: Final = re.compile(r"-?\d{1,2}", re.ASCII)
"""Down to -99, which like 0 means judged and not relevant."""

_QUERY_REMEDY: Final = 'Each line is {"id": "...", "text": "..."}.'
_QRELS_REMEDY: Final = "Separate query_id, document_id and grade by tabs."


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
    `query_id`, `document_id`, `grade`; a grade above 0 is relevant.

    Raises `InvalidRequest` naming the file and the line.
    """
    asked = _read_queries(queries)
    judgments = _read_judgments(qrels)
    relevant = {query for query, grades in judgments.items() if max(grades.values()) > 0}
    kept = [query for query in asked if query.id in relevant]
    if not kept:
        raise InvalidRequest(
            f"No query of {queries} has a relevant document in {qrels}.",
            remedy="Check that both files use the same query ids.",
            field="qrels",
        )
    return JudgedSet(kept, {q.id: judgments[q.id] for q in kept}, len(asked) - len(kept))


def _read_queries(path: Path) -> list[JudgedQuery]:
    decoder = msgspec.json.Decoder(JudgedQuery)
    found: dict[str, JudgedQuery] = {}
    for number, line in _lines(path, field="queries"):
        try:
            query = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise _fault(path, number, str(error), _QUERY_REMEDY, field="queries") from None
        if not query.text.strip():
            raise _fault(path, number, "the text is empty", _QUERY_REMEDY, field="queries")
        if query.id in found:
            problem = f"the id {query.id!r} has occurred before"
            raise _fault(path, number, problem, "Give each query its own id.", field="queries")
        found[query.id] = query
    return list(found.values())


def _read_judgments(path: Path) -> dict[str, dict[str, int]]:
    lines = _lines(path, field="qrels")
    if next(lines, (0, ""))[1].split("\t") != _HEADER:
        raise InvalidRequest(
            f"{path} does not begin with the line {' '.join(_HEADER)} (tab-separated).",
            remedy="Add the header.",
            field="qrels",
        )
    judgments: dict[str, dict[str, int]] = {}
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(_HEADER):
            problem = f"expected three fields, found {len(fields)}"
            raise _fault(path, number, problem, _QRELS_REMEDY, field="qrels")
        query, document, grade = fields
        if not _GRADE.fullmatch(grade):
            problem = f"the grade is {grade[:40]!r}, not a whole number below 100"
            raise _fault(path, number, problem, _QRELS_REMEDY, field="qrels")
        if judgments.setdefault(query, {}).setdefault(document, int(grade)) != int(grade):
            problem = f"{document!r} has another grade for {query!r} further up"
            raise _fault(path, number, problem, "Keep one of the two lines.", field="qrels")
    return judgments


def _lines(path: Path, *, field: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read: {error.strerror or error}.",
            remedy="Check the path.",
            field=field,
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{path} is not UTF-8 text (byte {error.start}).",
            remedy="Save it as UTF-8.",
            field=field,
        ) from None
    # Not `splitlines`: a text may hold U+2028 and others that JSON lines do not end at.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def _fault(path: Path, number: int, problem: str, remedy: str, *, field: str) -> InvalidRequest:
    return InvalidRequest(f"{path}, line {number}: {problem}.", remedy=remedy, field=field)
