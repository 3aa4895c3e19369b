"""Transactions on threads of their own: the event loop never waits for a disk."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ragstone.domain.errors import RecordsUnavailable
from ragstone.records.engine import THREADS, for_writing
from ragstone.records.failures import translated

T = TypeVar("T")

_ATTEMPTS: Final = 5
"""Of a transaction that PostgreSQL rolled back because another was in the way (SQLSTATE 40...).
Of those that are in each other's way one always goes through."""


class Transactions:
    """Runs functions over a connection, each in one transaction.

    SQLite has one writer, so there is one thread for writing, and reads pass it by. A function
    may run again when its transaction was rolled back, so it changes nothing but the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing_engine = for_writing(engine)
        writers = 1 if engine.dialect.name == "sqlite" else THREADS
        self._readers = ThreadPoolExecutor(THREADS, thread_name_prefix="records-read")
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="records-write")
        self._closed = False

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self._run(self._readers, self._engine, query)

    async def write(self, change: Callable[[Connection], T]) -> T:
        return await self._run(self._writers, self._writing_engine, change)

    async def close(self) -> None:
        """Waits for what is being written; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._writers.shutdown()
        self._readers.shutdown()
        self._engine.dispose()

    async def _run(
        self, threads: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], T]
    ) -> T:
        if self._closed:
            raise RecordsUnavailable(
                "The records were closed.", remedy="The server is stopping; try again later."
            )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, _in_transaction, engine, work)


def _in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    with translated():
        for _ in range(_ATTEMPTS - 1):
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not str(getattr(error.orig, "sqlstate", None) or "").startswith("40"):
                    raise
        with engine.begin() as connection:
            return work(connection)
