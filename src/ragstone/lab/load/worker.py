"""A generator process: takes a task from standard input, plays it, and writes what it recorded.

Frames in both directions are a length (four bytes, big-endian) and MessagePack. The order is:
task in, `Ready` out, `Begin` in, `Progress` out every half second, `Recorded` out.
"""

import asyncio
import gc
import os
import resource
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ragstone.lab.load.client import LoadClient
from ragstone.lab.load.distribution import Distribution
from ragstone.lab.load.generator import Generator
from ragstone.lab.load.plan import LoadPlan
from ragstone.lab.load.questions import Key, Question
from ragstone.lab.load.recorder import ROW, Received, Recorder
from ragstone.lab.load.requests import RequestForm, RequestWriter
from ragstone.lab.load.schedule import Schedule
from ragstone.lab.load.target import Target

PROGRESS_SECONDS: Final = 0.5

_T = TypeVar("_T")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One process's part of a plan."""

    target: Target
    form: RequestForm
    questions: tuple[Question, ...]
    keys: tuple[Key, ...]
    turns: int
    duration: float
    times: bytes
    asked: bytes
    pauses: bytes
    drawn_keys: bytes
    leaves: bytes
    keep: bool

    @classmethod
    def of(cls, plan: LoadPlan, number: int, count: int) -> "Task":
        part = plan.schedule.share(number, count)
        return cls(
            target=plan.target,
            form=plan.form,
            questions=plan.questions,
            keys=plan.keys,
            turns=part.questions.shape[1],
            duration=part.duration,
            times=part.times.tobytes(),
            asked=part.questions.tobytes(),
            pauses=part.pauses.tobytes(),
            drawn_keys=part.keys.tobytes(),
            leaves=part.leaves.tobytes(),
            keep=plan.keep,
        )

    def schedule(self) -> Schedule:
        times = np.frombuffer(self.times, np.float64)
        count = len(times)
        return Schedule(
            times=times,
            questions=np.frombuffer(self.asked, np.int32).reshape(count, self.turns),
            pauses=np.frombuffer(self.pauses, np.float64).reshape(count, self.turns - 1),
            keys=np.frombuffer(self.drawn_keys, np.int32),
            leaves=np.frombuffer(self.leaves, np.float64),
            duration=self.duration,
        )


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Everything is loaded."""


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How far a run has come."""

    launched: int
    outcomes: list[int]
    """Ended requests, by `Outcome`."""
    connections: int


class Recorded(msgspec.Struct, frozen=True, tag=True):
    """What one generator has recorded."""

    rows: bytes
    gaps: bytes
    codes: dict[str, int]
    rungs: dict[str, int]
    received: list[Received]
    cpu_seconds: float
    """Of this process, from the beginning of the run to its end."""

    def row_array(self) -> NDArray[np.void]:
        return np.frombuffer(self.rows, ROW)

    def gap_distribution(self) -> Distribution:
        return Distribution(np.frombuffer(self.gaps, np.int64))


Message = Ready | Progress | Recorded


class Begin(msgspec.Struct, frozen=True):
    """The moment when the run begins, in monotonic seconds of this machine."""

    at: float


async def play(task: Task, begin: float, on_progress: Callable[[Progress], None]) -> Recorded:
    """Run a task in this event loop; when cancelled, its connections are closed."""
    schedule = task.schedule()
    recorder = Recorder(begin=begin, capacity=len(schedule) * task.turns, keep=task.keep)
    client = LoadClient(
        task.target,
        chat=task.form.endpoint == "chat",
        streamed=task.form.streamed,
        now=time.monotonic,
        on_gap=recorder.gaps.record,
    )
    generator = Generator(
        schedule,
        client,
        RequestWriter(task.target, task.form, task.questions, task.keys),
        recorder,
        form=task.form,
        questions=task.questions,
        keys=task.keys,
        now=time.monotonic,
        keep_text=task.keep,
    )
    worked = time.process_time()
    reporter = asyncio.create_task(_report(recorder, client, on_progress))
    try:
        await generator.run(begin)
    finally:
        reporter.cancel()
        await client.close()
    return Recorded(
        rows=recorder.rows.tobytes(),
        gaps=recorder.gaps.counts().tobytes(),
        codes=dict(recorder.codes),
        rungs=dict(recorder.rungs),
        received=recorder.received,
        cpu_seconds=time.process_time() - worked,
    )


async def _report(
    recorder: Recorder, client: LoadClient, on_progress: Callable[[Progress], None]
) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        done = list(recorder.outcomes)
        on_progress(Progress(recorder.launched, done, client.open_connections))


def allow_many_sockets() -> None:
    """Raise this process's limit of open files as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def frame(message: Any) -> bytes:
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


async def read_frame(stream: asyncio.StreamReader, kind: Any) -> Any:
    """The next message. Raises `asyncio.IncompleteReadError` when the other side has gone."""
    (length,) = struct.unpack(">I", await stream.readexactly(4))
    return msgspec.msgpack.decode(await stream.readexactly(length), type=kind)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    stream = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), sys.stdin)
    task = await read_frame(stream, Task)
    _say(Ready())
    begin = await read_frame(stream, Begin)
    # A collection of everything that was imported would hold requests up.
    gc.collect()
    gc.freeze()
    playing = asyncio.create_task(play(task, begin.at, _say))
    orphaned = asyncio.create_task(stream.read())
    failures = _failures_end(loop, playing)
    await asyncio.wait((playing, orphaned), return_when=asyncio.FIRST_COMPLETED)
    if not playing.done():  # whoever started us has gone
        playing.cancel()
    orphaned.cancel()
    with suppress(asyncio.CancelledError):
        recorded = await playing
        if not failures:
            _say(recorded)


def _failures_end(
    loop: asyncio.AbstractEventLoop, playing: asyncio.Task[Recorded]
) -> list[dict[str, Any]]:
    """A fault of the generator must end the run: else it would count against the target."""
    failures: list[dict[str, Any]] = []

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not failures:
            loop.default_exception_handler(context)
        failures.append(context)
        playing.cancel()

    loop.set_exception_handler(note)
    return failures


def _say(message: Message) -> None:
    data = memoryview(frame(message))
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def main() -> None:
    import uvloop

    allow_many_sockets()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
