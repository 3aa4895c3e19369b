"""Collections with judged queries, cut, embedded and scored as the server does it, but exactly.

For each set every chunk's cosine and BM25 score for every query is kept as a matrix, so that
ways of joining the two can be compared in seconds. Vectors are cached in a folder.
"""

import asyncio
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from chunking import Bm25, read_corpora, read_questions

from ragstone.domain.document import DocumentSource, Metadata, ParsedDocument
from ragstone.domain.query import Question, Turn
from ragstone.ingest.chunk import Chunker, ChunkSettings
from ragstone.ingest.context import embedding_text, lexical_text, table_headers
from ragstone.ingest.parse import ParseLimits, parse_source
from ragstone.lab.judged_set import read_judged_set
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.pipeline.understand import understand
from ragstone.sample import write_corpus

Floats = npt.NDArray[np.float32]

MetadataIn = Literal["none", "lexical", "both"]

_EMBEDDED_AT_ONCE = 512


class Absent(Exception):
    """The set is not on this machine; the message says what is missing."""


@dataclass
class Judged:
    """One collection in chunks, and queries with grades for its documents.

    A chunk is its own document where chunks are judged.
    """

    name: str
    embedded: list[str] = field(default_factory=list)
    indexed: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    """For each chunk, the document that it belongs to."""
    queries: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    """For each query, the part of the set that is also reported alone."""
    grades: list[dict[str, int]] = field(default_factory=list)
    sparse: bool = False
    """Whether many relevant documents may be unjudged."""

    def ask(self, text: str, grades: dict[str, int], group: str = "") -> None:
        self.queries.append(text)
        self.groups.append(group)
        self.grades.append(grades)


class Reader:
    """Documents to chunks and the texts that ingestion embeds and indexes for them.

    To try out what else could be in them: the strings of the metadata, in the indexed text or
    in both, and the title several times in the indexed text.
    """

    def __init__(
        self, embedder: MiniLmEmbedder, metadata: MetadataIn = "none", titles: int = 1
    ) -> None:
        self._chunker = Chunker(ChunkSettings(), embedder.count_tokens)
        self._metadata = metadata
        self._titles = titles

    def parse(self, name: str, content: bytes) -> Iterator[ParsedDocument]:
        """Its readable documents: ingestion, too, leaves out a record without text."""
        source = DocumentSource(name=name, content=content, collection="benchmark")
        for found in parse_source(source, ParseLimits()):
            if isinstance(found, ParsedDocument):
                yield found

    def add(
        self,
        judged: Judged,
        document: ParsedDocument,
        name: Callable[[int, int], str] | None = None,
    ) -> None:
        """`name` gives a chunk its own identity by its start and end."""
        chunks = self._chunker.chunk(document)
        headers = table_headers(document, chunks)
        words = words_of(document.metadata)
        for chunk, header in zip(chunks, headers, strict=True):
            embedded = embedding_text(
                document.title,
                chunk,
                header,
                counter=self._chunker.counter,
                prefix_tokens=self._chunker.settings.prefix_tokens,
            )
            indexed = [document.title] * (self._titles - 1)
            indexed.append(lexical_text(document.title, chunk, header))
            judged.embedded.append(
                f"{embedded}\n{words}" if words and self._metadata == "both" else embedded
            )
            judged.indexed.append(
                "\n".join([*indexed, words] if self._metadata != "none" else indexed)
            )
            judged.documents.append(name(chunk.start, chunk.end) if name else document.external_id)


def words_of(metadata: Metadata) -> str:
    """The strings among the metadata, a line for each field; addresses left out."""
    lines = []
    for value in metadata.values():
        values = value if isinstance(value, list) else [value]
        words = [v for v in values if isinstance(v, str) and v and "://" not in v]
        if words:
            lines.append(", ".join(words))
    return "\n".join(lines)


def movies(folder: Path, reader: Reader, sample: int, seed: int) -> Judged:
    """Catalogue search, a sample of the queries."""
    folder = _present(folder / "msrd")
    judged = Judged("msrd", sparse=True)
    content = (folder / "documents.jsonl.gz").read_bytes()
    for document in reader.parse("documents.jsonl.gz", content):
        reader.add(judged, document)
    found = read_judged_set(folder / "queries.jsonl", folder / "qrels.tsv")
    for query in random.Random(seed).sample(found.queries, min(sample, len(found.queries))):
        judged.ask(query.text, found.judgments[query.id])
    return judged


