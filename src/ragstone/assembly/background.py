"""Tasks that live as long as a system."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress


def in_background(stack: AsyncExitStack, work: Coroutine[object, object, None]) -> None:
    """Runs `work` until the context ends."""
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)
