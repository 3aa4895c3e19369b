"""Clients that leave."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ragstone.lab.chaos.driver import at_rate
from ragstone.lab.chaos.inspection import metric_total
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios.model import good_share, kinds
from ragstone.lab.chaos.transcript import Ask
from ragstone.lab.chaos.verdict import among, at_least, at_most, equal

_SLOW_MODEL: Final = {"first_token_seconds": 0.1, "token_seconds": 0.05, "tokens": 30}


async def half_leave(bench: Bench) -> None:
    async with bench.site(services={"llm": _SLOW_MODEL}) as site:
        asking = site.asking()

        def ask(number: int) -> Ask:
            return replace(asking(number), leave_after_deltas=3 if number % 2 else None)

        got = await site.driver.load(at_rate(20, bench.seconds(30, 3), ask))
        left = [t for t in got if t.end == "left"]
        stayed = [t for t in got if t.ask.leave_after_deltas is None]
        outcomes = (await site.llm.stats())["outcomes"]
        page = await site.metrics()
        bench.expect(
            at_least("clients that left", len(left), len(got) // 2),
            at_least("good answers of those who stayed", good_share(stayed), 1.0),
            among("kinds of their answers", kinds(stayed), ["generated"]),
            at_least("calls that were closed upstream", outcomes.get("left", 0), len(left)),
            equal("breaker", metric_total(page, "rag_breaker_state", 'dependency="model"'), 0.0),
        )


async def churn_of_a_full_pool(bench: Bench) -> None:
    settings = {
        "llm": {"max_connections": 8},
        "resilience": {"min_concurrency": 4, "initial_concurrency": 8},
    }
    async with bench.site(services={"llm": _SLOW_MODEL}, settings=settings) as site:
        await site.driver.load(
            at_rate(60, bench.seconds(30, 3), _leaving(site.asking(), (0.02, 0.08, 0.15, 0.3)))
        )
        got = await site.driver.load(at_rate(3, bench.seconds(10, 3), site.asking()))
        bench.expect(
            at_least("good answers afterwards", good_share(got), 1.0),
            among("their kinds", kinds(got), ["generated"]),
            at_most("slowest of them", max(t.seconds for t in got), 5, "s"),
        )


def _leaving(asking: Callable[[int], Ask], seconds: tuple[float, ...]) -> Callable[[int], Ask]:
    """Everybody leaves, after one of the times in turn."""
    return lambda number: replace(
        asking(number), leave_after_seconds=seconds[number % len(seconds)]
    )


SCENARIOS: Final = (
    Scenario(
        name="half-of-the-clients-leave",
        faults=(22,),
        does="Every second client closes its connection after three deltas.",
        expects="Calls are closed upstream; nothing is left behind; the breaker is unmoved.",
        run=half_leave,
        quick=True,
    ),
    Scenario(
        name="churn-of-a-full-pool",
        faults=(23,),
        does="Everybody leaves early while all eight connections to the model are taken.",
        expects="Afterwards all questions are answered by the model.",
        run=churn_of_a_full_pool,
        quick=True,
    ),
)
