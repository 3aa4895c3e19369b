"""Questions with retrieved passages, for which it is known whether and where the answer is.

| set | answerable | not answerable |
|---|---|---|
| `help` (the sample corpus) | its help questions whose evidence was retrieved | `unanswerable`: those that the corpus cannot answer; `removed`: retrieved without the judged documents; `other`: from a travel agency's FAQ or company guides |
| `faq` (travel agency) | its questions | `removed`; `other`: from the sample corpus |
| `chunking` (five long texts) | its questions | `far`: from another of the texts; `near`: same text without the reference |
| `mtrag` (conversations) | questions with their reference passages | `other`: passages of other conversations on the same collection |

`removed` and `near` are upper bounds of difficulty: some are answered by another passage.
"""  # noqa: E501

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ragstone.domain.document import Block, DocumentSource, ParsedDocument
from ragstone.domain.job import DocumentError
from ragstone.domain.passage import Passage, Scores
from ragstone.ingest.chunk import Chunker, ChunkSettings
from ragstone.ingest.context import embedding_text, table_headers
from ragstone.ingest.parse import parse_source
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.pipeline.cues import content_stems
from ragstone.ports import Embedder
from ragstone.sample.questions import load_help_questions

Kind = Literal["answerable", "unanswerable", "removed", "other", "far", "near"]
Reference = tuple[str, int, int]
"""Document id and half-open character offsets."""

PASSAGES = 5
EVERYTHING = 1 << 40


@dataclass(frozen=True)
class Case:
    set_name: str
    kind: Kind
    question: str
    vector: list[float]
    passages: list[Passage]
    references: list[Reference]


class Shelf:
    """Documents in memory with the simplest hybrid search: both legs scaled to [0, 1]."""

    def __init__(self, documents: Sequence[ParsedDocument], embedder: Embedder) -> None:
        chunker = Chunker(ChunkSettings(), embedder.count_tokens)
        self.chunks = []
        self.texts = []
        for document in documents:
            chunks = chunker.chunk(document)
            for chunk, header in zip(chunks, table_headers(document, chunks), strict=True):
                self.chunks.append((document, chunk))
                self.texts.append(
                    embedding_text(
                        document.title, chunk, header, counter=chunker.counter, prefix_tokens=48
                    )
                )
        self.words = [content_stems(text) for text in self.texts]
        self.embedder = embedder

    async def embed(self) -> "Shelf":
        self.vectors = np.array(await self.embedder.embed_documents(self.texts))
        return self

    def search(
        self, question: str, vector: list[float], without: Sequence[Reference] = ()
    ) -> list[Passage]:
        dense = self.vectors @ np.array(vector)
        asked = content_stems(question)
        weight = {
            w: np.log(1 + len(self.words) / (1 + sum(w in t for t in self.words))) for w in asked
        }
        lexical = np.array([sum(weight[w] for w in asked & words) for words in self.words])
        fused = _scaled(dense) + _scaled(lexical)
        passages: list[Passage] = []
        for index in np.argsort(-fused, kind="stable"):
            document, chunk = self.chunks[index]
            name = document.external_id
            if any(n == name and a < chunk.end and chunk.start < b for n, a, b in without):
                continue
            scores = Scores(fused=float(fused[index]), dense=float(dense[index]))
            passages.append(
                Passage(
                    chunk_id=f"{name}/{chunk.ordinal}",
                    document_id=name,
                    external_id=name,
                    version=1,
                    ordinal=chunk.ordinal,
                    title=document.title,
                    text=chunk.text,
                    start=chunk.start,
                    end=chunk.end,
                    heading_path=chunk.heading_path,
                    scores=scores,
                )
            )
            if len(passages) == PASSAGES:
                break
        return passages


def _scaled(scores: np.ndarray) -> np.ndarray:
    low = np.sort(scores)[-50:].min()
    return np.clip((scores - low) / (scores.max() - low + 1e-9), 0, 1)


def plain_document(name: str, title: str, text: str) -> ParsedDocument:
    """With a paragraph for each line and all offsets as they are in `text`."""
    blocks = [
        Block(kind="paragraph", start=match.start(), end=match.end())
        for match in re.finditer(r"[^\n]*\S[^\n]*", text)
    ]
    return ParsedDocument(external_id=name, title=title, text=text, blocks=blocks)


def sample_documents() -> list[ParsedDocument]:
    root = Path(str(resources.files("ragstone.sample").joinpath("documents")))
    documents: list[ParsedDocument] = []
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        name = file.relative_to(root).as_posix()
        source = DocumentSource(name=name, content=file.read_bytes(), collection="help")
        for parsed in parse_source(source, ParseLimits()):
            if isinstance(parsed, DocumentError):
                raise SystemExit(f"{name}: {parsed.message}")
            documents.append(parsed)
    return documents


