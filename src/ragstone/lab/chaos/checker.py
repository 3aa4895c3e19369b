"""What must hold for every request of every scenario, by what the client received."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ragstone.lab.chaos.transcript import Transcript
from ragstone.lab.chaos.verdict import Check, at_most, none_of
from ragstone.lab.simulate.text import question_hash
from ragstone.settings import AdmissionSettings

_HAS_RETRY_AFTER: Final = (429, 503)
_DEADLINE_SECONDS: Final = AdmissionSettings().deadline_seconds
"""Of requests that name none."""
_ARRIVAL_SECONDS: Final = 0.1
"""For a request to be read: its deadline counts from then."""
_LATE_SHARE: Final = 0.01


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


def started_in_time(
    starts: Iterable[tuple[str, float]], transcripts: Sequence[Transcript]
) -> Check:
    """`starts`: the questions' hashes that dependencies were asked, and when.

    A call is late when all who asked its question before had no time left for it."""
    asked: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for t in transcripts:
        milliseconds = t.ask.deadline_ms
        seconds = _DEADLINE_SECONDS if milliseconds is None else milliseconds / 1000
        if t.sent:
            end = t.sent + seconds + _ARRIVAL_SECONDS
            asked[question_hash(t.ask.question)].append((t.sent, end))
    ends = [
        (at, [end for sent, end in asked[question] if sent <= at])
        for question, at in starts
        if question in asked
    ]
    known = [(at, before) for at, before in ends if before]
    late = sum(at > max(before) for at, before in known)
    return at_most(
        "share of calls begun after their deadline", late / (len(known) or 1), _LATE_SHARE
    )


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
