"""Both parsers keep the port's contract, and the pool survives what its processes do."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from ragstone.domain.document import ParsedDocument
from ragstone.domain.errors import (
    DamagedDocument,
    DocumentTooLarge,
    EmptyDocument,
    ParserCrashed,
)
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse import ParseLimits, parse_source
from ragstone.ingest.parser_process import DirectParser, ParserPool
from ragstone.ports import Parser
from tests.ingest.parse.samples import VALID, source

ROOT = Path(__file__).resolve().parents[2]
LIMITS = ParseLimits()
PATIENT = 60.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's limits and pidfd")


def make_pool(
    *,
    workers: int = 1,
    timeout_seconds: float = PATIENT,
    memory_bytes: int = 2_000_000_000,
    limits: ParseLimits = LIMITS,
    worker_module: str = "ragstone.ingest.parser_worker",
    python: str = sys.executable,
) -> ParserPool:
    return ParserPool(
        workers=workers,
        timeout_seconds=timeout_seconds,
        memory_bytes=memory_bytes,
        limits=limits,
        worker_module=worker_module,
        python=python,
    )


@pytest.fixture(params=["pool", "direct"])
async def parser(request: pytest.FixtureRequest) -> AsyncIterator[Parser]:
    parser = make_pool() if request.param == "pool" else DirectParser(LIMITS)
    yield parser
    await parser.close()


@pytest.fixture
def hostile_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
async def hostile(hostile_path: None) -> AsyncIterator[ParserPool]:
    pool = make_pool(worker_module="tests.ingest.hostile_worker")
    yield pool
    await pool.close()


async def read(
    parser: Parser, name: str, content: bytes = b"x"
) -> list[ParsedDocument | DocumentError]:
    return [item async for item in parser.parse(source(name, content))]


async def worker_pid(pool: ParserPool) -> int:
    [item] = await read(pool, "pid")
    assert isinstance(item, ParsedDocument)
    return int(item.text)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_parser_delivers_what_the_formats_do(parser: Parser) -> None:
    for name in ("a.md", "a.pdf", "a.docx", "a.html", "a.jsonl"):
        content = VALID[name]()
        assert await read(parser, name, content) == list(
            parse_source(source(name, content), LIMITS)
        )


async def test_a_parser_raises_for_the_whole_source_and_goes_on(parser: Parser) -> None:
    with pytest.raises(EmptyDocument, match=r"void\.md is empty") as caught:
        await read(parser, "void.md", b" ")
    assert caught.value.remedy
    with pytest.raises(DocumentTooLarge) as too_large:
        await read(parser, "a.txt", b" " * (LIMITS.max_file_bytes + 1))
    assert too_large.value.field == "ingest.max_file_bytes"
    assert len(await read(parser, "a.md", b"text")) == 1


async def test_a_parser_streams_many_records_in_order_with_their_errors(parser: Parser) -> None:
    lines = [b'{"id": "%d", "text": "record %d"}' % (n, n) for n in range(5_000)]
    lines[4_000] = b"{bad"
    items = await read(parser, "r.jsonl", b"\n".join(lines))
    assert [item.external_id for item in items] == [
        "r.jsonl#4001" if n == 4_000 else str(n) for n in range(5_000)
    ]
    assert isinstance(items[4_000], DocumentError)


async def test_sources_are_read_at_once_but_no_more_than_workers() -> None:
    pool = make_pool(workers=2)
    results = await asyncio.gather(*(read(pool, f"{n}.md", b"text") for n in range(6)))
    assert [len(items) for items in results] == [1] * 6
    await pool.close()


async def test_a_process_is_kept_for_the_next_source(hostile: ParserPool) -> None:
    assert await worker_pid(hostile) == await worker_pid(hostile)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("abort", "SIGABRT"), ("kill", "SIGKILL"), ("leave", "exit status 3")],
)
async def test_a_crash_names_the_file_and_the_next_source_is_read(
    hostile: ParserPool, name: str, reason: str
) -> None:
    before = await worker_pid(hostile)
    with pytest.raises(ParserCrashed, match=f"parser of {name} ended .*{reason}"):
        await read(hostile, name)
    assert await worker_pid(hostile) != before


async def test_a_parser_that_loops_is_killed_after_its_time(hostile_path: None) -> None:
    pool = make_pool(worker_module="tests.ingest.hostile_worker", timeout_seconds=0.3)
    pid = None
    while pid is None:
        with suppress(ParserCrashed):  # on a busy machine this may take as long
            pid = await worker_pid(pool)
    with pytest.raises(ParserCrashed, match=r"loop took longer than 0\.3 seconds") as caught:
        await read(pool, "loop")
    assert caught.value.field == "ingest.parser_timeout_seconds"
    await pool.close()
    assert not is_running(pid)


@linux_only
async def test_a_parser_that_eats_memory_is_stopped(hostile_path: None) -> None:
    pool = make_pool(worker_module="tests.ingest.hostile_worker", memory_bytes=300_000_000)
    pid = await worker_pid(pool)
    with pytest.raises(ParserCrashed, match="allocate needs more memory") as caught:
        await read(pool, "allocate")
    assert caught.value.field == "ingest.parser_memory_bytes"
    assert await worker_pid(pool) != pid
    await pool.close()


async def test_a_source_that_does_not_fit_into_memory_is_refused(hostile_path: None) -> None:
    pool = make_pool(worker_module="tests.ingest.hostile_worker", memory_bytes=80_000_000)
    with pytest.raises(ParserCrashed):
        await read(pool, "huge", bytes(LIMITS.max_file_bytes))
    await pool.close()


async def test_what_a_library_prints_does_not_disturb_the_stream(hostile: ParserPool) -> None:
    assert len(await read(hostile, "prints")) == 1


@linux_only
async def test_output_that_makes_no_sense_ends_in_an_error(hostile: ParserPool) -> None:
    pid = await worker_pid(hostile)
    pipes = {
        os.readlink(f"/proc/{pid}/fd/{fd}"): fd for fd in map(int, os.listdir(f"/proc/{pid}/fd"))
    }
    stderr = os.readlink(f"/proc/{pid}/fd/2")
    stdin = os.readlink(f"/proc/{pid}/fd/0")
    [outbox] = [fd for link, fd in pipes.items() if link not in (stderr, stdin) and fd > 2]
    with pytest.raises(ParserCrashed, match="garbage"):
        await read(hostile, "garbage", str(outbox).encode())
    assert await worker_pid(hostile) != pid


async def test_documents_before_an_error_are_delivered(hostile: ParserPool) -> None:
    items = hostile.parse(source("half", b"x"))
    assert (await anext(items)).external_id == "1"
    with pytest.raises(DamagedDocument):
        await anext(items)


async def test_an_endless_source_streams_and_can_be_left(hostile: ParserPool) -> None:
    taken = []
    async with aclosing(hostile.parse(source("endless", b"x"))) as items:
        async for item in items:
            taken.append(item.external_id)
            if len(taken) == 1_000:
                break
    assert taken == [str(n) for n in range(1, 1_001)]
    assert await worker_pid(hostile)


async def test_a_consumer_that_does_not_read_stops_the_parser(hostile: ParserPool) -> None:
    """A pipe that nobody reads fills, and the process waits in the system for it."""
    async with aclosing(hostile.parse(source("endless", b"x"))) as items:
        await anext(items)
        [child] = hostile._busy
        stdout = child._process.stdout
        assert stdout is not None
        for _ in range(10_000):
            await asyncio.sleep(0)
        assert len(stdout._buffer) < 5_000_000  # type: ignore[attr-defined]


async def test_cancelling_the_consumer_ends_the_process(hostile: ParserPool) -> None:
    pid = await worker_pid(hostile)
    started = asyncio.Event()

    async def consume() -> None:
        async for _ in hostile.parse(source("endless", b"x")):
            started.set()

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await worker_pid(hostile) != pid
    await hostile.close()
    assert not is_running(pid)


async def test_a_process_killed_while_idle_costs_no_source(hostile: ParserPool) -> None:
    pid = await worker_pid(hostile)
    os.kill(pid, signal.SIGKILL)
    assert await worker_pid(hostile) != pid


async def test_secrets_in_the_environment_stay_out_of_parser_processes(
    hostile: ParserPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGSTONE_LLM__API_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    environment = (await read(hostile, "environment"))[0]
    assert isinstance(environment, ParsedDocument)
    assert "API_KEY" not in environment.text
    assert "SECRET" not in environment.text


async def test_closing_ends_idle_and_busy_processes_and_their_readers(
    hostile: ParserPool,
) -> None:
    pid = await worker_pid(hostile)
    items = hostile.parse(source("endless", b"x"))
    await anext(items)
    await hostile.close()
    with pytest.raises(ParserCrashed, match="stopping"):
        async for _ in items:
            pass  # What had arrived before the end may still be delivered.
    assert not is_running(pid)
    with pytest.raises(ParserCrashed, match="stopping"):
        await read(hostile, "pid")


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 20, 10_000])
async def test_closing_wakes_a_reader_that_waits(hostile: ParserPool, steps: int) -> None:
    """Whether its process is starting, taking the source, or reading it."""
    reader = asyncio.create_task(read(hostile, "loop"))
    for _ in range(steps):
        await asyncio.sleep(0)
    await hostile.close()
    with pytest.raises(ParserCrashed, match="stopping"):
        await reader


async def test_a_pool_that_cannot_start_processes_says_so(tmp_path: Path) -> None:
    for pool in (
        make_pool(python=str(tmp_path / "absent")),
        make_pool(worker_module="ragstone.no_such_module"),
    ):
        with pytest.raises(ParserCrashed, match="No parser process could be started"):
            await read(pool, "a.md")
        await pool.close()


PARENT = """
import asyncio, sys
from tests.ingest.test_parser_process import make_pool, worker_pid
async def main():
    pool = make_pool(worker_module="tests.ingest.hostile_worker")
    print(await worker_pid(pool), flush=True)
    sys.stdin.read()
asyncio.run(main())
"""


@linux_only
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_does_not_outlive_its_parent(hostile_path: None, sign: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        worker = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(sign)
        poll = select.poll()
        poll.register(worker, select.POLLIN)
        assert poll.poll(30_000)
        os.close(worker)


def test_importing_the_pool_loads_no_format() -> None:
    heavy = "lxml, trafilatura, pypdfium2, docx, markdown_it, yaml"
    code = (
        "import sys, ragstone.ingest.parser_process, ragstone.ingest.parser_worker;"
        f"assert not set('{heavy}'.split(', ')) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
