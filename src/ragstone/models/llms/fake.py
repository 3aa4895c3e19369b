"""Language models without a model: for tests, demonstrations and load."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, Literal

from ragstone.domain.errors import DeadlineExceeded, RagstoneError
from ragstone.domain.usage import Usage
from ragstone.ports import Clock, Finished, Prompt, TextDelta

Sleep = Callable[[float], Awaitable[None]]

_FIRST_PASSAGE: Final = re.compile(r"^\s*\[1\]\s*(.+?)(?=^\s*\[\d+\]|\Z)", re.M | re.S)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s")


class ScriptedModel:
    """Says what it was told to say, when it was told to, and fails where it was told to.

    Keeps what it was asked in `prompts`, and counts in `open_streams` and `closed_early`
    whether its streams were left properly.
    """

    def __init__(
        self,
        deltas: Sequence[str],
        *,
        clock: Clock,
        name: str = "scripted",
        first_delay: float = 0.0,
        delay: float = 0.0,
        usage: Usage | None = None,
        reason: Literal["stop", "length", "filtered", "other"] = "stop",
        error: RagstoneError | None = None,
        error_after: int = 0,
        joined: bool = False,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Delays are in seconds; `error` is raised after `error_after` deltas; `joined`: as if
        read with rests."""
        self._deltas = [text for text in deltas if text]
        self._clock = clock
        self._name = name
        self._first_delay = first_delay
        self._delay = delay
        self._finished = Finished(usage=usage, reason=reason)
        self._error = error
        self._error_after = error_after
        self._joined = joined
        self._sleep = sleep
        self.prompts: list[Prompt] = []
        self.open_streams = 0
        self.closed_early = 0

    @property
    def name(self) -> str:
        return self._name

    async def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        self.prompts.append(prompt)
        self.open_streams += 1
        try:
            for position, text in enumerate(self._deltas):
                self._fail_at(position)
                await self._wait(self._delay if position else self._first_delay, deadline)
                yield TextDelta(text, joined=self._joined and position > 0)
            self._fail_at(len(self._deltas))
        except (GeneratorExit, asyncio.CancelledError):
            self.closed_early += 1
            raise
        finally:
            self.open_streams -= 1
        yield self._finished

    async def close(self) -> None:
        """Nothing to close."""

    def _fail_at(self, position: int) -> None:
        if self._error is not None and position == self._error_after:
            raise self._error

    async def _wait(self, seconds: float, deadline: float) -> None:
        remaining = deadline - self._clock.monotonic()
        if 0 < seconds <= remaining:
            await self._sleep(seconds)
        elif seconds > remaining > 0:
            await self._sleep(remaining)
        if seconds > remaining or self._clock.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"The model {self._name!r} did not finish in time.",
                remedy="Try again, or allow more time.",
            )


class EchoModel:
    """Answers with the first sentence of the prompt's first passage, cited as `[1]`.

    A passage begins with its number in brackets at the start of a line. Where there is
    none, the last message is given back. Words stand in for tokens in its usage.
    """

    def __init__(self, *, clock: Clock, name: str = "echo") -> None:
        self._clock = clock
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        answer = _echo(prompt)
        words = answer.split(" ")
        asked = sum(len(message.content.split()) for message in prompt.messages)
        usage = Usage(
            input_tokens=asked + len(prompt.system.split()),
            output_tokens=min(len(words), prompt.max_tokens),
            estimated=True,
        )
        script = ScriptedModel(
            [word if position == 0 else f" {word}" for position, word in enumerate(words)][
                : prompt.max_tokens
            ],
            clock=self._clock,
            name=self._name,
            usage=usage,
            reason="stop" if len(words) <= prompt.max_tokens else "length",
        )
        async with aclosing(script.stream(prompt, deadline=deadline)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Nothing to close."""


def _echo(prompt: Prompt) -> str:
    asked = prompt.messages[-1].content if prompt.messages else ""
    for text in (*(message.content for message in reversed(prompt.messages)), prompt.system):
        if (passage := _FIRST_PASSAGE.search(text)) is not None:
            sentence = _SENTENCE_END.split(passage.group(1).strip(), maxsplit=1)[0]
            return f"{' '.join(sentence.split())} [1]"
    return " ".join(asked.split())
