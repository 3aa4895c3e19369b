"""The supervisor, as one of its processes sees it."""

import asyncio

from ragstone.domain.errors import RagstoneError
from ragstone.processes.messages import TO_CHILD, Failed, Open, Ready, line


class Link:
    """Tells that this process is ready, and hears what to do and that nobody tells any more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        self._writer = writer
        self.opened: asyncio.Future[Open] = loop.create_future()
        self.orphaned = asyncio.Event()
        """The supervisor has gone."""
        self._beginning = asyncio.current_task()
        self._listening = asyncio.create_task(self._listen(reader))

    def ready(self) -> None:
        """From now on an end of the supervisor no longer cancels the task that made this."""
        self._beginning = None
        self._writer.write(line(Ready()))

    async def fail(self, error: RagstoneError) -> None:
        """Starting this process again would not help."""
        self._beginning = None
        self._writer.write(line(Failed.of(error)))
        self._writer.close()
        await self._writer.wait_closed()  # draining alone may leave it unsent

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while told := await reader.readline():
                message = TO_CHILD.decode(told)
                if isinstance(message, Open) and not self.opened.done():
                    self.opened.set_result(message)
        except OSError:
            pass  # the supervisor has gone, as at the end of what it says
        finally:
            self.orphaned.set()
            self.opened.cancel()
            if self._beginning is not None:
                self._beginning.cancel()
