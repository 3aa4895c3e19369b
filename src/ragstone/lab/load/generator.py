"""Plays one share of a schedule: sends each request at its moment, whatever became of others."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

from ragstone.domain.principal import Priority
from ragstone.domain.query import Turn
from ragstone.lab.load.exchange import Exchange
from ragstone.lab.load.outcome import ANSWERED, Outcome
from ragstone.lab.load.questions import Key, Question
from ragstone.lab.load.recorder import Recorder
from ragstone.lab.load.requests import RequestForm, RequestWriter
from ragstone.lab.load.schedule import Schedule

_AT_ONCE: Final = 16
"""Requests sent in a row when behind, before responses get their turn."""

_ROUNDING: Final = 0.0005
"""Seconds: libuv's timers have whole milliseconds, and round down."""

_FIRST_GUESS: Final = 20.0
_REMEMBERED: Final = 20
"""Pieces of text that an answer usually has: a guess, then a moving mean over so many answers.
A leaving client goes after a part of that many."""

_LEAVE_SECONDS: Final = 1.0
"""Within which a leaving client goes that waits for a whole answer."""


class Sender(Protocol):
    """The part of `LoadClient` that is needed here."""

    def start(self, exchange: Exchange, request: bytes) -> None: ...


class Generator:
    """One run of one process. Times are of `now`, which must be the event loop's clock or run
    as fast."""

    def __init__(
        self,
        schedule: Schedule,
        sender: Sender,
        writer: RequestWriter,
        recorder: Recorder,
        *,
        form: RequestForm,
        questions: tuple[Question, ...],
        keys: tuple[Key, ...],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        keep_text: bool = False,
    ) -> None:
        self._schedule, self._sender, self._writer = schedule, sender, writer
        self._recorder, self._form = recorder, form
        self._questions, self._keys = questions, keys
        self._now, self._sleep = now, sleep
        self._turns = schedule.questions.shape[1]
        self._keep_text = keep_text or self._turns > 1
        self._histories: dict[int, tuple[Turn, ...]] = {}
        self._pending = 0
        self._usual = _FIRST_GUESS
        self._quiet = asyncio.Event()
        self._end = 0.0

    async def run(self, begin: float) -> None:
        """Send everything from the moment `begin` on; returns when all of it has ended."""
        self._loop = asyncio.get_running_loop()
        self._end = begin + self._schedule.duration
        in_a_row = 0
        self._pending = 1  # the schedule itself
        for index, offset in enumerate(self._schedule.times.tolist()):
            in_a_row = 0 if await self._wait_until(begin + offset) else in_a_row + 1
            if in_a_row == _AT_ONCE:
                in_a_row = 0
                await self._sleep(0.0)
            self._pending += 1
            self._ask(index, 0, begin + offset)
        self._one_less()
        await self._quiet.wait()

    async def _wait_until(self, moment: float) -> bool:
        """False when it has come already. Never returns early: a latency must not lose by it."""
        waited = False
        while (pause := moment - self._now()) > 0:
            waited = True
            await self._sleep(pause + _ROUNDING)
        return waited

    def _ask(self, index: int, turn: int, scheduled: float) -> None:
        schedule, now = self._schedule, self._now()
        question = int(schedule.questions[index, turn])
        leave = float(schedule.leaves[index])
        streamed = self._form.streamed
        exchange = Exchange(
            index=index,
            question=question,
            key=self._writer.key_of(question, int(schedule.keys[index])),
            turn=turn,
            scheduled=scheduled,
            launched=now,
            leave_after=self._leave_after(leave) if streamed else math.nan,
            keep_text=self._keep_text,
        )
        exchange.on_end = self._ended
        self._watch(exchange, scheduled + self._form.deadline - now, Outcome.TIMEOUT)
        if not streamed and not math.isnan(leave):
            self._watch(exchange, leave * _LEAVE_SECONDS, Outcome.LEFT)
        self._recorder.launched += 1
        request = self._writer.write(question, exchange.key, self._histories.get(index, ()))
        self._sender.start(exchange, request)

    def _leave_after(self, leave: float) -> float:
        """After how many pieces of text a client goes: one up to what an answer usually has."""
        return leave if math.isnan(leave) else 1 + int(leave * self._usual)

    def _watch(self, exchange: Exchange, seconds: float, outcome: Outcome) -> None:
        timer = self._loop.call_later(max(seconds, 0.0), self._give_up, exchange, outcome)
        exchange.timers.append(timer)

    def _give_up(self, exchange: Exchange, outcome: Outcome) -> None:
        exchange.give_up(self._now(), outcome)

    def _ended(self, exchange: Exchange) -> None:
        self._recorder.add(exchange, self._priority(exchange))
        if exchange.outcome in ANSWERED:
            self._usual += (max(exchange.heard.contents, 1) - self._usual) / _REMEMBERED
        if not self._think(exchange):
            self._histories.pop(exchange.index, None)
            self._one_less()

    def _priority(self, exchange: Exchange) -> Priority | None:
        own = self._questions[exchange.question].priority
        if own is None and exchange.key >= 0:
            return self._keys[exchange.key].priority
        return own

    def _think(self, exchange: Exchange) -> bool:
        """Whether the conversation goes on: then its next turn comes after a pause."""
        turn = exchange.turn + 1
        if turn >= self._turns or exchange.outcome not in ANSWERED:
            return False
        pause = float(self._schedule.pauses[exchange.index, turn - 1])
        scheduled = exchange.ended + pause
        if scheduled >= self._end:
            return False
        asked = self._questions[exchange.question].question
        self._histories[exchange.index] = (
            *self._histories.get(exchange.index, ()),
            Turn("user", asked),
            Turn("assistant", "".join(exchange.heard.text or ())),
        )
        ask = partial(self._ask, exchange.index, turn, scheduled)
        self._loop.call_later(max(scheduled - self._now(), 0.0), ask)
        return True

    def _one_less(self) -> None:
        self._pending -= 1
        if self._pending == 0:
            self._quiet.set()
