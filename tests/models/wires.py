"""The wire formats, and what tests of all of them share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import (
    DeadlineExceeded,
    ModelError,
)
from ragstone.models.llms.anthropic_messages import AnthropicMessages
from ragstone.models.llms.openai_chat import OpenAIChat
from ragstone.ports import Clock, Finished, LanguageModel, Prompt, PromptMessage, TextDelta
from tests.models.model_server import (
    anthropic_answer,
    anthropic_delta,
    anthropic_event,
    openai_answer,
    openai_delta,
    openai_event,
)

KEY = "sk-very-secret"
PROMPT = Prompt(
    system="Answer from the passages.",
    messages=[PromptMessage("user", "How long?")],
    max_tokens=64,
)
CLOCK = SystemClock()
DELTAS = ["Thirty ", "days — ", "für alle [1]."]
SAID = "".join(DELTAS)


def soon(clock: Clock = CLOCK) -> float:
    return clock.monotonic() + 30.0


@dataclass(frozen=True)
class Wire:
    """A wire format: its adapter, and how a server speaks it."""

    adapter: type[OpenAIChat] | type[AnthropicMessages]
    answer: Callable[..., list[bytes]]
    delta: Callable[[str], bytes]
    event: Callable[..., bytes]

    def model(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        clock: Clock = CLOCK,
        connect_seconds: float = 5.0,
        **options: Any,
    ) -> LanguageModel:
        return self.adapter(
            session,
            model="test-model",
            clock=clock,
            base_url=url,
            api_key=KEY,
            connect_seconds=connect_seconds,
            **options,
        )


WIRES = {
    "openai": Wire(OpenAIChat, openai_answer, openai_delta, openai_event),
    "anthropic": Wire(AnthropicMessages, anthropic_answer, anthropic_delta, anthropic_event),
}


async def said(model: LanguageModel, *, deadline: float | None = None) -> list[object]:
    stream = model.stream(PROMPT, deadline=soon() if deadline is None else deadline)
    return [untimed(event) async for event in stream]


def untimed(event: TextDelta | Finished) -> TextDelta | Finished:
    """Without how long it was waited for, which differs each time."""
    return msgspec.structs.replace(event, waited=None) if isinstance(event, TextDelta) else event


def text_of(events: Sequence[object]) -> str:
    """Of all deltas; how they were cut is the network's doing."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def failure(model: LanguageModel, *, deadline: float | None = None) -> Exception:
    with pytest.raises((ModelError, DeadlineExceeded)) as caught:
        await said(model, deadline=deadline)
    assert KEY not in str(caught.value)
    assert caught.value.remedy
    return caught.value
