"""CPU that the resilience layer adds to a question when nothing is wrong and nobody waits.

Each part is timed with its port behind the guard and without it; the difference is the guard's.
The parts are wired as `assembly` wires them, metrics included; embedder, index and model answer
at once, the model with one delta.

    flock /tmp/bench.lock python benchmarks/resilience_cost.py [--questions 4000]
"""

import argparse
import gc
import math
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import uvloop

from ragstone.assembly.admission import open_admission
from ragstone.assembly.guards import Guards
from ragstone.domain.clock import SystemClock
from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.passage import SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.observe.metrics import Metrics
from ragstone.ports import Finished, Prompt, TextDelta
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LadderPolicy, LoadLadder
from ragstone.resilience.model_route import GuardedRoute
from ragstone.settings import Settings

TARGET_US: Final = 60.0
ROUNDS: Final = 9
STAGES: Final = 8
"""Deadline checks of a question."""

_WHO: Final = Principal(tenant="acme")
_SEARCH: Final = SearchRequest(collection="default", text="words", vector=None, limit=5)
_PROMPT: Final = Prompt(system="", messages=[], max_tokens=16)

Step = Callable[[], Awaitable[None]]


class FreeParts:
    """Embedder, index and model that cost nothing."""

    identity = EmbedderIdentity(name="free", dimensions=1)
    name = "free"
    _found = SearchResult(passages=[])
    _delta = TextDelta("words")
    _end = Finished(usage=None, reason="stop")

    async def embed_query(self, text: str) -> list[float]:
        return [1.0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    def count_tokens(self, text: str) -> int:
        return 1

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        return self._found

    async def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        yield self._delta
        yield self._end

    async def close(self) -> None: ...


async def _nothing() -> None: ...


async def _asked(model: str) -> None: ...


def own_parts() -> dict[str, tuple[Step, Step]]:
    """By name: the step with the layer, and the same without."""
    settings, clock = Settings(), SystemClock()
    admission = open_admission(settings, clock)
    ladder = LoadLadder(LadderPolicy(), clock)

    async def admitted() -> None:
        at = clock.monotonic() + 60
        admission.check(_WHO, priority="standard", weight=1, deadline=at)
        async with admission.admit(_WHO, priority="standard", weight=1, deadline=at) as permit:
            permit.free_slot()

    async def deadline() -> None:
        limit = Deadline(clock, 60.0)
        for _ in range(STAGES):
            limit.check("stage")

    async def rungs() -> None:
        ladder.observe_wait(0.0, "standard")
        ladder.takes("reranker_skipped", "standard")
        ladder.takes("fewer_passages", "standard")
        ladder.takes("shorter_answer", "standard")
        ladder.takes("extractive_answer", "standard")
        ladder.takes("passages_only", "standard")
        ladder.observe_first_token(0.1, "standard")
        ladder.joining_pause()

    return {
        "admission": (admitted, _nothing),
        "deadline": (deadline, _nothing),
        "ladder": (rungs, _nothing),
    }


def guarded_parts() -> dict[str, tuple[Step, Step]]:
    """By name: the step with the layer, and the same without."""
    settings, clock, free = Settings(), SystemClock(), FreeParts()
    guards = Guards(settings, clock, Metrics())
    embedder, index = guards.embedder(free), guards.index(free)
    route = GuardedRoute(
        [(free, guards.model(0))],
        clock=clock,
        random=guards.random,
        retry=guards.retry,
        observer=guards.observer,
    )

    async def guarded_embed() -> None:
        await embedder.embed_query("words")

    async def bare_embed() -> None:
        await free.embed_query("words")

    async def guarded_search() -> None:
        await index.search(_WHO, _SEARCH)

    async def bare_search() -> None:
        await free.search(_WHO, _SEARCH)

    async def routed() -> None:
        at = clock.monotonic() + 60
        events = route.stream(
            _PROMPT, tenant="acme", priority="standard", deadline=at, on_asked=_asked
        )
        async with aclosing(events):
            async for _ in events:
                pass

    async def direct() -> None:
        at = clock.monotonic() + 60
        events = free.stream(_PROMPT, deadline=at)
        async with aclosing(events):
            async for _ in events:
                pass

    return {
        "embedder": (guarded_embed, bare_embed),
        "index": (guarded_search, bare_search),
        "model": (routed, direct),
    }


async def _cost(step: Step, count: int) -> float:
    """Microseconds of CPU a call."""
    began = time.process_time()
    for _ in range(count):
        await step()
    return (time.process_time() - began) / count * 1e6


async def measure(count: int) -> float:
    """Prints the parts; the sum of their medians in microseconds."""
    total = 0.0
    for name, (guarded, bare) in {**own_parts(), **guarded_parts()}.items():
        await _cost(guarded, count)
        differences = [
            await _cost(guarded, count) - await _cost(bare, count) for _ in range(ROUNDS)
        ]
        median = statistics.median(differences)
        total += median
        print(f"{name:10} {median:6.1f} us (best {min(differences):.1f})")
    print(f"{'in all':10} {total:6.1f} us (target {TARGET_US:g})")
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--questions", type=int, default=4000)
    arguments = parser.parse_args()
    gc.freeze()
    total = uvloop.run(measure(arguments.questions))
    if not math.isfinite(total) or total > TARGET_US:
        raise SystemExit(f"{total:.1f} us is above the target of {TARGET_US:g} us")


if __name__ == "__main__":
    main()
