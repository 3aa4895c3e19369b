"""What must hold for every request of every scenario, by what the client received."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ragstone.lab.chaos.transcript import Transcript
from ragstone.lab.chaos.verdict import Check, none_of

_HAS_RETRY_AFTER = (429, 503)


def always_true(transcripts: Sequence[Transcript], canaries: dict[str, str]) -> list[Check]:
    """`canaries`: the word that only each tenant's documents hold."""
    return [
        none_of("requests without exactly one end", [*_without_one_end(transcripts)]),
        none_of("refusals without Retry-After", [*_without_retry_after(transcripts)]),
        none_of("text told twice or otherwise", [*_text_unlike_answer(transcripts)]),
        none_of("citations that do not exist", [*_bad_citations(transcripts)]),
        none_of("passages of another tenant", [*_leaks(transcripts, canaries)]),
        none_of("internal errors", [*_internal(transcripts)]),
    ]


def _without_one_end(transcripts: Sequence[Transcript]) -> Iterator[str]:
    for t in transcripts:
        if t.end in ("left", "refused_connection"):
            continue
        if t.end != "whole":
            yield f"{t.end} after {t.status} and {len(t.body)} bytes: {t.ask.question!r}"
        elif t.streams and len(t.terminals) != 1:
            names = Counter(event.name for event in t.events)
            yield f"{len(t.terminals)} terminal events in {dict(names)}"
        elif t.streams and t.events[-1].name not in ("done", "error"):
            yield f"{t.events[-1].name} after the end"
        elif not t.streams and not t.json:
            yield f"{t.status} without a JSON body"


def _without_retry_after(transcripts: Sequence[Transcript]) -> Iterator[str]:
    for t in transcripts:
        if t.status in _HAS_RETRY_AFTER and not _is_seconds(t.headers.get("retry-after", "")):
            yield f"{t.status} {t.error_code}: {t.headers.get('retry-after', 'absent')}"


def _is_seconds(value: str) -> bool:
    return value.isdigit()


def _text_unlike_answer(transcripts: Sequence[Transcript]) -> Iterator[str]:
    """Deltas must add up to the answer that `done` holds."""
    for t in transcripts:
        if t.streams and t.answer is not None and t.text.strip() != t.answer["answer"].strip():
            yield f"{t.text[:60]!r}... was told, {t.answer['answer'][:60]!r}... is the answer"


def _bad_citations(transcripts: Sequence[Transcript]) -> Iterator[str]:
    for t in transcripts:
        if t.answer is None:
            continue
        texts = {p["chunk_id"]: p["text"] for p in t.answer["passages"]}
        for citation in t.answer["citations"]:
            passage = texts.get(citation["chunk_id"])
            if passage is None:
                yield f"[{citation['number']}] is no passage of its answer"
            elif citation["text"] not in passage:
                yield f"[{citation['number']}] quotes {citation['text'][:40]!r}, not there"
            elif f"[{citation['number']}]" not in t.answer["answer"]:
                yield f"[{citation['number']}] is not in the text"


def _leaks(transcripts: Sequence[Transcript], canaries: dict[str, str]) -> Iterator[str]:
    for t in transcripts:
        for tenant, canary in canaries.items():
            if tenant != t.ask.tenant and canary.encode() in t.body:
                yield f"{t.ask.tenant} saw {canary}"


def _internal(transcripts: Sequence[Transcript]) -> Iterator[str]:
    for t in transcripts:
        if t.status == 500 or t.error_code == "internal_error":
            yield f"{t.status} {t.error_code}: {t.body[:100]!r}"
