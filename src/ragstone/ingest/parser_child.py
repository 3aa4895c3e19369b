"""One parser process, as the pool sees it."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

import msgspec
import structlog

from ragstone.domain.document import DocumentSource, ParsedDocument
from ragstone.domain.errors import ParserCrashed, Unreadable
from ragstone.domain.job import DocumentError
from ragstone.ingest.parser_wire import (
    LENGTH_BYTES,
    Accepted,
    Batch,
    Ended,
    Ready,
    Refused,
    SourceHeader,
    Start,
    ToPool,
    decode_to_pool,
    frame,
    items_of,
)

_STARTUP_SECONDS = 60.0
_EXIT_SECONDS = 2.0
_PIPE_BYTES = 1 << 20
_SEND_BYTES = 1 << 18
_LEAST_FRAME_CAP = 64_000_000
_FRAME_BYTES_PER_CHAR = 40
"""A document of one-letter blocks takes some 30 bytes a character on the wire."""
_INHERITED = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
)
"""Of the environment; keys and passwords in it are none of a parser's business."""

_log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class ChildGone(Exception):
    """The process ended before it had accepted a source.

    One that has served others before may simply have been worn out; where a fresh one ends so
    too, `crash` says why, if it could tell.
    """

    def __init__(self, reason: str, crash: Unreadable | None = None) -> None:
        super().__init__(reason)
        self.crash = crash


class ParserChild:
    """Takes one source at a time, once `prepare`d: `submit` it, then read its `results`.

    Whoever is interrupted in any of these has to `end` it.
    """

    def __init__(self, process: asyncio.subprocess.Process, start: Start, seconds: float) -> None:
        self.served = 0
        self._process = process
        self._start = start
        self._seconds = seconds
        self._patience = seconds
        self._frame_cap = max(
            _LEAST_FRAME_CAP, start.limits.max_document_chars * _FRAME_BYTES_PER_CHAR
        )
        self._reading = asyncio.Lock()
        self._stderr = asyncio.create_task(_log_stderr(process))

    @classmethod
    async def spawn(cls, command: list[str], start: Start, seconds: float) -> "ParserChild":
        """Run `command`; a source may keep it busy for `seconds`. Raises `ChildGone`.

        Every child that this returns has to be ended, also one that never became ready.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_PIPE_BYTES,
                env={key: value for key in _INHERITED if (value := os.environ.get(key))},
            )
        except OSError as error:
            raise ChildGone(str(error)) from error
        return cls(process, start, seconds)

    async def prepare(self) -> None:
        """Have a new process set its bounds; the time for that is its own. Raises `ChildGone`."""
        try:
            async with asyncio.timeout(_STARTUP_SECONDS):
                await self._send(frame(self._start))
                message = await self._receive()
        except TimeoutError as error:
            raise ChildGone("the parser process did not start in time.") from error
        if not isinstance(message, Ready):
            raise ChildGone("the parser process ended at once.")

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def submit(self, source: DocumentSource) -> None:
        """Hand `source` over. Raises `ChildGone`, or `ParserCrashed` when it takes too long."""
        self.served += 1
        self._patience = self._seconds
        header = SourceHeader(name=source.name, size=len(source.content))
        await self._waiting(self._send_source(frame(header), source.content), source.name)
        message = await self._next(source.name)
        if isinstance(message, Refused):
            raise ChildGone(message.message, message.error())
        if not isinstance(message, Accepted):
            raise ChildGone("the parser process ended before it was given anything.")

    async def results(self, name: str) -> AsyncGenerator[ParsedDocument | DocumentError, None]:
        """The documents of the source submitted last, as they come.

        Only the time in which this waits for the process counts, not the time in which the
        process waits for its output to be read. Raises `Unreadable`.
        """
        while not isinstance(message := await self._next(name), Ended):
            if isinstance(message, Batch):
                for item in items_of(message):
                    yield item
            elif isinstance(message, Refused):
                raise message.error()
            else:
                raise await self._crashed(name)

    def kill(self) -> None:
        """End the process at once; `end` waits for it."""
        if self.alive:
            self._process.kill()

    async def end(self) -> None:
        """Kill it and wait until it and its pipes are gone."""
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            # A pipe that is not read to its end would keep its transport open; whoever waits
            # for a message now meets that end first.
            async with self._reading:
                await self._process.stdout.read()
        await self._stderr
        await self._process.wait()

    async def _send_source(self, header: bytes, content: bytes) -> None:
        await self._send(header)
        view = memoryview(content)
        for start in range(0, len(view), _SEND_BYTES):
            await self._send(view[start : start + _SEND_BYTES])

    async def _send(self, data: bytes | memoryview) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChildGone("the parser process has ended.") from error

    async def _next(self, name: str) -> ToPool | None:
        """The next message; None when the output has ended or makes no sense."""
        return await self._waiting(self._receive(), name)

    async def _receive(self) -> ToPool | None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            async with self._reading:
                size = int.from_bytes(await stdout.readexactly(LENGTH_BYTES), "big")
                if size > self._frame_cap:
                    return None
                message: ToPool = decode_to_pool(await stdout.readexactly(size))
                return message
        except (asyncio.IncompleteReadError, msgspec.DecodeError):
            return None

    async def _waiting(self, what: Awaitable[_T], name: str) -> _T:
        """`what`, within the time that is left. Raises `ParserCrashed`."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._patience):
                return await what
        except TimeoutError:
            raise _too_slow(name, self._seconds) from None
        finally:
            self._patience -= clock() - began

    async def _crashed(self, name: str) -> ParserCrashed:
        assert self._process.stdout is not None
        if not self._process.stdout.at_eof():
            _log.warning("parser_output_malformed", source=name, pid=self._process.pid)
            return ParserCrashed(
                f"The parser of {name} sent what makes no sense.",
                remedy="The file is probably damaged: export it again.",
            )
        try:
            async with asyncio.timeout(_EXIT_SECONDS):
                status = await self._process.wait()
        except TimeoutError:
            return ParserCrashed(
                f"The parser of {name} broke off without a reason.",
                remedy="The file is probably damaged: export it again.",
            )
        _log.warning("parser_crashed", source=name, pid=self._process.pid, status=status)
        if status == -signal.SIGXCPU:
            return _too_slow(name, self._seconds)
        return ParserCrashed(
            f"The parser of {name} ended {_how(status)}.",
            remedy="The file is probably damaged, or needs more memory than "
            "ingest.parser_memory_bytes allows: export it again, or split it.",
        )


async def _log_stderr(process: asyncio.subprocess.Process) -> None:
    """What the process complains of; only for debugging, since it may quote the document."""
    assert process.stderr is not None
    while text := await process.stderr.read(4096):
        _log.debug("parser_stderr", pid=process.pid, text=text.decode(errors="replace"))


def _too_slow(name: str, seconds: float) -> ParserCrashed:
    return ParserCrashed(
        f"Reading {name} took longer than {seconds:g} seconds and was stopped.",
        remedy="Split the file, or raise ingest.parser_timeout_seconds.",
        field="ingest.parser_timeout_seconds",
    )


def _how(status: int) -> str:
    if status >= 0:
        return f"with exit status {status}"
    try:
        return f"by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"
