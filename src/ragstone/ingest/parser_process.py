"""Both ways to run the parsers: in processes of their own, and in this one.

`ParserPool` is for documents of strangers: a parser that loops, crashes or eats memory takes
down its process and nothing else. `DirectParser` is for tests and measurements.
"""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice

from ragstone.domain.document import DocumentSource, ParsedDocument
from ragstone.domain.errors import ParserCrashed, Unreadable
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse import ParseLimits, parse_source
from ragstone.ingest.parser_child import ChildGone, ParserChild
from ragstone.ingest.parser_wire import ParseFunction, Start

_RETIRE_AFTER = 500
"""Sources; a process that has served so many is replaced, and what it leaked goes with it."""
_BATCH = 32


class ParserPool:
    """Parser processes, started when first needed and kept for the next source.

    At most `workers` sources are read at once; others wait. A source that keeps its process
    busy for more than `timeout_seconds`, or needs more than `memory_bytes` of address space,
    ends in `ParserCrashed`, and its process is replaced.
    """

    def __init__(
        self,
        *,
        workers: int,
        timeout_seconds: float,
        memory_bytes: int,
        limits: ParseLimits,
        python: str = sys.executable,
        worker_module: str = "ragstone.ingest.parser_worker",
    ) -> None:
        self._limits = limits
        self._timeout = timeout_seconds
        self._start = Start(
            limits=limits,
            memory_bytes=memory_bytes,
            cpu_seconds=timeout_seconds,
            parent=os.getpid(),
        )
        # -P: a file named like a module, in the folder being ingested, must not be imported.
        self._command = [python, "-P", "-m", worker_module]
        self._slots = asyncio.Semaphore(workers)
        self._idle: list[ParserChild] = []
        self._busy: set[ParserChild] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    async def parse(
        self, source: DocumentSource
    ) -> AsyncGenerator[ParsedDocument | DocumentError, None]:
        """See `ports.Parser`. Close the iterator (`contextlib.aclosing`) to stop early."""
        self._limits.check_file(source.name, len(source.content))
        async with self._slots:
            child = await self._submitted(source)
            reusable = False
            try:
                async with aclosing(child.results(source.name)) as results:
                    async for item in results:
                        yield item
                reusable = True
            except Unreadable as error:
                if self._closed.is_set():
                    raise _stopping(source.name) from None
                reusable = not isinstance(error, ParserCrashed)
                raise
            finally:
                self._release(child, reusable=reusable)

    async def close(self) -> None:
        """End every process; sources that are being read end in `ParserCrashed`.

        Cancel their readers first where that error would be recorded against the source.
        """
        self._closed.set()
        for child in [*self._idle, *self._busy]:
            self._end(child)
        self._idle.clear()
        self._busy.clear()
        # Also those that were starting, and are ended by whoever started them.
        while self._ending:
            await asyncio.gather(*self._ending)

    async def _submitted(self, source: DocumentSource) -> ParserChild:
        """A process that has accepted `source`."""
        while not self._closed.is_set():
            fresh = not self._idle
            child = await self._spawned() if fresh else self._idle.pop()
            self._busy.add(child)
            accepted = False
            try:
                if fresh:
                    await child.prepare()
                await child.submit(source)
                accepted = not self._closed.is_set()
            except ChildGone as error:
                if fresh and not self._closed.is_set():
                    raise error.crash or _cannot_start(str(error)) from error
                # Killed while it waited, or worn out; a fresh one will tell.
            finally:
                if not accepted:
                    self._release(child, reusable=False)
            if accepted:
                return child
        raise _stopping(source.name)

    async def _spawned(self) -> ParserChild:
        try:
            return await ParserChild.spawn(self._command, self._start, self._timeout)
        except ChildGone as error:
            raise _cannot_start(str(error)) from error

    def _release(self, child: ParserChild, *, reusable: bool) -> None:
        """Never waits, so that it runs to its end in a task that is being cancelled."""
        if child not in self._busy:
            return  # `close` has taken it.
        self._busy.discard(child)
        if reusable and child.alive and child.served < _RETIRE_AFTER:
            self._idle.append(child)
        else:
            self._end(child)

    def _end(self, child: ParserChild) -> None:
        child.kill()
        task = asyncio.create_task(child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class DirectParser:
    """The same port in a thread of this process: nothing stops a parser that does not end."""

    # PDFium allows one caller at a time in a process.
    _one_at_a_time = threading.Lock()

    def __init__(self, limits: ParseLimits, parse: ParseFunction = parse_source) -> None:
        self._limits = limits
        self._parse = parse

    async def parse(
        self, source: DocumentSource
    ) -> AsyncGenerator[ParsedDocument | DocumentError, None]:
        """See `ports.Parser`."""
        items = self._parse(source, self._limits)
        while True:
            batch, error = await asyncio.to_thread(self._next_batch, items)
            for item in batch:
                yield item
            if error is not None:
                raise error
            if not batch:
                return

    async def close(self) -> None:
        """There is nothing to end."""

    def _next_batch(
        self, items: Iterator[ParsedDocument | DocumentError]
    ) -> tuple[list[ParsedDocument | DocumentError], Unreadable | None]:
        """Some items, and the error that came after them."""
        batch: list[ParsedDocument | DocumentError] = []
        with self._one_at_a_time:
            try:
                batch.extend(islice(items, _BATCH))
            except Unreadable as error:
                return batch, error
        return batch, None


def _stopping(name: str) -> ParserCrashed:
    return ParserCrashed(
        f"{name} was not read: the server is stopping.",
        remedy="Ingest it again once the server runs.",
    )


def _cannot_start(reason: str) -> ParserCrashed:
    return ParserCrashed(
        f"No parser process could be started: {reason}",
        remedy="Check ingest.parser_memory_bytes and the installation.",
        field="ingest.parser_memory_bytes",
    )
