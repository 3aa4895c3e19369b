"""Simulated language models, seen through our own adapters: each behaviour as it is told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import (
    DeadlineExceeded,
    ModelError,
    ModelFailed,
    ModelProtocolError,
    ModelQuotaExhausted,
    ModelRateLimited,
)
from ragstone.models.llms.anthropic_messages import AnthropicMessages
from ragstone.models.llms.openai_chat import OpenAIChat
from ragstone.ports import Finished, LanguageModel, TextDelta
from tests.lab.simulators import PROMPT, Running, simulator

CLOCK = SystemClock()
SAID = "You may return items within 45 days. [1] Wash wool by hand. Never [2]"
"""What a model of 14 tokens says to the prompt."""
ADAPTERS = {"openai": OpenAIChat, "anthropic": AnthropicMessages}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with simulator(tokens=14) as running:
        yield running


@pytest.fixture(params=list(ADAPTERS))
def model(
    request: pytest.FixtureRequest, session: aiohttp.ClientSession, server: Running
) -> LanguageModel:
    return ADAPTERS[request.param](session, model="any", clock=CLOCK, base_url=server.url)


async def said(model: LanguageModel, seconds: float = 30.0) -> tuple[str, Finished]:
    text, finished = "", None
    async for event in model.stream(PROMPT, deadline=CLOCK.monotonic() + seconds):
        if isinstance(event, TextDelta):
            text += event.text
        else:
            finished = event
    assert finished is not None
    return text, finished


async def failure(model: LanguageModel, seconds: float = 30.0) -> tuple[str, Exception]:
    """The text until then, and the error."""
    text = ""
    try:
        async for event in model.stream(PROMPT, deadline=CLOCK.monotonic() + seconds):
            text += event.text if isinstance(event, TextDelta) else ""
    except (ModelError, DeadlineExceeded) as error:
        return text, error
    raise AssertionError(f"it did not fail: {text!r}")


async def test_the_answer_is_made_of_the_passages_and_cites_them(model, server) -> None:
    text, finished = await said(model)
    assert text == SAID
    assert finished.reason == "stop"
    assert finished.usage.output_tokens == 14
    assert finished.usage.input_tokens > 10
    assert await server.outcome() == "complete"


async def test_the_request_bounds_the_answer(model, server) -> None:
    server.behave(tokens=1000)
    text, finished = await said(model)
    assert len(text.split()) == PROMPT.max_tokens
    assert finished.reason == "length"


@pytest.mark.parametrize("slicing", ["event", "byte", "half", "several"])
@pytest.mark.parametrize("line_end", ["lf", "crlf", "cr"])
@pytest.mark.parametrize("comments", [False, True])
async def test_however_the_stream_is_cut_the_text_is_the_same(
    model, server, slicing, line_end, comments
) -> None:
    server.behave(slicing=slicing, line_end=line_end, comments=comments)
    assert (await said(model))[0] == SAID


@pytest.mark.parametrize("slicing", ["event", "half", "several"])
async def test_pauses_and_slices_go_together(model, server, slicing) -> None:
    server.behave(slicing=slicing, token_seconds=0.001, first_token_seconds=0.002)
    assert (await said(model))[0] == SAID


async def test_thinking_comes_first_and_is_not_text(model, server) -> None:
    server.behave(thinking_tokens=5)
    assert (await said(model))[0] == SAID


async def test_pings_carry_no_content(model, server) -> None:
    server.behave(ping_seconds=0.002, first_token_seconds=0.02)
    assert (await said(model))[0] == SAID


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "error"}, ModelFailed),
        ({"kind": "error", "status": 503}, ModelFailed),
        ({"kind": "rate_limit", "retry_after": 20}, ModelRateLimited),
        ({"kind": "quota"}, ModelQuotaExhausted),
        ({"kind": "garbage"}, ModelProtocolError),
    ],
)
async def test_a_refusal_is_what_real_providers_write(model, server, fault, error) -> None:
    server.behave(faults=[fault])
    text, caught = await failure(model)
    assert type(caught) is error
    assert text == ""
    assert caught.retry_after == fault.get("retry_after")
    assert await server.outcome() == fault["kind"]


@pytest.mark.parametrize("after", [0, 3, 99])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("reset", ModelError),
        ("cut", ModelProtocolError),
        ("error_event", ModelFailed),
        ("garbage_event", ModelProtocolError),
    ],
)
async def test_a_stream_breaks_off_where_it_was_told_to(model, server, kind, error, after) -> None:
    server.behave(faults=[{"kind": kind, "after_tokens": after}], token_seconds=0.001)
    text, caught = await failure(model)
    assert isinstance(caught, error)
    said_in_full = SAID.split()
    # A reset may overtake bytes that the client has not read.
    assert len(text.split()) <= min(after, len(said_in_full) - 1)
    if kind != "reset":
        assert text.split() == said_in_full[: min(after, 13)]
    assert await server.outcome() == kind


@pytest.mark.parametrize("pings", [0.0, 0.005])
async def test_silence_lasts_until_the_client_leaves(model, server, pings) -> None:
    server.behave(faults=[{"kind": "silence", "after_tokens": 2}], ping_seconds=pings)
    stream = model.stream(PROMPT, deadline=CLOCK.monotonic() + 30)
    text = ""
    while text != "You may":
        text += (await anext(stream)).text
    more = asyncio.ensure_future(anext(stream))
    assert await asyncio.wait([more], timeout=0.05) == (set(), {more})
    more.cancel()
    await asyncio.wait([more])
    assert await server.outcome() == "left"


async def test_silence_may_end(model, server) -> None:
    server.behave(faults=[{"kind": "silence", "after_tokens": 2, "seconds": 0.02}])
    assert (await said(model))[0] == SAID


async def test_a_frozen_server_sends_nothing_and_then_all(model, server) -> None:
    server.behave(frozen_seconds=3600, token_seconds=0.001)
    task = asyncio.create_task(said(model))
    while not server.simulator.stats().open:
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    assert not task.done()
    server.behave(frozen_seconds=0)
    assert (await task)[0] == SAID


async def test_a_freeze_ends_by_itself(model, server) -> None:
    server.behave(frozen_seconds=0.02)
    assert (await said(model))[0] == SAID


async def test_places_bound_what_runs_and_the_rest_waits_in_order(model, server) -> None:
    server.behave(places=2, frozen_seconds=3600)
    tasks = [asyncio.create_task(said(model)) for _ in range(5)]
    while server.simulator.stats().open < 5:
        await asyncio.sleep(0)
    assert server.simulator.stats().waiting == 3
    tasks[4].cancel()
    server.behave(frozen_seconds=0)
    texts = await asyncio.gather(*tasks[:4])
    assert [text for text, _ in texts] == [SAID] * 4
    stats = server.simulator.stats()
    assert (stats.max_open, stats.questions, stats.most_attempts) == (5, 1, 5)


async def test_a_client_that_leaves_is_counted_and_frees_its_place(model, server, session) -> None:
    server.behave(places=1, token_seconds=3600)
    stream = model.stream(PROMPT, deadline=CLOCK.monotonic() + 30)
    assert isinstance(await anext(stream), TextDelta)
    await stream.aclose()
    assert await server.outcome() == "left"
    server.behave(token_seconds=0)
    assert (await said(model))[0] == SAID


async def test_whole_answers_have_the_same_text_and_usage(server, session) -> None:
    body: dict[str, Any] = {
        "model": "any",
        "messages": [{"role": "user", "content": PROMPT.messages[0].content}],
    }
    async with session.post(f"{server.url}/chat/completions", json=body) as response:
        answer = await response.json()
    assert answer["choices"][0]["message"]["content"] == SAID
    assert answer["usage"]["completion_tokens"] == 14
    async with session.post(f"{server.url}/messages", json={**body, "max_tokens": 3}) as response:
        answer = await response.json()
    assert answer["content"] == [{"type": "text", "text": "You may [1]"}]
    assert answer["stop_reason"] == "max_tokens"


async def test_the_openai_client_understands_it(server) -> None:
    openai = pytest.importorskip("openai")
    async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        messages = [{"role": "user", "content": PROMPT.messages[0].content}]
        stream = await client.chat.completions.create(
            model="any", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAID
        assert chunks[-1].usage.completion_tokens == 14
        assert [model.id async for model in await client.models.list()] == ["simulated"]
        server.behave(faults=[{"kind": "quota"}])
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="any", messages=messages)
        assert caught.value.code == "insufficient_quota"
