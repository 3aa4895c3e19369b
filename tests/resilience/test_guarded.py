"""Behind a guard the ports behave as before, and fail at once when they must."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.errors import (
    CircuitOpen,
    DependencyError,
    EmbedderError,
    EmbedderRejected,
    IndexUnavailable,
    InvalidFilter,
)
from ragstone.domain.passage import EmbeddedSearch, Passage, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.resilience.breaker import Breaker, BreakerSettings
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.guarded import (
    GuardedEmbedder,
    GuardedEmbeddingIndex,
    GuardedIndex,
    GuardedReranker,
)
from ragstone.resilience.hedge import Hedge
from tests.clock import VirtualClock
from tests.virtual_loop import run, running_clock

WHO = Principal(tenant="acme")
REQUEST = SearchRequest(collection="default", text="words", vector=None, limit=3)


class Part:
    """Embedder, index and reranker in one: takes `seconds`, then raises `error` if there is one."""

    identity = EmbedderIdentity(name="fake", dimensions=2)
    name = "part"

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self.error: Exception | None = None
        self.closed = False

    async def _do(self) -> None:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error

    async def embed_query(self, text: str) -> list[float]:
        await self._do()
        return [1.0, 0.0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        await self._do()
        return [[1.0, 0.0] for _ in texts]

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        await self._do()
        return SearchResult(passages=[])

    async def rerank(
        self, question: str, passages: Sequence[Passage], *, deadline: float
    ) -> list[Passage]:
        await self._do()
        return list(passages)

    async def close(self) -> None:
        self.closed = True


def dependency(clock: VirtualClock, *, fair_seconds: float = 5.0) -> Dependency:
    breaker = Breaker("part", BreakerSettings(calls=3), clock=clock, random=Random(1))
    return Dependency("part", clock=clock, breaker=breaker, fair_seconds=fair_seconds)


async def _fail(part: Part, guarded: GuardedEmbedder, times: int, error: Exception) -> None:
    part.error = error
    for _ in range(times):
        with pytest.raises(type(error)):
            await guarded.embed_query("words")


async def test_an_embedder_that_fails_is_left_alone_and_stays_an_embedder_error(
    clock: VirtualClock,
) -> None:
    part = Part()
    guarded = GuardedEmbedder(part, dependency(clock), clock=clock, seconds=2.0)
    assert await guarded.embed_query("words") == [1.0, 0.0]
    await _fail(part, guarded, 3, EmbedderError("down"))
    asked = part.calls
    with pytest.raises(EmbedderError) as refused:
        await guarded.embed_query("words")
    assert isinstance(refused.value.__cause__, CircuitOpen)
    assert refused.value.retry_after
    with pytest.raises(EmbedderError):
        await guarded.embed_documents(["words"])
    assert part.calls == asked


async def test_documents_that_cannot_be_embedded_do_not_cut_off_queries(
    clock: VirtualClock,
) -> None:
    part = Part()
    guarded = GuardedEmbedder(part, dependency(clock), clock=clock, seconds=2.0)
    part.error = EmbedderError("this text is too long")
    for _ in range(20):
        with pytest.raises(EmbedderError):
            await guarded.embed_documents(["words"])
    part.error = None
    assert await guarded.embed_query("words")
    assert await guarded.embed_documents(["a", "b"]) == [[1.0, 0.0]] * 2


async def test_an_embedders_other_properties_pass_through(clock: VirtualClock) -> None:
    part = Part()
    guarded = GuardedEmbedder(part, dependency(clock), clock=clock, seconds=2.0)
    assert guarded.identity == part.identity
    assert guarded.count_tokens("two words") == 2
    await guarded.close()
    assert part.closed


def test_an_embedder_that_hangs_is_found_out() -> None:
    async def main() -> None:
        clock, part = running_clock(), Part()
        guard = dependency(clock, fair_seconds=1.8)
        guarded = GuardedEmbedder(part, guard, clock=clock, seconds=2.0)
        part.seconds = 1e6
        for _ in range(3):
            began = clock.monotonic()
            with pytest.raises(EmbedderError):
                await guarded.embed_query("words")
            assert clock.monotonic() - began == pytest.approx(2.0)
        assert guard.breaker_state == "open"
        assert guard.in_flight == 0

    run(main())


def test_an_index_that_hangs_is_found_out() -> None:
    async def main() -> None:
        clock, part = running_clock(), Part()
        guard = dependency(clock, fair_seconds=1.8)
        guarded = GuardedIndex(part, guard, clock=clock, seconds=2.0)
        part.seconds = 1e6
        for _ in range(3):
            began = clock.monotonic()
            with pytest.raises(IndexUnavailable, match="in time"):
                await guarded.search(WHO, REQUEST)
            assert clock.monotonic() - began == pytest.approx(2.0)
        assert guard.breaker_state == "open"
        assert guard.in_flight == 0

    run(main())


class Both(Part):
    async def embed_and_search(
        self, principal: Principal, request: SearchRequest, text: str, *, seconds: float
    ) -> EmbeddedSearch:
        found = await self.search(principal, request)
        return EmbeddedSearch(passages=found.passages, vector=text.encode())


@pytest.mark.parametrize(("seconds", "waits"), [(0.5, 2.5), (60.0, 4.0)])
def test_a_search_that_embeds_has_the_time_of_both(seconds: float, waits: float) -> None:
    async def main() -> None:
        clock, part = running_clock(), Both()
        guard = dependency(clock, fair_seconds=1.8)
        guarded = GuardedEmbeddingIndex(part, guard, clock=clock, seconds=2.0)
        given = await guarded.embed_and_search(WHO, REQUEST, "words", seconds=seconds)
        assert given.vector == b"words"
        part.seconds = 1e6
        while guard.breaker_state == "closed":
            began = clock.monotonic()
            with pytest.raises(IndexUnavailable, match="in time"):
                await guarded.embed_and_search(WHO, REQUEST, "words", seconds=seconds)
            assert clock.monotonic() - began == pytest.approx(waits)
        with pytest.raises(IndexUnavailable, match="not asked for a while"):
            await guarded.embed_and_search(WHO, REQUEST, "words", seconds=seconds)
        assert guard.in_flight == 0

    run(main())


async def test_a_text_that_the_embedder_refuses_does_not_count_against_it(
    clock: VirtualClock,
) -> None:
    part = Part()
    guard = dependency(clock)
    guarded = GuardedEmbedder(part, guard, clock=clock, seconds=2.0)
    await _fail(part, guarded, 20, EmbedderRejected("too long"))
    assert guard.breaker_state == "closed"


async def test_an_index_that_fails_is_refused_at_once(clock: VirtualClock) -> None:
    part = Part()
    guarded = GuardedIndex(part, dependency(clock), clock=clock, seconds=2.0)
    assert (await guarded.search(WHO, REQUEST)).passages == []
    part.error = IndexUnavailable("down")
    for _ in range(3):
        with pytest.raises(IndexUnavailable):
            await guarded.search(WHO, REQUEST)
    asked = part.calls
    with pytest.raises(IndexUnavailable, match="not asked for a while"):
        await guarded.search(WHO, REQUEST)
    assert part.calls == asked
    await guarded.close()
    assert part.closed


async def test_a_filter_that_cannot_be_does_not_count_against_the_index(
    clock: VirtualClock,
) -> None:
    part = Part()
    guard = dependency(clock)
    guarded = GuardedIndex(part, guard, clock=clock, seconds=2.0)
    part.error = InvalidFilter("price is a number")
    for _ in range(20):
        with pytest.raises(InvalidFilter):
            await guarded.search(WHO, REQUEST)
    assert guard.breaker_state == "closed"


def _reranker(clock: VirtualClock, part: Part) -> tuple[GuardedReranker, Dependency]:
    guard = dependency(clock, fair_seconds=0.4)
    return GuardedReranker(part, guard, clock=clock, seconds=0.45), guard


def test_a_slow_reranker_is_given_up_in_time_and_then_left_alone() -> None:
    async def main() -> None:
        clock, part = running_clock(), Part()
        guarded, guard = _reranker(clock, part)
        assert guarded.name == "part"
        part.seconds = 3.0
        for _ in range(3):
            began = clock.monotonic()
            with pytest.raises(DependencyError):
                await guarded.rerank("words", [], deadline=began + 10)
            assert clock.monotonic() - began == pytest.approx(0.45)
        with pytest.raises(CircuitOpen):
            await guarded.rerank("words", [], deadline=clock.monotonic() + 10)
        assert guard.breaker_state == "open"

    run(main())


def test_requests_with_little_time_do_not_cut_off_a_reranker() -> None:
    async def main() -> None:
        clock, part = running_clock(), Part()
        guarded, guard = _reranker(clock, part)
        part.seconds = 0.3
        for _ in range(20):
            with pytest.raises(DependencyError):
                await guarded.rerank("words", [], deadline=clock.monotonic() + 0.1)
        with pytest.raises(DependencyError):
            await guarded.rerank("words", [], deadline=clock.monotonic())
        assert guard.breaker_state == "closed"
        assert await guarded.rerank("words", [], deadline=clock.monotonic() + 10) == []

    run(main())


def test_leaving_is_neutral_and_leaves_nothing() -> None:
    async def main() -> None:
        clock, part = running_clock(), Part()
        guard = dependency(clock)
        part.seconds = 1e6
        reranker = GuardedReranker(part, guard, clock=clock, seconds=9.0)
        embedder = GuardedEmbedder(part, guard, clock=clock, seconds=9.0)
        index = GuardedIndex(part, guard, clock=clock, seconds=9.0)
        for _ in range(10):
            leaving = [
                asyncio.ensure_future(embedder.embed_query("words")),
                asyncio.ensure_future(index.search(WHO, REQUEST)),
                asyncio.ensure_future(reranker.rerank("words", [], deadline=1e9)),
            ]
            await asyncio.sleep(0.1)
            assert guard.in_flight == 3
            for task in leaving:
                task.cancel()
            await asyncio.wait(leaving)
            assert guard.in_flight == 0
        assert guard.breaker_state == "closed"

    run(main())


def test_a_slow_replica_is_overtaken_by_a_second_call() -> None:
    class Replicas(Part):
        """Every twelfth call meets the slow one."""

        async def _do(self) -> None:
            self.seconds = 1.0 if self.calls % 12 == 11 else 0.01
            await super()._do()

    async def main() -> None:
        clock, part = running_clock(), Replicas()
        guard = dependency(clock)
        hedge = Hedge(share=0.2, clock=clock)
        embedder = GuardedEmbedder(part, guard, clock=clock, seconds=2.0, hedge=hedge)
        reranker = GuardedReranker(part, guard, clock=clock, seconds=2.0, hedge=hedge)
        slow = 0
        for number in range(400):
            began = clock.monotonic()
            if number % 2:
                await embedder.embed_query("words")
            else:
                await reranker.rerank("words", [], deadline=began + 10)
            slow += number >= 100 and clock.monotonic() - began > 0.5
        assert slow <= 3
        assert guard.breaker_state == "closed"
        assert guard.in_flight == 0

    run(main())
