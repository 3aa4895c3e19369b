"""A process of the supervisor, as the supervisor sees it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from ragstone.domain.errors import StartupError
from ragstone.hop.refusals import startup_error
from ragstone.processes.messages import FROM_CHILD, LONGEST_LINE, Failed, Open, Ready, Task, line

_MODULE: Final = "ragstone.processes.main"


class Child:
    """A started process. Made by `start`."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._writer = writer
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is; a `StartupError` when it said why it cannot be, cancelled when it
        ended without a word."""
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def start(
        cls, name: str, task: Task, *, files: Sequence[int], environment: Mapping[str, str]
    ) -> "Child":
        """`files` are descriptors that it inherits."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", _MODULE, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *files),
                env={**os.environ, **environment},
                # Ctrl-C in a terminal goes to a whole group: it is the supervisor's to hear.
                process_group=0,
            )
        # Cancelled before it was told anything, it reads the end of the stream, and ends.
        reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
        child = cls(name, process, reader, writer)
        child._tell(line(task))
        return child

    @property
    def is_ready(self) -> bool:
        ready = self.ready
        return ready.done() and not ready.cancelled() and ready.exception() is None

    def open(self, url: str) -> None:
        """Let it accept, or be found."""
        self._tell(line(Open(url=url)))

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        status = await self._process.wait()
        await self._listening  # its last word may still be on the way
        self._writer.close()
        return status

    def _tell(self, message: bytes) -> None:
        with suppress(OSError):
            self._writer.write(message)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while said := await reader.readline():
                self._hear(FROM_CHILD.decode(said))
        if not self.ready.done():
            self.ready.cancel()

    def _hear(self, message: Ready | Failed) -> None:
        if self.ready.done():
            return
        if isinstance(message, Ready):
            self.ready.set_result(None)
        else:
            self.ready.set_exception(_reason(message))
            self.ready.exception()  # looked at, also when nobody waits for it


def _reason(failed: Failed) -> StartupError:
    return startup_error(failed.code, failed.message, failed.remedy, failed.field)
