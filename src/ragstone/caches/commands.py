"""Commands to a Valkey or Redis server that nobody cancels, over a bounded number of connections.

They run in tasks of their own, which end by their time limits: a connection that is given back
halfway through a reply, or never, would spoil the pool.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from ragstone.domain.errors import DependencyError, InvalidSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Commands:
    """What is asked of `redis`, the client, is awaited through `reply`."""

    def __init__(self, url: str, *, connections: int, seconds: float) -> None:
        """Connects when first used; `seconds` is the longest wait for one reply. With all
        connections in use a command waits for one. Raises `InvalidSettings`."""
        self.redis = _client(url, connections, seconds)
        self._places = asyncio.Semaphore(connections)
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._running)

    async def reply(self, command: Any) -> Any:
        """The reply to a command of the client, whose own types say too much and too little.

        Raises `DependencyError` whatever goes wrong: a server that answers garbage makes the
        client raise all kinds of errors."""
        task: asyncio.Task[Any] = asyncio.create_task(self._in_its_turn(command))
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task})
        error = task.exception()
        if error is None:
            return task.result()
        raise DependencyError(
            f"The cache server did not answer: {type(error).__name__}.",
            remedy="Check cache.url, and that a Valkey or Redis server 7.0 or later runs there.",
            field="cache.url",
        ) from error

    async def close(self) -> None:
        """Waits for what is under way, which its time limits end."""
        if self._running:
            await asyncio.wait(self._running)
        await self.redis.aclose()

    async def _in_its_turn(self, command: Any) -> Any:
        async with self._places:
            return await command

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its asker may have gone


def _client(url: str, connections: int, seconds: float) -> "Redis":
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.maint_notifications import MaintNotificationsConfig
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            "The setting cache.url names a cache server, whose client is not installed.",
            remedy="Install it with: pip install 'ragstone[redis]'",
            field="cache.url",
        ) from error
    try:
        return Redis.from_url(
            url,
            max_connections=connections,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError as error:  # the address itself is left out: it may hold a password
        raise InvalidSettings(
            "The setting cache.url is not the address of a cache server.",
            remedy="Write redis://HOST:PORT/NUMBER, rediss:// for TLS, or unix:///PATH.",
            field="cache.url",
        ) from error
