"""What servers of OpenAI's format send, and what is sent to them."""

import aiohttp
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.usage import Usage
from ragstone.models.llms.openai_chat import OpenAIChat, max_tokens_field, takes_temperature
from ragstone.ports import Finished, Prompt, PromptMessage, TextDelta
from tests.models.model_server import (
    ModelServer,
    json_reply,
    openai_answer,
    openai_delta,
    openai_event,
    stream_of,
)
from tests.models.wires import untimed

CLOCK = SystemClock()
PROMPT = Prompt(
    system="Be brief.",
    messages=[
        PromptMessage("user", "Hello"),
        PromptMessage("assistant", "Hi"),
        PromptMessage("user", "How long?"),
    ],
    max_tokens=64,
    temperature=0.5,
)
STOP = openai_event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def model(session: aiohttp.ClientSession, server: ModelServer) -> OpenAIChat:
    return OpenAIChat(session, model="m", clock=CLOCK, base_url=server.url + "/", api_key="k")


async def said(model: OpenAIChat) -> list[TextDelta | Finished]:
    return [untimed(event) async for event in model.stream(PROMPT, deadline=CLOCK.monotonic() + 30)]


async def test_the_request_is_what_the_format_asks(model, server) -> None:
    server.reply = stream_of(*openai_answer(["x"]))
    await said(model)
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].headers["Authorization"] == "Bearer k"
    assert server.bodies[0] == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "How long?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 64,
        "temperature": 0.5,
    }


async def test_without_a_key_no_authorization_is_sent(session, server) -> None:
    server.reply = stream_of(*openai_answer(["x"]))
    await said(OpenAIChat(session, model="m", clock=CLOCK, base_url=server.url))
    assert "Authorization" not in server.requests[0].headers


async def test_names_and_temperature_can_be_set(session, server) -> None:
    server.reply = stream_of(*openai_answer(["x"]))
    model = OpenAIChat(
        session,
        model="m",
        clock=CLOCK,
        base_url=server.url,
        max_tokens_name="max_completion_tokens",
        send_temperature=False,
    )
    await said(model)
    assert server.bodies[0]["max_completion_tokens"] == 64
    assert not {"max_tokens", "temperature"} & set(server.bodies[0])


def test_only_openai_itself_gets_the_newer_name() -> None:
    assert max_tokens_field("https://api.openai.com/v1") == "max_completion_tokens"
    assert max_tokens_field("https://x.openai.azure.com/openai/v1") == "max_completion_tokens"
    assert max_tokens_field("http://localhost:11434/v1") == "max_tokens"
    assert max_tokens_field("https://api.openai.com.example/v1") == "max_tokens"


def test_only_openais_reasoning_models_get_no_temperature() -> None:
    assert not takes_temperature("https://api.openai.com/v1", "o3-mini")
    assert not takes_temperature("https://api.openai.com/v1", "gpt-5")
    assert takes_temperature("https://api.openai.com/v1", "gpt-4o-mini")
    assert takes_temperature("http://localhost:8000/v1", "gpt-5-clone")


async def test_reasoning_is_not_part_of_the_answer(model, server) -> None:
    server.reply = stream_of(
        openai_event({"choices": [{"delta": {"reasoning_content": "Hmm", "content": None}}]}),
        openai_event(
            {
                "choices": [
                    {
                        "delta": {
                            "content": [
                                {"type": "thinking", "thinking": [{"text": "Hmm"}]},
                                {"type": "text", "text": "Yes"},
                            ]
                        }
                    }
                ]
            }
        ),
        STOP,
        DONE,
    )
    assert await said(model) == [TextDelta("Yes"), Finished(usage=None, reason="stop")]


async def test_absent_null_and_unknown_things_are_ignored(model, server) -> None:
    server.reply = stream_of(
        b": keep-alive\n\n",
        openai_event({"choices": [], "prompt_filter_results": [{"x": 1}]}),
        openai_event({"choices": None, "usage": None}),
        openai_event({"choices": [{"delta": None}]}),
        openai_event({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
        openai_event({"id": "x", "new": {}, "choices": [{"delta": {"content": "a", "new": 1}}]}),
        STOP,
        DONE,
    )
    assert await said(model) == [TextDelta("a"), Finished(usage=None, reason="stop")]


async def test_the_last_usage_counts(model, server) -> None:
    def chunk(text: str, tokens: int) -> bytes:
        usage = {"prompt_tokens": 5, "completion_tokens": tokens, "prompt_tokens_details": None}
        return openai_event({"choices": [{"delta": {"content": text}}], "usage": usage})

    server.reply = stream_of(chunk("a", 1), chunk("b", 2), STOP, DONE)
    assert (await said(model))[-1].usage == Usage(input_tokens=5, output_tokens=2)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "filtered"),
        ("tool_calls", "other"),
        ("something_new", "other"),
    ],
)
async def test_finish_reasons(model, server, sent, told) -> None:
    server.reply = stream_of(*openai_answer(["x"], reason=sent))
    assert (await said(model))[-1].reason == told


async def test_a_refusal_is_filtered_and_not_answer_text(model, server) -> None:
    refusal = openai_event({"choices": [{"delta": {"refusal": "I cannot"}}]})
    server.reply = stream_of(refusal, STOP, DONE)
    assert await said(model) == [Finished(usage=None, reason="filtered")]


async def test_done_without_a_reason_is_an_end(model, server) -> None:
    server.reply = stream_of(openai_delta("x"), DONE)
    assert await said(model) == [TextDelta("x"), Finished(usage=None, reason="other")]


async def test_what_follows_done_is_not_read(model, server) -> None:
    server.reply = stream_of(openai_delta("x"), STOP, DONE + b"data: garbage\n\n")
    assert await said(model) == [TextDelta("x"), Finished(usage=None, reason="stop")]


async def test_a_server_that_ignores_stream_is_understood(model, server) -> None:
    server.reply = json_reply(
        {
            "choices": [
                {"message": {"role": "assistant", "content": "All"}, "finish_reason": "length"}
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        }
    )
    usage = Usage(input_tokens=3, output_tokens=1)
    assert await said(model) == [TextDelta("All"), Finished(usage=usage, reason="length")]


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": -5, "completion_tokens": 2},
        {"prompt_tokens": 5, "completion_tokens": -2},
        {"prompt_tokens": 10**30, "completion_tokens": 2},
        {"prompt_tokens": 5, "completion_tokens": 10**30},
        {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 10**30},
    ],
)
async def test_what_can_be_no_count_is_none(model, server, usage) -> None:
    end = openai_event({"choices": [], "usage": usage})
    server.reply = stream_of(openai_event({"choices": [{"delta": {"content": "a"}}]}), STOP, end)
    assert (await said(model))[-1].usage is None


async def test_reasoning_that_is_in_the_total_alone_is_output(model, server) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 307}
    server.reply = stream_of(STOP, openai_event({"choices": [], "usage": usage}), DONE)
    assert (await said(model))[-1].usage == Usage(input_tokens=5, output_tokens=302)


@pytest.mark.parametrize(("told", "cached"), [(-3, 0), (4, 4), (900, 5)])
async def test_cached_tokens_are_within_the_prompt(model, server, told, cached) -> None:
    details = {"cached_tokens": told}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": details}
    server.reply = stream_of(STOP, openai_event({"choices": [], "usage": usage}), DONE)
    expected = Usage(input_tokens=5, output_tokens=2, cached_input_tokens=cached)
    assert (await said(model))[-1].usage == expected
