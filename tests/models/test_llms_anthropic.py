"""What Anthropic's Messages API sends, and what is sent to it."""

import aiohttp
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.usage import Usage
from ragstone.models.llms.anthropic_messages import AnthropicMessages
from ragstone.ports import Finished, Prompt, PromptMessage, TextDelta
from tests.models.model_server import (
    ModelServer,
    anthropic_answer,
    anthropic_delta,
    anthropic_event,
    json_reply,
    stream_of,
)
from tests.models.wires import untimed

CLOCK = SystemClock()
PROMPT = Prompt(
    system="Be brief.", messages=[PromptMessage("user", "Hello")], max_tokens=64, temperature=1.5
)


@pytest.fixture
def model(session: aiohttp.ClientSession, server: ModelServer) -> AnthropicMessages:
    return AnthropicMessages(session, model="m", clock=CLOCK, base_url=server.url, api_key="k")


async def said(model: AnthropicMessages, prompt: Prompt = PROMPT) -> list[TextDelta | Finished]:
    return [untimed(event) async for event in model.stream(prompt, deadline=CLOCK.monotonic() + 30)]


async def test_the_request_is_what_the_api_asks(model, server) -> None:
    server.reply = stream_of(*anthropic_answer(["x"]))
    await said(model)
    assert server.requests[0].path == "/v1/messages"
    assert server.requests[0].headers["x-api-key"] == "k"
    assert server.requests[0].headers["anthropic-version"] == "2023-06-01"
    assert server.bodies[0] == {
        "model": "m",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 64,
        "temperature": 1.0,
        "stream": True,
    }


async def test_the_system_prompt_can_be_marked_for_the_cache(session, server) -> None:
    server.reply = stream_of(*anthropic_answer(["x"]))
    model = AnthropicMessages(
        session, model="m", clock=CLOCK, base_url=server.url, cache_system=True
    )
    await said(model)
    assert server.bodies[0]["system"] == [
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    ]
    assert "x-api-key" not in server.requests[0].headers


async def test_a_system_prompt_is_marked_where_it_is_long_enough_to_be_cached(
    model, server
) -> None:
    server.reply = stream_of(*anthropic_answer(["x"]))
    await said(model, Prompt(system="Be brief. " * 500, messages=PROMPT.messages, max_tokens=1))
    await said(model, Prompt(system="Be brief.", messages=PROMPT.messages, max_tokens=1))
    long, short = (body["system"] for body in server.bodies)
    assert long[0]["cache_control"] == {"type": "ephemeral"}
    assert short == "Be brief."


async def test_an_empty_system_prompt_is_left_out(model, server) -> None:
    server.reply = stream_of(*anthropic_answer(["x"]))
    await said(model, Prompt(system="", messages=PROMPT.messages, max_tokens=1))
    assert "system" not in server.bodies[0]


async def test_thinking_and_unknown_events_are_not_part_of_the_answer(model, server) -> None:
    thinking = {"type": "thinking_delta", "thinking": "Hmm"}
    server.reply = stream_of(
        anthropic_event({"type": "content_block_delta", "index": 0, "delta": thinking}),
        anthropic_event(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "signature_delta", "signature": "abc"},
            }
        ),
        anthropic_event({"type": "something_new", "text": "no"}),
        *anthropic_answer(["Yes"]),
    )
    assert [event.text for event in (await said(model))[:-1]] == ["Yes"]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "filtered"),
        ("pause_turn", "other"),
    ],
)
async def test_stop_reasons(model, server, sent, told) -> None:
    server.reply = stream_of(*anthropic_answer(["x"], reason=sent))
    assert (await said(model))[-1].reason == told


async def test_cached_tokens_are_part_of_the_input(model, server) -> None:
    start = {
        "input_tokens": 4,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "output_tokens": 1,
    }
    server.reply = stream_of(
        anthropic_event({"type": "message_start", "message": {"usage": start}}),
        anthropic_delta("x"),
        anthropic_event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 9},
            }
        ),
        anthropic_event({"type": "message_stop"}),
    )
    usage = Usage(
        input_tokens=1104,
        output_tokens=9,
        cached_input_tokens=1000,
        written_input_tokens=100,
    )
    assert (await said(model))[-1] == Finished(usage=usage, reason="stop")


async def test_a_whole_message_instead_of_a_stream_is_understood(model, server) -> None:
    server.reply = json_reply(
        {
            "type": "message",
            "content": [{"type": "thinking", "thinking": "Hmm"}, {"type": "text", "text": "All"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 1},
        }
    )
    usage = Usage(input_tokens=3, output_tokens=1)
    assert await said(model) == [TextDelta("All"), Finished(usage=usage, reason="stop")]


@pytest.mark.parametrize(
    "counted",
    [
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": -3, "output_tokens": 1},
        {"input_tokens": 3, "output_tokens": 10**30},
        {"input_tokens": 3, "cache_read_input_tokens": -1, "output_tokens": 1},
    ],
)
async def test_what_can_be_no_count_is_none(model, server, counted) -> None:
    content = [{"type": "text", "text": "All"}]
    server.reply = json_reply({"content": content, "stop_reason": "end_turn", "usage": counted})
    assert (await said(model))[-1] == Finished(usage=None, reason="stop")