def elastic_documents(shared: Path, name: str) -> list[ParsedDocument]:
    lines = (shared / "elastic_small" / name / "documents.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [plain_document(r["id"], r["title"], r["text"]) for r in records]


def find_evidence(evidence: str, documents: Sequence[ParsedDocument]) -> list[Reference]:
    """Where the words of `evidence` stand in a row, else the lines with all of its cells."""
    row = re.compile(r"\W+".join(map(re.escape, re.findall(r"\w+", evidence))), re.I)
    spans = [
        (d.external_id, match.start(), match.end())
        for d in documents
        for match in row.finditer(d.text)
    ]
    if spans:
        return spans
    cells = [cell.strip() for cell in re.split(r"[|,:;] ?", evidence) if cell.strip()]
    cells = cells if len(cells) > 1 else evidence.split()
    patterns = [re.compile(rf"(?<!\w){re.escape(cell)}(?!\w)") for cell in cells]
    return [
        (d.external_id, line.start(), line.end())
        for d in documents
        for line in re.finditer(r"[^\n]+", d.text)
        if all(pattern.search(line[0]) for pattern in patterns)
    ]


def _retrieved(passages: Sequence[Passage], references: Sequence[Reference]) -> bool:
    return any(
        name == p.document_id and p.start < end and start < p.end
        for p in passages
        for name, start, end in references
    )


async def help_and_faq_cases(shared: Path, embedder: Embedder) -> list[Case]:
    choice = random.Random(3)
    documents = sample_documents()
    shelf = await Shelf(documents, embedder).embed()
    faq_documents = elastic_documents(shared, "faq")
    faq = await Shelf(faq_documents, embedder).embed()
    guides = await Shelf(elastic_documents(shared, "workplace"), embedder).embed()
    cases: list[Case] = []
    for asked in load_help_questions():
        text = asked.text
        vector = await embedder.embed_query(text)
        passages = shelf.search(text, vector)
        if asked.evidence is None:
            cases.append(Case("help", "unanswerable", text, vector, passages, []))
        else:
            relevant = [d for d in documents if d.external_id in asked.relevant]
            found = find_evidence(asked.evidence, relevant)
            if _retrieved(passages, found):
                cases.append(Case("help", "answerable", text, vector, passages, found))
            judged = [(name, 0, EVERYTHING) for name in asked.relevant]
            rest = shelf.search(text, vector, judged)
            cases.append(Case("help", "removed", text, vector, rest, []))
        other = (faq if choice.random() < 0.7 else guides).search(text, vector)
        cases.append(Case("help", "other", text, vector, other, []))
    for document in faq_documents:
        name, text = document.external_id, document.title
        vector = await embedder.embed_query(text)
        whole = [(name, 0, len(document.text))]
        cases.append(Case("faq", "answerable", text, vector, faq.search(text, vector), whole))
        cases.append(Case("faq", "removed", text, vector, faq.search(text, vector, whole), []))
        cases.append(Case("faq", "other", text, vector, shelf.search(text, vector), []))
    return cases


async def chunking_cases(shared: Path, embedder: Embedder) -> list[Case]:
    choice = random.Random(7)
    shelves: dict[str, Shelf] = {}
    for file in sorted((shared / "chunking" / "corpora").glob("*.md")):
        document = plain_document(file.stem, file.stem.replace("_", " "), file.read_text())
        shelves[file.stem] = await Shelf([document], embedder).embed()
    cases: list[Case] = []
    for line in (shared / "chunking" / "questions.jsonl").read_text().splitlines():
        record = json.loads(line)
        text, corpus = record["text"], record["corpus_id"]
        found = [(corpus, r["start"], r["end"]) for r in record["references"]]
        vector = await embedder.embed_query(text)
        passages = shelves[corpus].search(text, vector)
        if _retrieved(passages, found):
            cases.append(Case("chunking", "answerable", text, vector, passages, found))
        near = shelves[corpus].search(text, vector, found)
        cases.append(Case("chunking", "near", text, vector, near, []))
        far = shelves[choice.choice([n for n in shelves if n != corpus])].search(text, vector)
        cases.append(Case("chunking", "far", text, vector, far, []))
    return cases


async def mtrag_cases(shared: Path, embedder: Embedder) -> list[Case]:
    """The question is the last two turns of the user, since most lean on the one before."""
    folder = shared / "mtrag_human_eval"
    data = json.loads((folder / "reference_subset_with_human_evaluations.json").read_text())
    documents = {record["document_id"]: record for record in data["documents"]}
    texts = [f"{record.get('title', '')}\n{record['text']}" for record in documents.values()]
    vectors = dict(zip(documents, await embedder.embed_documents(texts), strict=True))
    tasks = [task for task in data["tasks"] if task["contexts"]]
    cases: list[Case] = []
    for task in tasks:
        turns = [turn["text"] for turn in task["input"] if turn["speaker"] == "user"]
        text = " ".join(turns[-2:])
        vector = await embedder.embed_query(text)
        own = {context["document_id"] for context in task["contexts"]}
        others = {
            context["document_id"]
            for other in tasks
            if other["Collection"] == task["Collection"]
            and other["task_id"].split("<")[0] != task["task_id"].split("<")[0]
            for context in other["contexts"]
        }
        if task["Answerability"] == ["ANSWERABLE"]:
            passages = _mtrag_passages(own, documents, vectors, vector)
            cases.append(Case("mtrag", "answerable", text, vector, passages, []))
        passages = _mtrag_passages(others - own, documents, vectors, vector)
        cases.append(Case("mtrag", "other", text, vector, passages, []))
    return cases


def _mtrag_passages(
    names: set[str],
    documents: dict[str, Any],
    vectors: dict[str, list[float]],
    vector: list[float],
) -> list[Passage]:
    cosines = {name: float(np.dot(vectors[name], vector)) for name in sorted(names)}
    best = sorted(cosines, key=lambda name: -cosines[name])[:PASSAGES]
    return [
        Passage(
            chunk_id=name,
            document_id=name,
            external_id=name,
            version=1,
            ordinal=0,
            title=documents[name].get("title") or "",
            text=documents[name]["text"],
            start=0,
            end=len(documents[name]["text"]),
            scores=Scores(fused=cosines[name], dense=cosines[name]),
        )
        for name in best
    ]
