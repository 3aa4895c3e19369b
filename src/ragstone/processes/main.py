"""Where a process of the supervisor begins: `python -m ragstone.processes.main FD`."""

import asyncio
import socket
import sys

from ragstone.domain.errors import RagstoneError
from ragstone.processes.link import Link
from ragstone.processes.messages import LONGEST_LINE, TO_CHILD, EngineTask, GatewayTask, Open, Task


def main() -> None:
    """Exit status 0 when told to stop, 1 when it could not begin."""
    import uvloop

    supervisor = socket.socket(fileno=int(sys.argv[1]))
    supervisor.set_inheritable(False)
    try:
        uvloop.run(_run(supervisor))
    except KeyboardInterrupt:
        sys.exit(0)


async def _run(supervisor: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=supervisor, limit=LONGEST_LINE)
    told = await reader.readline()
    if not told:
        return
    link = Link(reader, writer)
    try:
        await _be(TO_CHILD.decode(told), link)
    except RagstoneError as error:
        await link.fail(error)
        sys.exit(1)
    except asyncio.CancelledError:
        if not link.orphaned.is_set():
            raise


async def _be(task: Task | Open, link: Link) -> None:
    # Each loads only what it needs; a gateway, neither the index nor the records.
    if isinstance(task, EngineTask):
        from ragstone.processes.engine import run_engine

        await run_engine(task, link)
    elif isinstance(task, GatewayTask):
        from ragstone.processes.gateway import run_gateway

        await run_gateway(task, link)


if __name__ == "__main__":
    main()
