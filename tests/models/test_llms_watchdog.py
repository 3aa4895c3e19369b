"""Silence is found out, whatever is sent to cover it; thinking and slow readers are not killed."""

import asyncio

import pytest
import uvloop

from ragstone.domain.errors import DeadlineExceeded, ModelTimedOut
from ragstone.models.llms.watchdog import Watchdog
from ragstone.ports import TextDelta
from tests.models.model_server import (
    anthropic_event,
    openai_event,
    repeating,
    stream_of,
)
from tests.models.wires import CLOCK, DELTAS, PROMPT, SAID, failure, said, soon, text_of, untimed
from tests.virtual_loop import run, running_clock

LONG = 60.0

NOT_CONTENT = [
    b": keep-alive\n\n",
    b"\n\n",
    anthropic_event({"type": "ping"}),
    anthropic_event(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "thinking_delta", "thinking": "Let me see."},
        }
    ),
    openai_event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
    openai_event({"choices": [{"index": 0, "delta": {"reasoning_content": "Let me see."}}]}),
]
"""Both formats ignore what is only in the other one."""
IDS = ["comment", "blank", "ping", "thinking", "role", "reasoning"]


async def test_a_first_content_that_never_comes_is_named(wire, session, server) -> None:
    for reply in (stream_of(then=asyncio.Event()), _nothing_at_all):
        server.reply = reply
        error = await failure(wire.model(session, server.url, first_token_seconds=0.05))
        assert isinstance(error, ModelTimedOut)
        assert error.field == "llm.first_token_seconds"


async def test_silence_after_content_is_named(wire, session, server) -> None:
    server.reply = stream_of(wire.delta("first"), then=asyncio.Event())
    model = wire.model(session, server.url, first_token_seconds=LONG, gap_seconds=0.05)
    stream = model.stream(PROMPT, deadline=soon())
    assert untimed(await anext(stream)) == TextDelta("first")
    with pytest.raises(ModelTimedOut) as caught:
        await anext(stream)
    assert caught.value.field == "llm.gap_seconds"
    async with asyncio.timeout(10):
        await server.disconnected.wait()


@pytest.mark.parametrize("noise", NOT_CONTENT, ids=IDS)
async def test_bytes_without_content_are_no_life(wire, session, server, noise) -> None:
    server.reply = repeating(again=noise, times=10_000, every=0.01, then=[])
    error = await failure(wire.model(session, server.url, first_token_seconds=0.1))
    assert isinstance(error, ModelTimedOut)
    assert error.field == "llm.first_token_seconds"
    server.reply = repeating(wire.delta("x"), again=noise, times=10_000, every=0.01, then=[])
    error = await failure(wire.model(session, server.url, gap_seconds=0.1))
    assert error.field == "llm.gap_seconds"


@pytest.mark.parametrize("noise", NOT_CONTENT, ids=IDS)
async def test_long_thinking_is_not_a_gap(wire, session, server, noise) -> None:
    server.reply = repeating(again=noise, times=15, every=0.01, then=wire.answer(DELTAS))
    model = wire.model(session, server.url, first_token_seconds=LONG, gap_seconds=0.05)
    assert text_of(await said(model)) == SAID


async def test_a_slow_reader_is_no_silent_server(wire, session, server) -> None:
    server.reply = stream_of(*wire.answer(DELTAS))
    stream = wire.model(session, server.url, gap_seconds=0.05).stream(PROMPT, deadline=soon())
    events = []
    async for event in stream:
        events.append(event)
        await asyncio.sleep(0.12)
    assert text_of(events) == SAID


async def test_an_answer_that_said_why_it_stopped_is_whole_at_the_gap(
    wire, session, server
) -> None:
    server.reply = stream_of(*wire.answer(DELTAS)[:-1], then=asyncio.Event())
    events = await said(wire.model(session, server.url, gap_seconds=0.05))
    assert text_of(events) == SAID
    assert events[-1].reason == "stop"


async def test_the_shorter_of_deadline_and_first_token_is_named(wire, session, server) -> None:
    server.reply = _nothing_at_all
    model = wire.model(session, server.url, first_token_seconds=LONG)
    error = await failure(model, deadline=CLOCK.monotonic() + 0.05)
    assert isinstance(error, DeadlineExceeded)


async def test_what_arrives_together_is_one_delta(wire, session, server) -> None:
    server.reply = stream_of(b"".join(wire.answer(DELTAS)))
    events = await said(wire.model(session, server.url))
    assert events[0] == TextDelta(SAID)
    assert len(events) == 2


