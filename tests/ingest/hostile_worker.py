"""A parser process that misbehaves as the name of its source says.

Run by the pool as `python -m tests.ingest.hostile_worker`; only tests name it.
"""

import itertools
import os
import signal
import sys
from collections.abc import Iterator

from ragstone.domain.document import Block, DocumentSource, ParsedDocument
from ragstone.domain.errors import DamagedDocument
from ragstone.ingest.parse import ParseLimits
from ragstone.ingest.parser_worker import serve


def document(external_id: str, text: str) -> ParsedDocument:
    return ParsedDocument(
        external_id=external_id,
        title="T",
        text=text,
        blocks=[Block(kind="paragraph", start=0, end=len(text))],
    )


def loop(content: bytes) -> Iterator[ParsedDocument]:
    while True:
        pass
    yield


def allocate(content: bytes) -> Iterator[ParsedDocument]:
    kept = []
    while True:
        kept.append(bytearray(1_000_000))
    yield


def abort(content: bytes) -> Iterator[ParsedDocument]:
    os.abort()
    yield


def kill(content: bytes) -> Iterator[ParsedDocument]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def leave(content: bytes) -> Iterator[ParsedDocument]:
    os._exit(3)
    yield


def garbage(content: bytes) -> Iterator[ParsedDocument]:
    """What libraries print goes to standard error; this reaches the pool's own pipe."""
    os.write(int(content), b"\xff\xff\xff\xffgarbage")
    yield document("1", "x")


def endless(content: bytes) -> Iterator[ParsedDocument]:
    for number in itertools.count(1):
        yield document(str(number), "x" * 1_000)


def half(content: bytes) -> Iterator[ParsedDocument]:
    yield document("1", "x")
    raise DamagedDocument("half is damaged.")


def prints(content: bytes) -> Iterator[ParsedDocument]:
    print("printed by a library")
    sys.stdout.flush()
    yield document("1", "x")


def environment(content: bytes) -> Iterator[ParsedDocument]:
    yield document("1", " ".join(sorted(os.environ)))


def pid(content: bytes) -> Iterator[ParsedDocument]:
    yield document("1", str(os.getpid()))


MISBEHAVIOURS = {
    "loop": loop,
    "allocate": allocate,
    "abort": abort,
    "kill": kill,
    "leave": leave,
    "garbage": garbage,
    "endless": endless,
    "half": half,
    "prints": prints,
    "environment": environment,
    "pid": pid,
}


def misbehave(source: DocumentSource, limits: ParseLimits) -> Iterator[ParsedDocument]:
    return MISBEHAVIOURS[source.name](source.content)


if __name__ == "__main__":
    serve(misbehave)
