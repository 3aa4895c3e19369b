"""More is asked than can be held: of everybody, by the sheddable, by one tenant, by retries."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from ragstone.lab.chaos.driver import after, at_rate, together
from ragstone.lab.chaos.inspection import resident_bytes
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios.model import QUICK_MODEL, good_share
from ragstone.lab.chaos.site import Site
from ragstone.lab.chaos.transcript import Ask, Transcript
from ragstone.lab.chaos.verdict import at_least, at_most, percentile

_SLOTS: Final = 24
_EMBED_SECONDS: Final = 0.3
_THEORY: Final = _SLOTS / _EMBED_SECONDS
"""Questions a second: what the slots hold when each is taken by an embedding alone. Own work
that waits instead of computing, so that the capacity is known and the machine is not the limit."""

_DEADLINE_MS: Final = 10_000
_SERVICES: Final[dict[str, dict[str, Any]]] = {
    "llm": {**QUICK_MODEL, "first_token_seconds": 0.02, "token_seconds": 0},
    "embedder": {"first_token_seconds": _EMBED_SECONDS},
}
_SETTINGS: Final = {"admission": {"concurrency": _SLOTS}}


async def beyond_capacity(bench: Bench) -> None:
    seconds = bench.seconds(10, 2.5)
    async with bench.site(services=_SERVICES, settings=_SETTINGS) as site:
        ask = site.asking(deadline_ms=_DEADLINE_MS)
        await site.driver.load(at_rate(_THEORY / 2, 1.5, ask))
        goodput: dict[float, float] = {}
        refusals: list[Transcript] = []
        first_text: dict[float, float] = {}
        for times in (0.8, 1.0, 2.0, 10.0) if bench.quick else (0.8, 1.0, 2.0, 5.0, 10.0):
            before = resident_bytes(site.server.pid)
            got = await site.driver.load(at_rate(_THEORY * times, seconds, ask))
            goodput[times] = _goodput(got)
            first_text[times] = percentile([t.first_text or 0 for t in got if t.good], 0.5)
            if times >= 2:
                refusals += [t for t in got if t.refused]
            await asyncio.sleep(1.0)
        peak = max(goodput.values())
        bench.expect(
            at_least("capacity", peak, 0.5 * _THEORY, "answers/s"),
            at_least("goodput at 2x", goodput[2.0] / peak, 0.95, "of peak"),
            at_least("goodput at 10x", goodput[10.0] / peak, 0.90, "of peak"),
            at_least("refusals", len(refusals), 1),
            at_most(
                "refusal p99", 1000 * percentile([t.seconds for t in refusals], 0.99), 50, "ms"
            ),
            at_most(
                "time to first text at 10x",
                first_text[10.0] / max(0.001, first_text[0.8]),
                1.5,
                "of that at 0.8x",
            ),
            at_most(
                "memory grown by 10x", (resident_bytes(site.server.pid) - before) / 1e6, 60, "MB"
            ),
        )


async def sheddable_spike(bench: Bench) -> None:
    seconds = bench.seconds(20, 4)
    async with bench.site(services=_SERVICES, settings=_SETTINGS) as site:
        keys = {p: await site.make_key("acme", p) for p in ("critical", "sheddable")}

        def of(priority: str) -> Any:
            return site.asking(key=keys[priority], group=priority, deadline_ms=_DEADLINE_MS)

        steady = _THEORY * 0.4
        got = await site.driver.load(
            together(
                at_rate(steady / 2, seconds, of("critical")),
                at_rate(steady / 2, seconds, of("sheddable")),
                after(seconds / 4, at_rate(12 * steady / 2, seconds / 2, of("sheddable"))),
            )
        )
        critical, sheddable = (
            [t for t in got if t.ask.group == group] for group in ("critical", "sheddable")
        )
        bench.expect(
            at_least("critical traffic that was good", good_share(critical), 0.994),
            at_least("sheddable traffic that was refused", sum(t.refused for t in sheddable), 1),
        )


async def flooding_tenant(bench: Bench) -> None:
    seconds = bench.seconds(20, 4)
    async with bench.site(services=_SERVICES, settings=_SETTINGS) as site:
        quiet = site.asking("acme", deadline_ms=_DEADLINE_MS)
        flood = site.asking("globex", deadline_ms=_DEADLINE_MS)
        rate = _THEORY * 0.15  # below the share that a tenant has while others wait
        await site.driver.load(at_rate(_THEORY, seconds, quiet))  # slots are learned
        alone = await site.driver.load(at_rate(rate, seconds, quiet))
        got = await site.driver.load(
            together(at_rate(rate, seconds, quiet), at_rate(5 * _THEORY, seconds, flood))
        )
        beside = [t for t in got if t.ask.tenant == "acme"]
        flooding = [t for t in got if t.ask.tenant == "globex"]
        bench.expect(
            at_least("good answers of the quiet tenant", good_share(beside), 0.99),
            at_most("p99 of the quiet tenant", _p99(beside) / _p99(alone), 1.2, "of that alone"),
            at_least("goodput of the flooding one", _goodput(flooding), 0.3 * _THEORY, "/s"),
        )


async def retrying_clients(bench: Bench) -> None:
    services = {"llm": {**QUICK_MODEL, "faults": [{"kind": "error", "share": 0.5}]}}
    async with bench.site(services=services) as site:
        ask = site.asking()
        table = at_rate(20, bench.seconds(20, 5), ask)
        tasks = []
        start = site.driver.now()
        for offset, one in table:
            await asyncio.sleep(max(0.0, start + offset - site.driver.now()))
            tasks.append(asyncio.create_task(_insisting(site, one)))
        await asyncio.gather(*tasks)
        sent = len(site.driver.transcripts)
        made = int((await site.llm.stats())["requests"])
        bench.expect(
            at_least("requests", sent, len(table)),
            at_most("calls of the model for each request", made / sent, 1.1),
        )


async def _insisting(site: Site, ask: Ask) -> None:
    """A client that tries up to three times more until a model has written its answer."""
    for _ in range(4):
        got = await site.driver.ask(ask)
        if got.answer is not None and got.answer["answer_kind"] == "generated":
            return


def _goodput(transcripts: Sequence[Transcript]) -> float:
    """Good answers a second, over the time in which they were asked for."""
    times = [t.scheduled for t in transcripts]
    return sum(t.good for t in transcripts) / max(0.001, max(times) - min(times))


def _p99(transcripts: Sequence[Transcript]) -> float:
    return percentile([t.seconds for t in transcripts if t.good], 0.99)


SCENARIOS: Final = (
    Scenario(
        name="overload",
        faults=(1,),
        does="Offered load of 0.8, 1, 2, 5 and 10 times what the slots hold.",
        expects="Goodput >= 95 % of peak at 2x, >= 90 % at 10x; refusals within 50 ms.",
        run=beyond_capacity,
        quick=True,
    ),
    Scenario(
        name="sheddable-spike",
        faults=(2,),
        does="A 12x spike of sheddable traffic beside critical traffic.",
        expects=">= 99.4 % of the critical traffic is good.",
        run=sheddable_spike,
        quick=True,
    ),
    Scenario(
        name="flooding-tenant",
        faults=(3,),
        does="One tenant asks five times what all slots hold, another one a seventh.",
        expects="The other's p99 is unchanged within 20 %.",
        run=flooding_tenant,
        quick=True,
    ),
    Scenario(
        name="retrying-clients",
        faults=(5,),
        does="Half of the model's calls fail, and every client tries three times more.",
        expects="Calls / requests at the model <= 1.1.",
        run=retrying_clients,
        quick=True,
    ),
)
