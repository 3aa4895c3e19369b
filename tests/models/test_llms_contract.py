"""What every language model keeps, whatever its wire format."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

import aiohttp
import pytest

from ragstone.domain.errors import (
    DeadlineExceeded,
)
from ragstone.domain.usage import Usage
from ragstone.models.llms.fake import ScriptedModel
from ragstone.ports import Finished, LanguageModel, TextDelta
from tests.clock import VirtualClock
from tests.models.model_server import (
    ModelServer,
    stream_of,
)
from tests.models.wires import (
    CLOCK,
    DELTAS,
    PROMPT,
    SAID,
    WIRES,
    failure,
    said,
    soon,
    text_of,
    untimed,
)


@pytest.fixture(params=["openai", "anthropic", "scripted"])
def speaking(
    request: pytest.FixtureRequest, session: aiohttp.ClientSession, server: ModelServer
) -> Callable[[Sequence[str]], LanguageModel]:
    """A model of each kind that says the given deltas."""

    def build(deltas: Sequence[str]) -> LanguageModel:
        if request.param == "scripted":
            usage = Usage(input_tokens=30, output_tokens=7, cached_input_tokens=20)
            return ScriptedModel(deltas, clock=CLOCK, usage=usage)
        wire = WIRES[request.param]
        server.reply = stream_of(*wire.answer(deltas))
        return wire.model(session, server.url)

    return build


async def test_deltas_come_in_order_and_one_finished_ends_them(speaking) -> None:
    events = await said(speaking(DELTAS))
    assert text_of(events[:-1]) == SAID
    assert events[-1] == Finished(
        usage=Usage(input_tokens=30, output_tokens=7, cached_input_tokens=20), reason="stop"
    )


async def test_no_delta_is_empty(speaking) -> None:
    events = await said(speaking(["", "a", "", "b", ""]))
    assert text_of(events) == "ab"
    assert all(event.text for event in events[:-1])


async def test_an_empty_answer_is_still_finished(speaking) -> None:
    assert len(await said(speaking([]))) == 1


async def test_a_deadline_in_the_past_is_refused_before_anything_is_said(speaking) -> None:
    error = await failure(speaking(DELTAS), deadline=CLOCK.monotonic() - 1)
    assert isinstance(error, DeadlineExceeded)


async def test_a_model_can_be_asked_again(speaking) -> None:
    model = speaking(DELTAS)
    assert text_of(await said(model)) == text_of(await said(model)) == SAID
    await model.close()


async def test_a_finished_stream_gives_its_connection_back(wire, session, server) -> None:
    server.reply = stream_of(*wire.answer(DELTAS))
    model = wire.model(session, server.url)
    for _ in range(3):
        await said(model)
    assert len(server.connections) == 1


async def test_bytes_may_be_cut_anywhere(wire, session, server) -> None:
    whole = b"".join(wire.answer(DELTAS))
    server.reply = stream_of(*(whole[i : i + 5] for i in range(0, len(whole), 5)))
    events = await said(wire.model(session, server.url))
    assert text_of(events) == SAID


async def test_closing_early_closes_the_upstream_call(wire, session, server) -> None:
    never = asyncio.Event()
    server.reply = stream_of(wire.delta("first"), then=never)
    model = wire.model(session, server.url)
    async with aclosing(model.stream(PROMPT, deadline=soon())) as stream:
        assert untimed(await anext(stream)) == TextDelta("first")
    async with asyncio.timeout(10):
        await server.disconnected.wait()
    server.reply = stream_of(*wire.answer(DELTAS))
    assert text_of(await said(model)) == SAID


async def test_cancelling_the_reader_closes_the_upstream_call(wire, session, server) -> None:
    server.reply = stream_of(wire.delta("first"), then=asyncio.Event())
    model = wire.model(session, server.url)
    began = asyncio.Event()

    async def read() -> None:
        async with aclosing(model.stream(PROMPT, deadline=soon())) as stream:
            async for _ in stream:
                began.set()

    task = asyncio.create_task(read())
    async with asyncio.timeout(10):
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await server.disconnected.wait()
    server.reply = stream_of(*wire.answer(DELTAS))
    assert text_of(await said(model)) == SAID


async def test_silence_before_the_first_byte_ends_at_the_deadline(wire, session, server) -> None:
    async def reply(request):
        await asyncio.Event().wait()

    server.reply = reply
    error = await failure(wire.model(session, server.url), deadline=CLOCK.monotonic() + 0.05)
    assert isinstance(error, DeadlineExceeded)


async def test_silence_in_the_middle_ends_at_the_deadline(wire, session, server) -> None:
    server.reply = stream_of(wire.delta("first"), then=asyncio.Event())
    model, seconds = wire.model(session, server.url), 0.1
    while not server.requests:  # on a busy machine the deadline may pass before it is asked
        error = await failure(model, deadline=CLOCK.monotonic() + seconds)
        assert isinstance(error, DeadlineExceeded)
        seconds *= 2
    async with asyncio.timeout(10):
        await server.disconnected.wait()


async def test_a_stream_that_never_pauses_ends_at_the_deadline(wire, session, server) -> None:
    clock = VirtualClock()
    gate = asyncio.Event()

    async def reply(request):
        response = aiohttp.web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(wire.delta("first"))
        await gate.wait()
        await response.write(wire.delta("second"))
        await asyncio.Event().wait()

    server.reply = reply
    model = wire.model(session, server.url, clock=clock)
    stream = model.stream(PROMPT, deadline=soon(clock))
    assert untimed(await anext(stream)) == TextDelta("first")
    clock.advance(31)
    gate.set()
    with pytest.raises(DeadlineExceeded):
        await anext(stream)


async def test_the_first_delta_tells_how_long_the_model_took(wire, session, server) -> None:
    server.reply = stream_of(*wire.answer(DELTAS))
    stream = wire.model(session, server.url).stream(PROMPT, deadline=soon())
    waited = [event.waited async for event in stream if isinstance(event, TextDelta)]
    assert waited[0] is not None
    assert 0 <= waited[0] < 30
    assert set(waited[1:]) <= {None}
