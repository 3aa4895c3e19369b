"""Runs a plan: finds out whether the target answers, starts the generators, gathers."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ragstone.domain.errors import InternalError, InvalidExperiment
from ragstone.lab.load.client import LoadClient
from ragstone.lab.load.distribution import Distribution
from ragstone.lab.load.exchange import Exchange
from ragstone.lab.load.outcome import Outcome
from ragstone.lab.load.plan import LoadPlan
from ragstone.lab.load.reading import Heard
from ragstone.lab.load.recorder import Received
from ragstone.lab.load.requests import RequestWriter
from ragstone.lab.load.worker import (
    Begin,
    Message,
    Progress,
    Ready,
    Recorded,
    Task,
    allow_many_sockets,
    frame,
    play,
    read_frame,
)

_HEAD_START: Final = 0.25
"""Seconds between the word to the generators and the beginning of the run."""

_HOPELESS: Final = (400, 401, 403, 404, 405, 413, 422)
"""Statuses with which every request of the run would end."""

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a run recorded."""

    plan: LoadPlan
    rows: NDArray[np.void]
    """One for each request, see `recorder.ROW`; in the order of their scheduled times."""
    gaps: Distribution
    codes: dict[str, int]
    """Responses to first turns by the code of their error."""
    rungs: dict[str, int]
    """Answers to first turns by rung of the ladder."""
    received: list[Received]
    """Every response with its text, where the plan says `keep`; in the order of the rows."""
    cpu_seconds: list[float]
    """Of each generator process."""


async def run_load(
    plan: LoadPlan, *, on_progress: OnProgress | None = None, probe: bool = True
) -> LoadResult:
    """Play a plan to its end. When cancelled, generators and connections are gone at the end.

    With `probe` one question is asked before: a target that is not there, or that refuses what
    is asked for a reason which load does not change, is an `InvalidExperiment`.
    """
    if probe:
        await probe_target(plan)
    say = on_progress or _silent
    if plan.processes == 0:
        allow_many_sockets()
        task = Task.of(plan, 0, 1)
        return _gathered(plan, [await play(task, time.monotonic(), say)])
    return _gathered(plan, await _in_processes(plan, say))


async def probe_target(plan: LoadPlan) -> None:
    """Ask the first question once. Raises `InvalidExperiment`."""
    heard: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    client = LoadClient(
        plan.target,
        chat=plan.form.endpoint == "chat",
        streamed=plan.form.streamed,
        now=time.monotonic,
        on_gap=lambda gap: None,
    )
    writer = RequestWriter(plan.target, plan.form, plan.questions, plan.keys)
    now = time.monotonic()
    exchange = Exchange(index=0, question=0, key=-1, scheduled=now, launched=now)
    exchange.on_end = heard.set_result
    key = writer.key_of(0, 0 if plan.schedule.keys[0] >= 0 else -1)
    try:
        client.start(exchange, writer.write(0, key))
        async with asyncio.timeout(plan.form.deadline):
            await heard
    except TimeoutError:
        return  # a target that answers nothing may be what is to be measured
    finally:
        await client.close()
    _judge(exchange, plan)


def _judge(exchange: Exchange, plan: LoadPlan) -> None:
    said = exchange.heard
    if exchange.outcome is Outcome.ERROR and said.code == "connect_failed":
        raise InvalidExperiment(
            f"Nothing answers at {plan.target.url}.",
            remedy="Start the server there, or look at the port.",
        )
    if exchange.status in _HOPELESS:
        raise InvalidExperiment(
            f"{plan.target.url} refuses the question with status {exchange.status}"
            f"{_code(said)}; load would not change that.",
            remedy="Check the key, the collection and the questions.",
        )


def _code(heard: Heard) -> str:
    return f" ({heard.code})" if heard.code else ""


async def _in_processes(plan: LoadPlan, say: OnProgress) -> list[Recorded]:
    latest = [Progress(0, [0] * len(Outcome), 0)] * plan.processes

    def note(number: int, progress: Progress) -> None:
        latest[number] = progress
        say(
            Progress(
                sum(one.launched for one in latest),
                [sum(counts) for counts in zip(*(one.outcomes for one in latest), strict=True)],
                sum(one.connections for one in latest),
            )
        )

    async with _generators(plan.processes) as processes:
        for number, process in enumerate(processes):
            _tell(process, frame(Task.of(plan, number, plan.processes)))
        for process in processes:
            await _hear(process)
        begin = frame(Begin(time.monotonic() + _HEAD_START))
        for process in processes:
            _tell(process, begin)
        listening = [
            asyncio.create_task(_listen(process, number, note))
            for number, process in enumerate(processes)
        ]
        try:
            return list(await asyncio.gather(*listening))
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)


@asynccontextmanager
async def _generators(count: int) -> AsyncGenerator[list[Process], None]:
    processes: list[Process] = []
    command = (sys.executable, "-m", "ragstone.lab.load.worker")
    try:
        for _ in range(count):
            # A session of its own: Ctrl-C is for us, who end them.
            started = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, start_new_session=True
            )
            processes.append(started)
        yield processes
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.shield(asyncio.gather(*(process.wait() for process in processes)))


def _tell(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)


async def _hear(process: Process) -> Ready | Progress | Recorded:
    assert process.stdout is not None
    try:
        message: Message = await read_frame(process.stdout, Message)
    except asyncio.IncompleteReadError:
        raise InternalError(
            "A generator process ended before its time.",
            remedy="Its reason stands above; where it was killed, the machine lacked memory.",
        ) from None
    return message


async def _listen(process: Process, number: int, note: Callable[[int, Progress], None]) -> Recorded:
    while True:
        message = await _hear(process)
        if isinstance(message, Recorded):
            return message
        if isinstance(message, Progress):
            note(number, message)


def _gathered(plan: LoadPlan, parts: list[Recorded]) -> LoadResult:
    rows = np.concatenate([part.row_array() for part in parts])
    count = len(parts)
    numbers = np.concatenate([np.full(len(part.row_array()), n) for n, part in enumerate(parts)])
    # Generator n had every count-th arrival, from the n-th on.
    rows["index"] = rows["index"] * count + numbers
    received = [
        msgspec.structs.replace(one, index=one.index * count + number)
        for number, part in enumerate(parts)
        for one in part.received
    ]
    return LoadResult(
        plan=plan,
        rows=rows[np.argsort(rows["scheduled"], kind="stable")],
        gaps=sum((part.gap_distribution() for part in parts), Distribution()),
        codes=dict(sum((Counter(part.codes) for part in parts), Counter())),
        rungs=dict(sum((Counter(part.rungs) for part in parts), Counter())),
        received=sorted(received, key=lambda one: one.scheduled),
        cpu_seconds=[part.cpu_seconds for part in parts],
    )


def _silent(progress: Progress) -> None:
    return None
