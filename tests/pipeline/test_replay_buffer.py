"""What a generation has told so far, for readers of every pace."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.answer import Answer, AnswerEvent, Delta, Done, PassagesFound
from ragstone.domain.usage import Receipt, Usage
from ragstone.pipeline.replay_buffer import Reader, ReplayBuffer

OPENING = PassagesFound([], "0" * 32, [])


def _done(text: str) -> Done:
    return Done(
        Answer(
            answer=text, answer_kind="generated", citations=[], passages=[], usage=Usage(),
            timings_ms={}, degraded=[], notices=[], cache="off", receipt=Receipt(nanodollars=0),
            collection="help", model="m", trace_id="0" * 32,
        )
    )  # fmt: skip


def _text(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


@given(
    pieces=st.lists(st.text("ab \u4e16", min_size=1, max_size=9), min_size=1, max_size=300),
    paces=st.lists(st.integers(1, 120), min_size=1, max_size=4),
    max_chars=st.integers(2, 2_000),
)
def test_readers_of_every_pace_are_told_the_same(
    pieces: list[str], paces: list[int], max_chars: int
) -> None:
    buffer = ReplayBuffer(max_chars=max_chars)
    readers = [Reader(is_shown=True) for _ in paces]
    told = ["" for _ in paces]

    async def scenario() -> None:
        buffer.add(OPENING)
        for number, piece in enumerate(pieces):
            buffer.add(Delta(piece))
            for position, pace in enumerate(paces):
                if number % pace == 0:
                    told[position] += _text(buffer.unread(readers[position], opening_alone=True))
        buffer.add(_done("".join(pieces)))
        buffer.end(None)
        for position, reader in enumerate(readers):
            told[position] += _text(buffer.unread(reader, opening_alone=True))

    asyncio.run(scenario())
    assert told == ["".join(pieces)] * len(paces)


def test_words_of_a_long_answer_are_not_kept_one_by_one() -> None:
    buffer = ReplayBuffer(max_chars=10_000)
    for number in range(1_000):
        buffer.add(Delta(f"word {number} "))
    assert len(buffer._pieces) < 100


def test_who_waits_for_the_end_is_woken_where_the_text_begins_and_at_the_end() -> None:
    async def scenario() -> None:
        buffer, reader = ReplayBuffer(), Reader(is_shown=False)
        buffer.add(OPENING)
        buffer.add(Delta("Forty"))
        assert _text(buffer.unread(reader, opening_alone=False)) == "Forty"
        news = buffer.news(reader)
        for _ in range(10):
            buffer.add(Delta("-five"))
            assert not news.done()
        buffer.add(_done("Forty" + 10 * "-five"))
        buffer.end(None)
        assert news.done()
        assert [type(event) for event in buffer.unread(reader, opening_alone=False)] == [Done]

    asyncio.run(scenario())
