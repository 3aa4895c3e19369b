"""Running a server of several processes in the foreground."""

from collections.abc import Callable, Coroutine
from typing import Any

from ragstone.observe.logging import configure_logging
from ragstone.processes.supervisor import supervise
from ragstone.settings import Settings


async def run_supervisor(
    settings: Settings,
    gateways: int,
    announce: Callable[[str], None],
    beside: Callable[[str], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """As `serving.run_server`, with `gateways` processes. Raises as that does."""
    configure_logging(settings.log.level, settings.log.format)
    await supervise(settings, gateways, announce, beside)
