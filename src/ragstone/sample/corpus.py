"""Write the sample corpus, with its questions and judgments, into a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from ragstone.sample.products import generate_products
from ragstone.sample.questions import Question, help_questions, product_questions


@dataclass(frozen=True)
class QuestionSet:
    """The evaluation files of one collection, and how many questions and judgments they hold."""

    queries: Path
    qrels: Path
    questions: int
    answerable: int
    judgments: int


@dataclass(frozen=True)
class Corpus:
    """Where the sample corpus was written, and how much of it there is.

    `help_files` counts files; a JSONL file among them holds several documents.
    """

    help_folder: Path
    products_file: Path
    help_files: int
    products: int
    evaluation: Mapping[str, QuestionSet]


def write(folder: Path, products: int, seed: int) -> Corpus:
    """See `ragstone.sample.write_corpus`."""
    help_folder = folder / "help"
    help_files = _copy(resources.files(__package__).joinpath("documents"), help_folder)
    catalogue = generate_products(products, seed)
    products_file = folder / "products" / "products.jsonl"
    _write_jsonl(products_file, (product.as_document() for product in catalogue))
    evaluation = folder / "evaluation"
    return Corpus(
        help_folder=help_folder,
        products_file=products_file,
        help_files=help_files,
        products=len(catalogue),
        evaluation={
            "help": _write_questions(evaluation, "help", help_questions()),
            "products": _write_questions(
                evaluation, "products", product_questions(catalogue, seed)
            ),
        },
    )


def _copy(source: Traversable, target: Path) -> int:
    """Copy a tree of package data; returns the number of files."""
    target.mkdir(parents=True, exist_ok=True)
    copied = 0
    for entry in sorted(source.iterdir(), key=lambda item: item.name):
        if entry.is_dir():
            copied += _copy(entry, target / entry.name)
        else:
            (target / entry.name).write_bytes(entry.read_bytes())
            copied += 1
    return copied


def _write_jsonl(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _write_questions(folder: Path, name: str, questions: Sequence[Question]) -> QuestionSet:
    queries, qrels = folder / f"{name}.queries.jsonl", folder / f"{name}.qrels.tsv"
    _write_jsonl(queries, (question.as_query() for question in questions))
    rows = [
        f"{question.id}\t{document_id}\t{grade}\n"
        for question in questions
        for document_id, grade in question.grades.items()
    ]
    with qrels.open("w", encoding="utf-8", newline="\n") as file:
        file.write("query_id\tdocument_id\tgrade\n")
        file.writelines(rows)
    return QuestionSet(
        queries=queries,
        qrels=qrels,
        questions=len(questions),
        answerable=sum(question.answerable for question in questions),
        judgments=len(rows),
    )
