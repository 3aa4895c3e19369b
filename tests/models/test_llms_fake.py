"""The models without a model."""

from contextlib import aclosing

import pytest

from ragstone.domain.errors import DeadlineExceeded, ModelFailed
from ragstone.models.llms.fake import EchoModel, ScriptedModel
from ragstone.ports import Prompt, PromptMessage, TextDelta
from tests.clock import VirtualClock


def ask(content: str, *, max_tokens: int = 64) -> Prompt:
    return Prompt(system="", messages=[PromptMessage("user", content)], max_tokens=max_tokens)


async def test_delays_pass_through_the_given_sleep(clock: VirtualClock) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    model = ScriptedModel(["a", "b", "c"], clock=clock, first_delay=2, delay=0.5, sleep=sleep)
    deadline = clock.monotonic() + 10
    assert len([event async for event in model.stream(ask("x"), deadline=deadline)]) == 4
    assert slept == [2, 0.5, 0.5]


async def test_a_delay_over_the_deadline_ends_at_the_deadline(clock: VirtualClock) -> None:
    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    model = ScriptedModel(["a", "b"], clock=clock, delay=5, sleep=sleep)
    stream = model.stream(ask("x"), deadline=clock.monotonic() + 3)
    assert await anext(stream) == TextDelta("a")
    with pytest.raises(DeadlineExceeded):
        await anext(stream)
    assert clock.monotonic() == 1_003
    assert model.open_streams == 0


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_it_fails_where_it_is_told(clock: VirtualClock, after: int) -> None:
    model = ScriptedModel(["a", "b"], clock=clock, error=ModelFailed("broken"), error_after=after)
    texts: list[object] = []
    stream = model.stream(ask("x"), deadline=clock.monotonic() + 1)
    for _ in range(after):
        texts.append(await anext(stream))  # noqa: PERF401
    with pytest.raises(ModelFailed):
        await anext(stream)
    assert texts == [TextDelta("a"), TextDelta("b")][:after]


async def test_it_knows_who_left_early_and_what_was_asked(clock: VirtualClock) -> None:
    model = ScriptedModel(["a", "b"], clock=clock)
    async with aclosing(model.stream(ask("x"), deadline=clock.monotonic() + 1)) as stream:
        await anext(stream)
        assert model.open_streams == 1
    assert (model.open_streams, model.closed_early) == (0, 1)
    assert model.prompts == [ask("x")]


async def test_the_echo_cites_the_first_passage(clock: VirtualClock) -> None:
    prompt = ask("Passages:\n[1] Returns take\n30 days. Not more.\n[2] Other.\n\nQuestion: how?")
    model = EchoModel(clock=clock)
    events = [event async for event in model.stream(prompt, deadline=clock.monotonic() + 1)]
    assert "".join(event.text for event in events[:-1]) == "Returns take 30 days. [1]"
    assert events[-1].reason == "stop"
    assert events[-1].usage.estimated


async def test_the_echo_without_passages_repeats_the_question(clock: VirtualClock) -> None:
    model = EchoModel(clock=clock)
    stream = model.stream(ask("How are you?", max_tokens=2), deadline=clock.monotonic() + 1)
    events = [event async for event in stream]
    assert "".join(event.text for event in events[:-1]) == "How are"
    assert events[-1].reason == "length"
