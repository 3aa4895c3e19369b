"""Questions about the sample corpus with relevance judgments.

Help questions are written by hand in `help_questions.jsonl`; those about products have their
truth computed from the attributes. Grades: 2 answers the question, 1 helps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from ragstone.sample.composed_requests import MOST_MATCHES, compose_requests
from ragstone.sample.criteria import Criteria
from ragstone.sample.products import Product
from ragstone.sample.requests import Request, load_requests

PRODUCT_QUESTIONS = 100
"""How many answerable questions about products are asked, if the catalogue is large enough."""


@dataclass(frozen=True)
class Question:
    """A question and the grade of each relevant document; no grades when unanswerable."""

    id: str
    text: str
    collection: str
    kind: str
    answerable: bool
    grades: dict[str, int]
    answer: str | None = None
    extra: dict[str, object] = field(default_factory=dict)

    def as_query(self) -> dict[str, object]:
        """The record in a `*.queries.jsonl` file."""
        metadata: dict[str, object] = {
            "collection": self.collection,
            "answerable": self.answerable,
            "kind": self.kind,
            **self.extra,
        }
        if self.answer is not None:
            metadata["answer"] = self.answer
        return {"id": self.id, "text": self.text, "metadata": metadata}


@dataclass(frozen=True)
class HelpQuestion:
    """A record of `help_questions.jsonl`.

    `evidence` stands literally (but for white space, emphasis and markup) in the first of the
    relevant documents. `absent` is a word that an answer would need and that no document has.
    """

    id: str
    text: str
    kind: str
    answerable: bool
    relevant: dict[str, int]
    answer: str | None
    evidence: str | None
    absent: str | None


@cache
def load_help_questions() -> tuple[HelpQuestion, ...]:
    """All hand-written questions over the help documents."""
    source = resources.files(__package__).joinpath("help_questions.jsonl")
    records = map(json.loads, source.read_text(encoding="utf-8").splitlines())
    return tuple(
        HelpQuestion(
            id=record["id"],
            text=record["text"],
            kind=record["kind"],
            answerable=record["answerable"],
            relevant=record.get("relevant", {}),
            answer=record.get("answer"),
            evidence=record.get("evidence"),
            absent=record.get("absent"),
        )
        for record in records
    )


def help_questions() -> list[Question]:
    """The questions over the help documents, with evidence in the metadata."""
    return [
        Question(
            id=question.id,
            text=question.text,
            collection="help",
            kind=question.kind,
            answerable=question.answerable,
            grades=question.relevant,
            answer=question.answer,
            extra={} if question.evidence is None else {"evidence": question.evidence},
        )
        for question in load_help_questions()
    ]


def product_questions(products: Sequence[Product], seed: int = 7) -> list[Question]:
    """Questions about these products, truth computed from their attributes.

    A request that no product meets, or more than 40, is left out; composed ones take its place.
    """
    questions: list[Question] = []
    for request in load_requests().answerable:
        questions += _ask(request, products)
    missing = max(0, PRODUCT_QUESTIONS - len(questions))
    for request in compose_requests(products, missing, seed):
        questions += _ask(request, products)
    return questions + _unanswerable(products)


def _ask(request: Request, products: Sequence[Product]) -> list[Question]:
    grades = {p.id: _grade(request.ideal, p) for p in products if request.need.matches(p)}
    if not 1 <= len(grades) <= MOST_MATCHES:
        return []
    extra: dict[str, object] = {"need": request.key, "criteria": _conditions(request.need)}
    if request.ideal is not None:
        extra["ideal"] = _conditions(request.ideal)
    return [
        Question(f"{request.key}-{n}", text, "products", request.kind, True, grades, extra=extra)
        for n, text in enumerate(request.texts, start=1)
    ]


def _grade(ideal: Criteria | None, product: Product) -> int:
    return 2 if ideal is None or ideal.matches(product) else 1


def _conditions(criteria: Criteria) -> dict[str, object]:
    """The conditions that are set, by name of the field."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(criteria).items()
        if value not in ((), None)
    }


def _unanswerable(products: Sequence[Product]) -> list[Question]:
    requests = load_requests()
    questions = [
        Question(request.key, request.texts[0], "products", request.kind, False, {})
        for request in requests.impossible
        if not any(request.need.matches(product) for product in products)
    ]
    questions += [
        Question(other.key, other.text, "products", "not_sold", False, {})
        for other in requests.not_sold
    ]
    return questions
