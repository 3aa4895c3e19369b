"""Questions to the engine: waited for while it is started again, and asked again if it broke.

Everything that goes through here only reads, or has a number by which the engine knows it again,
so that asking twice is harmless.
"""

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

import msgspec

from ragstone.domain.errors import DependencyError
from ragstone.hop.address import EngineAddress
from ragstone.hop.connection import ConnectionBroken, EngineConnection
from ragstone.hop.messages import request_head
from ragstone.hop.patience import SHORT_SECONDS, Patience
from ragstone.hop.refusals import refusal_of

_SENT_AT_MOST: Final = 3
"""Times one question is sent: should it be what kills the engine, it must not kill every next
one too. Attempts to connect are not counted."""
ANSWER_SECONDS: Final = 2.0
"""For an answer once an engine listens. It takes milliseconds; one that is stopped or hangs
must not use up the time of whoever asks."""
_IDLE_AT_MOST: Final = 32
"""Connections kept after a burst: more questions than that are rarely at the engine at once."""
_FIRST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.1

_T = TypeVar("_T")
_ENCODER: Final = msgspec.msgpack.Encoder()


class EngineClient:
    """Keeps connections to one engine. Many may ask at once."""

    def __init__(self, address: EngineAddress, *, token: str, timeout_seconds: float) -> None:
        """`timeout_seconds` bounds each question, the wait for a restart included; an engine
        that listens and does not answer is waited for two seconds at most, and for less while
        it is known to be silent."""
        self.address = address
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._idle: dict[EngineConnection, None] = {}
        """The last one in is used first, so that the others may be closed."""
        self._open: set[EngineConnection] = set()
        self._heads: dict[str, bytes] = {}
        self._patience = Patience()
        self._trials: set[asyncio.Task[tuple[int, bytes]]] = set()
        self._closed = False

    async def ask(
        self,
        path: str,
        asked: object,
        given: "msgspec.msgpack.Decoder[_T]",
        failure: type[DependencyError],
        *,
        answer_seconds: float | None = ANSWER_SECONDS,
    ) -> _T:
        """The answer to `asked`, which `given` reads.

        `answer_seconds` is how long an engine that listens is waited for; None: as long as
        for one that does not. Raises what the engine raised, and `failure` when it does not
        answer in time, or so that it cannot be read.
        """
        now = asyncio.get_running_loop().time
        began = now()
        body = _ENCODER.encode(asked)
        request = b"%b %d\r\n\r\n%b" % (self._head(path), len(body), body)
        try:
            status, answer = await self._exchange(
                request, answer_seconds, began + self._timeout_seconds
            )
        except (TimeoutError, ConnectionBroken) as error:
            seconds = now() - began
            raise failure(
                f"The engine {self.address} gave no answer in {seconds:.2f} seconds.",
                remedy="Look into its log; engine.timeout_seconds is how long it is waited for.",
                retry_after=1.0,
            ) from error
        if status != 200:
            raise refusal_of(status, answer, failure)
        try:
            return given.decode(answer)
        except msgspec.MsgspecError as error:
            raise failure(
                "The engine's answer cannot be read.",
                remedy="Run the same version of Ragstone on both sides.",
            ) from error

    async def close(self) -> None:
        self._closed = True
        for connection in list(self._open):
            connection.close()
        await asyncio.gather(*self._trials, return_exceptions=True)

    async def _exchange(
        self, request: bytes, answer_seconds: float | None, until: float
    ) -> tuple[int, bytes]:
        """`until` is a point in the loop's time. Raises `TimeoutError`, `ConnectionBroken`."""
        sent = 0
        while True:
            is_new = not self._idle
            connection = await self._connected(until) if is_new else self._idle.popitem()[0]
            sent += 1
            exchange = self._exchange_on(connection, request, answer_seconds, until)
            try:
                if not self._patience.tries(answer_seconds):
                    return await exchange
                async with asyncio.timeout(SHORT_SECONDS):
                    return await asyncio.shield(self._trial(exchange))
            except ConnectionBroken:
                # One killed engine breaks every connection to it: the loop may not have read of
                # the others' end yet, and each would count as one sending.
                self._close_idle()
                if sent == _SENT_AT_MOST:
                    raise
                if is_new:  # made while the engine was going: its socket may not be closed yet
                    await asyncio.sleep(sent * _FIRST_PAUSE_SECONDS)

    async def _exchange_on(
        self, connection: EngineConnection, request: bytes, seconds: float | None, until: float
    ) -> tuple[int, bytes]:
        with self._patience.waiting(seconds) as allowed:
            left = until - asyncio.get_running_loop().time()
            answer = await connection.exchange(
                request, left if allowed is None else min(allowed, left)
            )
        self._keep(connection)
        return answer

    def _trial(
        self, exchange: Coroutine[None, None, tuple[int, bytes]]
    ) -> "asyncio.Task[tuple[int, bytes]]":
        """It goes on when nobody waits for it any more: many may share the question that tries,
        as reads of a key or collection are shared, and all of them would wait so long."""
        trial = asyncio.create_task(exchange)
        self._trials.add(trial)
        trial.add_done_callback(self._tried)
        return trial

    def _tried(self, trial: "asyncio.Task[tuple[int, bytes]]") -> None:
        self._trials.discard(trial)
        if not trial.cancelled():
            trial.exception()  # if nobody waits: the patience knows it

    def _keep(self, connection: EngineConnection) -> None:
        if not connection.is_usable:
            return
        if len(self._idle) < _IDLE_AT_MOST:
            self._idle[connection] = None
        else:
            connection.close()

    def _close_idle(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connected(self, until: float) -> EngineConnection:
        """A new connection, once somebody listens. Raises `TimeoutError`, `ConnectionBroken`."""
        pause = _FIRST_PAUSE_SECONDS
        async with asyncio.timeout_at(until):
            while (connection := await self._connect()) is None:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return connection

    async def _connect(self) -> EngineConnection | None:
        """None when nobody listens there now."""
        if self._closed:
            raise ConnectionBroken
        loop, address = asyncio.get_running_loop(), self.address
        try:
            if address.socket is not None:
                _, connection = await loop.create_unix_connection(self._new, address.socket)
            else:
                _, connection = await loop.create_connection(
                    self._new, address.host, address.port, ssl=True if address.tls else None
                )
        except OSError:
            return None
        return connection

    def _new(self) -> EngineConnection:
        connection = EngineConnection(self._forget)
        self._open.add(connection)
        return connection

    def _forget(self, connection: EngineConnection) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def _head(self, path: str) -> bytes:
        head = self._heads.get(path)
        if head is None:
            head = self._heads[path] = request_head(path, self.address.host, self._token)
        return head
