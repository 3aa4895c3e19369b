"""A client that leaves ends the work that was for it, also before a first byte was sent."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

_T = TypeVar("_T")


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` returns or raises; the request's body must have been read.

    Raises `ClientDisconnect` after `work` was cancelled and has ended.
    """
    task = asyncio.create_task(work)
    leaving = asyncio.create_task(_until_left(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        leaving.cancel()
        task.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
