"""The official client of OpenAI works against us as it is."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import ModelFailed
from ragstone.domain.principal import Principal
from ragstone.domain.usage import Usage
from ragstone.models.llms.fake import ScriptedModel
from tests.server.conftest import Running, Start

QUESTION = "Within how many days may full-price items be returned?"


@pytest.fixture
async def client(server: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    model = ScriptedModel(
        ["Forty-five days ", "[1]."],
        clock=SystemClock(),
        usage=Usage(input_tokens=11, output_tokens=5),
    )
    server.system.use_model(model)
    made = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
    yield made
    await made.close()


async def test_a_completion(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="ragstone/help",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        ],
        temperature=0,
        seed=1,
    )
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "Forty-five days [1]."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 16
    extension = answer.model_extra["ragstone"] if answer.model_extra else {}
    assert extension["citations"][0]["external_id"] == "returns"
    assert extension["answer_kind"] == "generated"


@pytest.mark.parametrize("include_usage", [True, False])
async def test_a_stream(client: openai.AsyncOpenAI, include_usage: bool) -> None:
    stream = await client.chat.completions.create(
        model="help",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": include_usage},
    )
    chunks = [chunk async for chunk in stream]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Forty-five days [1]."
    finish = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert finish == [None] * (len(finish) - 1) + ["stop"]
    if include_usage:
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.prompt_tokens == 11
        assert all(chunk.usage is None for chunk in chunks[:-1])
    else:
        assert all(chunk.usage is None for chunk in chunks)


async def test_models(client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert names == ["ragstone", "ragstone/help"]
    assert (await client.models.retrieve("ragstone/help")).owned_by == "ragstone"


async def test_an_unknown_model(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await client.chat.completions.create(
            model="ragstone/hlep", messages=[{"role": "user", "content": "x"}]
        )
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"


async def test_wrong_requests(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="ragstone", messages=[])
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(
            model="ragstone", messages=[{"role": "user", "content": "x"}], n=2
        )
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(
            model="ragstone", messages=[{"role": "assistant", "content": "x"}]
        )


async def test_a_failure_within_a_stream(server: Running, client: openai.AsyncOpenAI) -> None:
    server.system.use_model(
        ScriptedModel(
            ["Forty", "-five"], clock=SystemClock(), error=ModelFailed("Broke."), error_after=1
        )
    )
    stream = await client.chat.completions.create(
        model="ragstone/help", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    with pytest.raises(openai.APIError, match="Broke"):
        async for _ in stream:
            pass


async def test_embeddings(client: openai.AsyncOpenAI) -> None:
    texts = ["a red lamp", "a blue rug"]
    packed = await client.embeddings.create(model="fake", input=texts)  # asks for base64
    plain = await client.embeddings.create(model="fake", input=texts[0], encoding_format="float")
    assert [row.index for row in packed.data] == [0, 1]
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert packed.usage.prompt_tokens > 0
    for wrong in ({"model": "ada"}, {"input": ""}, {"input": [1, 2]}, {"dimensions": 7}):
        with pytest.raises(openai.APIStatusError):
            await client.embeddings.create(**{"model": "fake", "input": "x", **wrong})


@pytest.mark.parametrize(
    ("reason", "said"), [("stop", "stop"), ("length", "length"), ("filtered", "content_filter")]
)
async def test_the_reason_to_finish_is_said(
    server: Running, client: openai.AsyncOpenAI, reason: Any, said: str
) -> None:
    server.system.use_model(
        ScriptedModel(["Forty-five [1]."], clock=SystemClock(), reason=reason, name=reason)
    )
    messages: Any = [{"role": "user", "content": QUESTION}]
    whole = await client.chat.completions.create(model="help", messages=messages)
    assert whole.choices[0].finish_reason == said
    stream = await client.chat.completions.create(model="help", messages=messages, stream=True)
    chunks = [chunk async for chunk in stream]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == said


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 2.1},
        {"temperature": -0.1},
        {"temperature": "warm"},
        {"max_tokens": 0},
        {"max_completion_tokens": -1},
        {"stream_options": {"include_usage": True}},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"response_format": {"type": "json_object"}},
    ],
)
async def test_what_cannot_be_done_is_refused(server: Running, wrong: dict[str, Any]) -> None:
    body = {"model": "help", "messages": [{"role": "user", "content": QUESTION}], **wrong}
    status, answer = await server.json("POST", "/v1/chat/completions", body)
    assert status == 400
    [name] = wrong
    assert name in f"{answer['error']['message']} {answer['error']['param']}"


async def test_what_changes_nothing_is_accepted(server: Running) -> None:
    harmless = {
        "temperature": 0.5,
        "max_tokens": 100,
        "max_completion_tokens": 100,
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "seed": 2**70,
    }
    body = {"model": "help", "messages": [{"role": "user", "content": QUESTION}], **harmless}
    assert (await server.json("POST", "/v1/chat/completions", body))[0] == 200


async def test_a_collections_name_alone_is_a_model(client: openai.AsyncOpenAI) -> None:
    assert (await client.models.retrieve("help")).id == "help"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("hlep")


async def test_embeddings_queue_and_are_refused_like_questions(start: Start) -> None:
    running = await start(admission={"concurrency": 1, "queue": 0})
    body = {"model": "fake", "input": ["a lamp", "a rug"]}
    admission = running.system.services.admission
    principal = Principal(tenant="default")
    deadline = running.system.clock.monotonic() + 60
    async with admission.admit(principal, priority="critical", weight=1, deadline=deadline):
        status, refused = await running.json("POST", "/v1/embeddings", body)
        assert (status, refused["error"]["code"]) == (503, "overloaded")
    assert (await running.json("POST", "/v1/embeddings", body))[0] == 200