async def test_a_paced_reader_gets_the_same_text_in_fewer_pieces(wire, session, server) -> None:
    whole = [wire.delta(f"{number} ") for number in range(40)]
    server.reply = repeating(
        *wire.answer(["start "])[:-3], again=b": x\n\n", times=1, every=0.0,
        then=[*whole, *wire.answer([])[-3:]],
    )  # fmt: skip
    asked = []

    def pace() -> float:
        asked.append(1)
        return 0.05

    events = await said(wire.model(session, server.url, pace=pace))
    assert text_of(events) == "start " + "".join(f"{number} " for number in range(40))
    assert len(events) <= 4
    assert asked
    server.reply = stream_of(*wire.answer(DELTAS))
    assert text_of(await said(wire.model(session, server.url))) == SAID  # on the same connection


async def test_closing_while_the_reader_rests_closes_the_call(wire, session, server) -> None:
    server.reply = repeating(again=wire.delta("a"), times=1_000, every=0.005, then=[])
    model = wire.model(session, server.url, pace=lambda: LONG)

    async def read() -> None:
        read = 0
        async for _ in model.stream(PROMPT, deadline=soon()):
            read += 1
            if read == 2:  # from then on its pace is known
                began.set()

    began = asyncio.Event()
    task = asyncio.create_task(read())
    async with asyncio.timeout(10):
        await began.wait()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await server.disconnected.wait()
    server.reply = stream_of(*wire.answer(DELTAS))
    assert text_of(await said(wire.model(session, server.url))) == SAID


async def _nothing_at_all(request):
    await asyncio.Event().wait()


# The watchdog alone, on virtual time.


def _watched(scenario, *, first_token=20.0, gap=10.0, seconds=100.0):
    """What the scenario leaves as the limit, and when it passed."""

    async def main():
        loop = asyncio.get_running_loop()
        bitten = []
        began = loop.time()
        dog = Watchdog(
            lambda: bitten.append(loop.time() - began),
            began=began, first_token=first_token, gap=gap, ends=began + seconds,
        )  # fmt: skip
        await scenario(dog)
        await asyncio.sleep(1_000)
        dog.cancel()
        assert len(bitten) == 1
        return dog.limit, bitten[0]

    return run(main())


async def _content(dog: Watchdog, *gaps: float) -> None:
    for gap in gaps:
        await asyncio.sleep(gap)
        dog.hold()
        dog.resume()


def test_each_limit_is_kept_and_the_loop_may_read_for_another_moment() -> None:
    async def silent(dog: Watchdog) -> None:
        pass

    async def begins(dog: Watchdog) -> None:
        await _content(dog, 1.0)

    async def goes_on(dog: Watchdog) -> None:
        await _content(dog, 19.0, 9.0, 9.9, 0.1)

    async def never_ends(dog: Watchdog) -> None:
        await _content(dog, *[1.0] * 99)

    assert _watched(silent) == ("first_token", pytest.approx(20.1))
    assert _watched(begins) == ("gap", pytest.approx(11.1))
    assert _watched(goes_on) == ("gap", pytest.approx(48.1))
    assert _watched(never_ends) == ("deadline", pytest.approx(100))
    assert _watched(silent, seconds=5.0) == ("deadline", pytest.approx(5))


def test_time_in_the_consumer_does_not_count() -> None:
    async def consumed(dog: Watchdog) -> None:
        await asyncio.sleep(1)
        dog.hold()
        await asyncio.sleep(60)
        dog.resume()

    assert _watched(consumed) == ("gap", pytest.approx(71.1))


def test_a_rest_is_no_gap() -> None:
    async def scenario(dog: Watchdog) -> None:
        dog.hold()
        dog.resume(7.0)

    assert _watched(scenario) == ("gap", pytest.approx(17.1))


@pytest.mark.parametrize("blocked_seconds", [10.0, 10.05, 10.1, 30.0])
def test_a_blocked_event_loop_gets_to_read_before_the_server_is_blamed(
    blocked_seconds: float,
) -> None:
    async def blocked(dog: Watchdog) -> None:
        await _content(dog, 1.0)
        running_clock().advance(blocked_seconds)
        await asyncio.sleep(0.05)  # what was unread is read now
        dog.hold()
        dog.resume()

    assert _watched(blocked) == ("gap", pytest.approx(11.15 + blocked_seconds))


def test_a_limit_that_passed_before_it_was_set_still_ends_the_stream() -> None:
    """uvloop answers `call_at` for a time in the past with a handle that knows no time."""

    async def main() -> object:
        loop = asyncio.get_running_loop()
        bitten = asyncio.Event()
        dog = Watchdog(
            bitten.set, began=loop.time() - 9.0, first_token=0.001, gap=0.001, ends=loop.time() + 60
        )
        async with asyncio.timeout(30):
            await bitten.wait()
        return dog.limit

    assert uvloop.run(main()) == "first_token"
