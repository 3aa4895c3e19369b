"""What a request may ask of the cache: the field `cache`, and `Cache-Control` where the format is
OpenAI's."""

import json

import pytest

from ragstone.domain.clock import SystemClock
from ragstone.models.llms.fake import ScriptedModel
from tests.server.conftest import Running

QUESTION = "Within how many days may full-price items be returned?"


async def _answer(server: Running, **asked: object) -> str:
    status, answer = await server.json("POST", "/v1/answers", {"question": QUESTION, **asked})
    assert status == 200, answer
    return str(answer["cache"])


async def _chat(server: Running, directive: str | None, *, stream: bool = False) -> str:
    body = {
        "model": "ragstone/help",
        "messages": [{"role": "user", "content": QUESTION}],
        "stream": stream,
    }
    headers = {"Cache-Control": directive} if directive else {}
    async with server.http.post("/v1/chat/completions", json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        text = await response.text()
    if stream:
        text = next(
            line.removeprefix("data: ") for line in text.splitlines() if '"ragstone":{' in line
        )
    return str(json.loads(text)["ragstone"]["cache"])


def _scripted(server: Running) -> ScriptedModel:
    model = ScriptedModel(["Forty-five days [1]."], clock=SystemClock())
    server.system.use_model(model)
    return model


async def test_a_refreshed_answer_is_made_anew_and_kept(server: Running) -> None:
    model = _scripted(server)
    asked = ["use", "use", "refresh", "use"]
    assert [await _answer(server, cache=use) for use in asked] == ["miss", "hit", "miss", "hit"]
    assert len(model.prompts) == 2


async def test_off_neither_takes_nor_keeps(server: Running) -> None:
    model = _scripted(server)
    asked = ["off", "use", "off", "use"]
    assert [await _answer(server, cache=use) for use in asked] == ["off", "miss", "off", "hit"]
    assert len(model.prompts) == 3


async def test_another_word_for_the_cache_is_refused_by_its_field(server: Running) -> None:
    body = {"question": QUESTION, "cache": "never"}
    status, refused = await server.json("POST", "/v1/answers", body)
    assert (status, refused["error"]["code"]) == (400, "invalid_request")
    assert "cache" in refused["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_asks_with_the_header(server: Running, stream: bool) -> None:
    model = _scripted(server)
    for directive, told in (
        (None, "miss"),
        ("max-age=60", "hit"),
        ("max-age=60, No-Cache", "miss"),
        (None, "hit"),
        ("no-store", "off"),
        ("no-cache, no-store", "off"),
        (None, "hit"),
    ):
        assert await _chat(server, directive, stream=stream) == told, directive
    assert len(model.prompts) == 4


async def test_the_two_interfaces_share_no_answer_of_a_refused_store(server: Running) -> None:
    _scripted(server)
    assert await _chat(server, "no-store") == "off"
    assert await _chat(server, None) == "miss"