def retailer(reader: Reader, part: str) -> Judged:
    """The sample corpus: `help` or `products`, by kind of question."""
    judged = Judged(f"sample {part}")
    with tempfile.TemporaryDirectory() as name:
        corpus = write_corpus(Path(name))
        root = corpus.help_folder if part == "help" else corpus.products_file.parent
        for file in sorted(path for path in root.rglob("*") if path.is_file()):
            for document in reader.parse(file.relative_to(root).as_posix(), file.read_bytes()):
                reader.add(judged, document)
        files = corpus.evaluation[part]
        found = read_judged_set(files.queries, files.qrels)
        lines = map(json.loads, files.queries.read_text(encoding="utf-8").splitlines())
        kinds = {row["id"]: row["metadata"]["kind"] for row in lines}
    for query in found.queries:
        judged.ask(query.text, found.judgments[query.id], kinds[query.id])
    return judged


def corpora(folder: Path, reader: Reader) -> Judged:
    """Questions on five long texts; a chunk that overlaps a reference is relevant."""
    folder = _present(folder / "chunking")
    judged = Judged("chunking")
    pieces: dict[str, list[tuple[int, int]]] = {}
    for name, document in read_corpora(folder).items():
        spans = pieces.setdefault(name, [])
        reader.add(judged, document, name=_keeping(name, spans))
    for question in read_questions(folder):
        relevant = {
            f"{question.corpus}:{start}": 1
            for start, end in pieces[question.corpus]
            if any(start < right and left < end for left, right in question.references)
        }
        judged.ask(question.text, relevant, question.corpus)
    return judged


def _keeping(corpus: str, spans: list[tuple[int, int]]) -> Callable[[int, int], str]:
    def named(start: int, end: int) -> str:
        spans.append((start, end))
        return f"{corpus}:{start}"

    return named


def conversations(folder: Path, reader: Reader) -> Judged:
    """The last question of a conversation; the passages given with it are relevant."""
    folder = _present(folder / "mtrag_human_eval")
    content = next(folder.glob("*.json")).read_text(encoding="utf-8")
    data = json.loads(content)
    judged = Judged("mtrag")
    for row in data["documents"]:
        lines = json.dumps(
            {"id": row["document_id"], "title": row.get("title", ""), "text": row["text"]}
        )
        for document in reader.parse("passage.jsonl", lines.encode()):
            reader.add(judged, document)
    for task in data["tasks"]:
        *earlier, last = task["input"]
        grades = {context["document_id"]: 1 for context in task["contexts"]}
        turns = tuple(
            Turn("user" if turn["speaker"] == "user" else "assistant", turn["text"])
            for turn in earlier
        )
        if grades:
            question = Question(text=last["text"], collection="mtrag", conversation=turns)
            judged.ask(understand(question), grades, task["Collection"].split("-")[2])
    return judged


def _present(path: Path) -> Path:
    if not path.exists():
        raise Absent(f"{path} is not there")
    return path


@dataclass
class Scored:
    """Every chunk's score for every query, by leg, and the grade of its document."""

    judged: Judged
    dense: Floats
    lexical: Floats
    document: npt.NDArray[np.int64]
    """For each chunk, the number of its document."""
    grade: list[dict[int, int]]
    """For each query, grades by number of document; as judged, zeros included."""


class Scorer:
    """Embeds with the local model, keeping vectors in `cache`."""

    def __init__(self, embedder: MiniLmEmbedder, cache: Path) -> None:
        self._embedder = embedder
        self._cache = cache

    async def score(self, judged: Judged) -> Scored:
        names = {name: number for number, name in enumerate(dict.fromkeys(judged.documents))}
        chunks, queries = await self._vectors(judged.embedded), await self._vectors(judged.queries)
        words = await asyncio.to_thread(Bm25, judged.indexed)
        return Scored(
            judged,
            dense=queries @ chunks.T,
            lexical=np.array([words.scores(query) for query in judged.queries]),
            document=np.array([names[name] for name in judged.documents]),
            grade=[
                {names[name]: grade for name, grade in grades.items() if name in names}
                for grades in judged.grades
            ],
        )

    async def _vectors(self, texts: Sequence[str]) -> Floats:
        digest = hashlib.sha256("\0".join([self._embedder.identity.name, *texts]).encode())
        file = self._cache / f"{digest.hexdigest()[:24]}.npy"
        if file.exists():
            return np.asarray(np.load(file), dtype=np.float32)
        rows: list[list[float]] = []
        for at in range(0, len(texts), _EMBEDDED_AT_ONCE):
            rows += await self._embedder.embed_documents(texts[at : at + _EMBEDDED_AT_ONCE])
            print(f"\rembedding {len(rows)}/{len(texts)}", end="", file=sys.stderr, flush=True)
        print("\r\033[K", end="", file=sys.stderr)
        found = np.array(rows, dtype=np.float32)
        self._cache.mkdir(parents=True, exist_ok=True)
        np.save(file, found)
        return found
