"""The model stalls, becomes slow, or is as slow as the timeout."""

import asyncio
from collections.abc import Sequence
from typing import Final

from ragstone.lab.chaos.driver import at_rate
from ragstone.lab.chaos.inspection import metric_total
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios.model import QUICK_MODEL, share
from ragstone.lab.chaos.site import Site
from ragstone.lab.chaos.transcript import Transcript
from ragstone.lab.chaos.verdict import at_least, at_most, percentile

_RATE: Final = 15.0


async def stall_and_heal(bench: Bench) -> None:
    stalled = bench.seconds(60, 4)
    settings = {"llm": {"first_token_seconds": 1}} if bench.quick else {}
    before, heal = bench.seconds(10, 2), bench.seconds(45, 9)
    async with bench.site(services={"llm": QUICK_MODEL}, settings=settings) as site:
        table = at_rate(_RATE, before + stalled + heal, site.asking())
        start = site.driver.now()
        loading = asyncio.create_task(site.driver.load(table))
        await asyncio.sleep(before)
        await site.llm.switch(frozen_seconds=stalled)
        got = await loading
        healed_at = start + before + stalled
        normal = _generated([t for t in got if t.scheduled < start + before - 0.5])
        bound = bench.seconds(30, 8)
        recovered = _recovered(got, healed_at, 0.95 * normal)
        last = [t for t in got if t.scheduled > healed_at + bound]
        during = [t for t in got if start + before < t.scheduled < healed_at]
        bench.expect(
            at_least("generated before", normal, 0.99, "of what was asked"),
            at_most("time to normal after healing", recovered, bound, "s"),
            at_least("generated at the end", _generated(last), 0.95 * normal, "of what was asked"),
            at_least(
                "answered during the stall",
                share(sum(t.answer is not None or t.refused for t in during), len(during)),
                0.5,
                "of what was asked",
            ),
        )


async def at_the_timeout(bench: Bench) -> None:
    limit = bench.seconds(2, 0.5)
    slow = {**QUICK_MODEL, "first_token_seconds": {"median": limit, "sigma": 0.05}}
    async with bench.site(
        services={"llm": QUICK_MODEL}, settings={"llm": {"first_token_seconds": limit}}
    ) as site:
        ask = site.asking()
        await site.driver.load(at_rate(_RATE, 2, ask))
        begun = await _limit(site)
        await site.llm.switch(**slow)
        loading = asyncio.create_task(site.driver.load(at_rate(_RATE, bench.seconds(60, 8), ask)))
        seen = await _watched(site, loading)
        half = seen[len(seen) // 2 :]
        bench.expect(
            at_most("limit at the end", seen[-1], 4),
            at_most("highest limit in the second half", max(half), max(4, min(half) + 2)),
            at_most("highest limit", max(seen), begun),
        )


async def slow_for_good(bench: Bench) -> None:
    places, fast, seconds = 16, 0.1, bench.seconds(40, 8)
    model = {"tokens": 8, "places": places, "first_token_seconds": fast}
    async with bench.site(services={"llm": model}) as site:
        ask = site.asking()
        loading = asyncio.create_task(site.driver.load(at_rate(40, 2 * seconds, ask)))
        early = await _watched(site, loading, seconds)
        await site.llm.switch(first_token_seconds=3 * fast)
        late = await _watched(site, loading)
        got = loading.result()
        half = late[len(late) // 2 :]
        start = min(t.scheduled for t in got)
        third = [t for t in got if t.scheduled > start + 1.5 * seconds]
        waited = [t.first_text for t in third if t.first_text is not None]
        bench.expect(
            at_least("limit before", percentile(early, 0.5), 4),
            at_most("swing of the limit at the end", (max(half) - min(half)) / max(half), 0.5),
            at_least("generated at the end", _generated(third), 0.9, "of what was asked"),
            at_most("first text at the end, median", percentile(waited, 0.5), 9 * fast, "s"),
        )


async def _watched(
    site: Site, loading: "asyncio.Task[list[Transcript]]", seconds: float = 1e9
) -> list[float]:
    """The limit five times a second, until the load or the time ends."""
    end = site.driver.now() + seconds
    seen = [await _limit(site)]
    while not loading.done() and site.driver.now() < end:
        await asyncio.sleep(0.2)
        seen.append(await _limit(site))
    return seen


async def _limit(site: Site) -> float:
    return metric_total(await site.metrics(), "rag_concurrency_limit", 'dependency="model"')


def _generated(transcripts: Sequence[Transcript]) -> float:
    """The share that a model wrote."""
    written = [t for t in transcripts if t.answer and t.answer["answer_kind"] == "generated"]
    return share(len(written), len(transcripts))


def _recovered(transcripts: Sequence[Transcript], healed: float, normal: float) -> float:
    """Seconds from healing until every later second was normal."""
    end = max(t.scheduled for t in transcripts)
    recovered = 0.0
    second = 0
    while healed + second + 1 <= end:
        asked = [t for t in transcripts if second <= t.scheduled - healed < second + 1]
        if _generated(asked) < normal:
            recovered = second + 1.0
        second += 1
    return recovered


SCENARIOS: Final = (
    Scenario(
        name="model-stall",
        faults=(4,),
        does="The model sends nothing for 60 s, then heals.",
        expects="Normal goodput within 30 s of healing.",
        run=stall_and_heal,
        quick=True,
    ),
    Scenario(
        name="model-at-the-timeout",
        faults=(6,),
        does="The model's time to the first token is the limit for it, give or take 5 %.",
        expects="The concurrency limit falls to its minimum and does not climb.",
        run=at_the_timeout,
    ),
    Scenario(
        name="model-slower-for-good",
        faults=(7,),
        does="The model's time to the first token triples and stays so.",
        expects="The concurrency limit finds a new level without swinging.",
        run=slow_for_good,
    ),
)
