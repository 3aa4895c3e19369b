"""Starts an engine and gateways, starts again what dies, and stops them in order.

It answers no request itself and loads nothing that does, so that nothing of theirs can take it
down. Gateways accept from one socket, which it has bound; they know their engine by a path.
"""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import HomeLocked, StartupError
from ragstone.governance.quotas import SharedBuckets
from ragstone.home import short_folder
from ragstone.observe.metrics_folder import FOLDER_VARIABLE, forget_process
from ragstone.processes.child import Child
from ragstone.processes.messages import EngineTask, GatewayTask, settings_to_tell
from ragstone.processes.restarts import WINDOW_SECONDS, RestartBudget
from ragstone.resilience.board import Board
from ragstone.server.listening import bind, local_url_of, prepare, url_of
from ragstone.settings import Settings

_SLACK_SECONDS: Final = 5.0
"""Beyond `server.shutdown_seconds`, for streams to be told and things to be closed."""
_AT_ONCE_SECONDS: Final = 3.0
"""After a second signal."""
_ENGINE_SECONDS: Final = 30.0
"""For the engine to end what it writes."""

_log = structlog.get_logger("ragstone.processes")


async def supervise(
    settings: Settings,
    gateways: int,
    announce: Callable[[str], None],
    beside: Callable[[str], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve with `gateways` processes until a signal says stop, or until `beside` fails.

    Without `engine.url`, with an engine beside them. `announce` gets the address once
    connections are accepted, then `beside`. Raises `StartupError`s, and what `beside` raised;
    `KeyboardInterrupt` after SIGINT, with everything stopped.
    """
    with short_folder() as folder:
        supervisor = _Supervisor(settings, gateways, folder)
        with supervisor.listening_to_signals():
            await supervisor.run(announce, beside)
        if supervisor.interrupted:
            raise KeyboardInterrupt


class _Supervisor:
    def __init__(self, settings: Settings, gateways: int, folder: Path) -> None:
        self._settings = settings
        self._gateway_count = gateways
        self._folder = folder
        self._told = settings_to_tell(settings)
        self._token = settings.engine.token.get_secret_value() or secrets.token_urlsafe(32)
        self._local_token = secrets.token_urlsafe(32)
        self._budget = RestartBudget(settings.server.restarts, SystemClock())
        self._listener, self._address = prepare(settings.server.host, settings.server.port)
        self._url: str | None = None
        """Set once gateways may accept."""
        self._engine: Child | None = None
        self._gateways: dict[int, Child] = {}
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self.interrupted = False
        self._has_engine = not settings.engine.url
        (folder / "metrics").mkdir()
        Board.create(self._board, processes=gateways)
        SharedBuckets.create(self._quotas)

    @property
    def _board(self) -> Path:
        return self._folder / "board"

    @property
    def _quotas(self) -> Path:
        return self._folder / "quotas"

    @property
    def _processes(self) -> int:
        """That serve requests."""
        return self._gateway_count + self._has_engine

    @property
    def _socket(self) -> str:
        return str(self._folder / "engine")

    # Signals

    @contextlib.contextmanager
    def listening_to_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _hear(self, number: signal.Signals) -> None:
        self.interrupted = self.interrupted or number == signal.SIGINT
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()

    # Running

    async def run(
        self,
        announce: Callable[[str], None],
        beside: Callable[[str], Coroutine[Any, Any, None]] | None,
    ) -> None:
        serving = asyncio.create_task(self._serve(announce, beside))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.set()
            stopping.cancel()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await self._end()
        if not serving.cancelled() and (error := serving.exception()) is not None:
            raise error

    async def _serve(
        self,
        announce: Callable[[str], None],
        beside: Callable[[str], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """Until cancelled; raises what makes serving impossible."""
        async with _first_error_of_all() as start:
            engine = start(self._keep("engine", self._start_engine)) if self._has_engine else None
            for row in range(self._gateway_count):
                start(
                    self._keep(
                        f"gateway {row + 1}",
                        partial(self._start_gateway, row),
                        partial(Board.clear, self._board, row),
                    )
                )
            if engine is not None:
                await self._until_ready(lambda: self._engine)
            self._open()
            for row in range(self._gateway_count):
                await self._until_ready(partial(self._gateways.get, row))
            assert self._url is not None
            if self._engine is not None:
                self._engine.open(self._local_url())
            announce(self._url)
            if beside is not None:
                start(beside(self._url))
            await asyncio.Event().wait()

    def _open(self) -> None:
        """Bound only now: an engine that cannot start is the better reason to fail."""
        server = self._settings.server
        bind(self._listener, self._address, server.host, server.port)
        self._url = url_of(server.host, self._listener.getsockname()[1])
        for child in self._gateways.values():
            child.open(self._url)

    def _local_url(self) -> str:
        return local_url_of(self._settings.server.host, self._listener.getsockname()[1])

    async def _until_ready(self, child: Callable[[], Child | None]) -> None:
        """Also if it has to be started again first."""
        while True:
            now = child()
            if now is not None and now.is_ready:
                return
            await asyncio.sleep(0.005)

    # One process

    async def _keep(
        self,
        name: str,
        start: Callable[[], Coroutine[Any, Any, Child]],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts it again whenever it ends, within the budget; calls `ended` before."""
        while True:
            child = await start()
            _log.info("started", process=name, pid=child.pid)
            status = await child.wait()
            ended()
            forget_process(self._folder / "metrics", child.pid)
            reason = _reason_not_to_start(child)
            if reason is not None and not (self._url and isinstance(reason, HomeLocked)):
                raise reason
            pause = self._budget.spend()
            if pause is None:
                raise StartupError(
                    f"The {name.split()[0]} process ended again and again; it was started "
                    f"{self._settings.server.restarts} times within {WINDOW_SECONDS:g} seconds.",
                    remedy="Look into the log for why it ended (server.restarts is the bound).",
                )
            _log.error("ended, is started again", process=name, pid=child.pid, status=status)
            await asyncio.sleep(pause)

    async def _start_engine(self) -> Child:
        task = EngineTask(
            settings=self._told,
            folder=str(self._folder),
            socket=self._socket,
            token=self._token,
            local_token=self._local_token,
            supervisor=os.getpid(),
            quotas=str(self._quotas),
            processes=self._processes,
        )
        self._engine = await Child.start("engine", task, files=(), environment=self._environment())
        if self._url is not None:
            self._engine.open(self._local_url())
        return self._engine

    async def _start_gateway(self, row: int) -> Child:
        task = GatewayTask(
            settings=self._told,
            socket=self._socket if self._has_engine else None,
            token=self._token,
            local_token=self._local_token,
            listener=self._listener.fileno(),
            board=str(self._board),
            row=row,
            quotas=str(self._quotas),
            processes=self._processes,
        )
        child = await Child.start(
            f"gateway {row + 1}",
            task,
            files=(self._listener.fileno(),),
            environment=self._environment(),
        )
        self._gateways[row] = child
        if self._url is not None:
            child.open(self._url)
        return child

    def _environment(self) -> dict[str, str]:
        return {FOLDER_VARIABLE: str(self._folder / "metrics")}

    # The end

    async def _end(self) -> None:
        """Gateways first, since they need the engine to finish what they have begun."""
        self._listener.close()  # the last gateway that closes it makes the system refuse
        seconds = self._settings.server.shutdown_seconds + _SLACK_SECONDS
        await self._stop_all(list(self._gateways.values()), seconds)
        if self._engine is not None:
            await self._stop_all([self._engine], _ENGINE_SECONDS)
        _log.info("stopped")

    async def _stop_all(self, children: list[Child], seconds: float) -> None:
        for child in children:
            child.signal(signal.SIGTERM)
        ending = asyncio.gather(*(child.wait() for child in children))
        hurry = asyncio.create_task(self._hurry(children))
        try:
            await asyncio.wait((ending, hurry), timeout=seconds, return_when="FIRST_COMPLETED")
        finally:
            hurry.cancel()
            for child in children:
                child.signal(signal.SIGKILL)
        await ending

    async def _hurry(self, children: list[Child]) -> None:
        """After a second signal; ends when there is no more time for any order."""
        await self._at_once.wait()
        for child in children:
            child.signal(signal.SIGTERM)
        await asyncio.sleep(_AT_ONCE_SECONDS)


def _reason_not_to_start(child: Child) -> StartupError | None:
    """What it said before it ended, if it said that it cannot be started."""
    if child.ready.cancelled():
        return None
    reason = child.ready.exception()
    return reason if isinstance(reason, StartupError) else None


@contextlib.asynccontextmanager
async def _first_error_of_all() -> AsyncIterator[
    Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
]:
    """Runs tasks beside the body; the first error of any of them ends all, and is raised."""
    body = asyncio.current_task()
    assert body is not None
    tasks: list[asyncio.Task[None]] = []
    failed: list[BaseException] = []

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failed.append(error)
            body.cancel()

    def start(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        task.add_done_callback(ended)
        tasks.append(task)
        return task

    try:
        yield start
    except asyncio.CancelledError:
        if failed:
            raise failed[0] from None
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
