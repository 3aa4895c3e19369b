"""A parser process: reads sources from its standard input, writes documents to its output.

Started by `parser_process.ParserPool` as `python -P -m ragstone.ingest.parser_worker`. It ends
when its input does, and the system ends it when its parent has died, or when one source takes
more processor time or memory than the pool allows.
"""

import ctypes
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO

from ragstone.domain.document import DocumentSource, ParsedDocument
from ragstone.domain.errors import ParserCrashed, Unreadable
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse import ParseLimits, out_of_memory, parse_source
from ragstone.ingest.parser_wire import (
    LENGTH_BYTES,
    Accepted,
    Ended,
    ParseFunction,
    Ready,
    Refused,
    SourceHeader,
    Start,
    ToChild,
    ToPool,
    batch_of,
    decode_to_child,
    frame,
)

_NICENESS = 5
"""Questions are answered on the same cores, and come first."""
_PR_SET_PDEATHSIG = 1
_BATCH_ITEMS = 64
_BATCH_CHARS = 200_000
_BATCH_SECONDS = 0.1
"""A batch is sent when it holds so much, or has waited so long."""


def serve(parse: ParseFunction) -> None:
    """Answer sources until the input ends."""
    inbox, outbox = _take_over_pipes()
    start = _receive(inbox)
    if not isinstance(start, Start):
        return
    _confine(start)
    _send(outbox, Ready())
    while isinstance(header := _receive(inbox), SourceHeader):
        try:
            content = inbox.read(header.size)
        except MemoryError:
            _send(outbox, Refused.of(out_of_memory(header.name)))
            return
        if len(content) < header.size:
            return
        _allow_cpu(start.cpu_seconds)
        _send(outbox, Accepted())
        source = DocumentSource(name=header.name, content=content, collection="")
        del content
        if not _answer(outbox, parse, source, start.limits):
            return


def _answer(
    outbox: BinaryIO, parse: ParseFunction, source: DocumentSource, limits: ParseLimits
) -> bool:
    """Whether this process is fit for another source."""
    try:
        for batch in _batches(parse(source, limits)):
            _send(outbox, batch_of(batch))
    except MemoryError:
        _send(outbox, Refused.of(out_of_memory(source.name)))
        return False
    except Unreadable as error:
        _send(outbox, Refused.of(error))
        return not isinstance(error, ParserCrashed)
    _send(outbox, Ended())
    return True


def _batches(
    items: Iterator[ParsedDocument | DocumentError],
) -> Iterator[list[ParsedDocument | DocumentError]]:
    """Many small documents to a batch; when `items` raises, first those before it."""
    batch: list[ParsedDocument | DocumentError] = []
    characters = 0
    began = time.monotonic()
    try:
        for item in items:
            batch.append(item)
            characters += len(item.text) if isinstance(item, ParsedDocument) else 0
            full = len(batch) >= _BATCH_ITEMS or characters >= _BATCH_CHARS
            if full or time.monotonic() - began >= _BATCH_SECONDS:
                yield batch
                batch, characters, began = [], 0, time.monotonic()
    except Unreadable:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Input and output for frames; what a library prints goes to standard error."""
    outbox = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return sys.stdin.buffer, outbox


def _receive(inbox: BinaryIO) -> ToChild | None:
    """The next message; None when the input has ended."""
    length = inbox.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    size = int.from_bytes(length, "big")
    payload = inbox.read(size)
    return decode_to_child(payload) if len(payload) == size else None


def _send(outbox: BinaryIO, message: ToPool) -> None:
    try:
        outbox.write(frame(message))
        outbox.flush()
    except BrokenPipeError:
        # The pool has gone; there is nobody to tell, and no buffer worth flushing.
        os._exit(0)


def _confine(start: Start) -> None:
    os.nice(_NICENESS)
    _lower_limit(resource.RLIMIT_AS, start.memory_bytes)
    _lower_limit(resource.RLIMIT_CORE, 0)
    # The terminal's interrupt is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != start.parent:
            os._exit(0)  # The parent died before the line above.


def _lower_limit(kind: int, soft: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    try:
        resource.setrlimit(kind, (soft, hard))
    except (ValueError, OSError) as error:
        # macOS knows no limit on address space. The pool's timeout still holds.
        print(f"cannot set resource limit {kind}: {error}", file=sys.stderr)


def _allow_cpu(seconds: float) -> None:
    """Let this process use so much more; the system's clock for it counts from its start."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + seconds) + 1)


if __name__ == "__main__":
    serve(parse_source)
