"""Any sequence of submissions, deletions and crashes ends as if done one after the other."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragstone.domain.errors import UnknownDocument
from tests.ingest.fakes import World, turns, until

_NAMES = st.sampled_from("abcde")
_WORDS = st.sampled_from(["zebra", "lion", "wolf", "tiger", "otter"])
_DOCUMENTS = st.dictionaries(_NAMES, st.tuples(_WORDS, st.integers(1, 25)), min_size=1)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), _DOCUMENTS),
        st.tuples(st.just("submit"), _DOCUMENTS),
        st.tuples(st.just("delete"), _NAMES),
        st.tuples(st.just("crash"), st.just(None)),
        st.tuples(st.just("stop"), st.just(None)),
        st.tuples(st.just("turns"), st.integers(1, 60)),
        st.tuples(st.just("rest"), st.just(None)),
    ),
    max_size=14,
)


def text_of(word: str, sentences: int) -> str:
    return " ".join(f"The {word} number {i} sleeps." for i in range(sentences))


class Model:
    """What the documents should be once everything has come to rest."""

    def __init__(self) -> None:
        self.world = World(max_attempts=1_000)
        self.submitted: list[dict[str, str]] = []
        self.expected: dict[str, str] = {}

    async def submit(self, documents: dict[str, tuple[str, int]]) -> None:
        texts = {name: text_of(*content) for name, content in documents.items()}
        await self.world.submit(*(f"{name}|{text}" for name, text in texts.items()))
        self.expected.update(texts)

    async def delete(self, name: str) -> None:
        try:
            await self.world.delete(name)
        except UnknownDocument:
            return  # nothing is there yet: what was submitted may still come
        self.expected.pop(name, None)
        assert name not in await self.world.texts()
        assert name not in await self.found()

    async def found(self) -> dict[str, list[str]]:
        """The texts of all chunks in the index, by external id, in order."""
        passages = await self.world.find("zebra lion wolf tiger otter")
        found: dict[str, list[str]] = {}
        for passage in sorted(passages, key=lambda passage: passage.ordinal):
            found.setdefault(passage.external_id, []).append(passage.text)
        return found

    async def rest(self) -> None:
        await until(lambda: self.world.ingestion.queue_depth == 0)
        await turns()
        assert await self.world.texts() == self.expected
        found = await self.found()
        assert {name: " ".join(texts) for name, texts in found.items()} == self.expected
        assert await self.world.records.unfinished_jobs() == []
        assert await self.world.records.tombstones() == []

    async def run(self, steps: list[tuple[str, object]]) -> None:
        await self.world.ingestion.start()
        for name, argument in steps:
            match name, argument:
                case "submit", dict():
                    await self.submit(argument)
                case "delete", str():
                    await self.delete(argument)
                case "crash", _:
                    await self.world.crash()
                    await self.world.restart()
                case "stop", _:
                    await self.world.ingestion.stop()
                    await self.world.ingestion.start()
                case "turns", int():
                    await turns(argument)
                case _:
                    await self.rest()
        await self.rest()
        await self.world.ingestion.stop()


@given(_STEPS)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_ends_as_if_done_one_after_the_other(steps: list[tuple[str, object]]) -> None:
    asyncio.run(Model().run(steps))
