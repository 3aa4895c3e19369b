"""Which model of a route answers, as the response and the bill tell it: as the budgets stand, and
where a first answer was not good enough."""

from dataclasses import replace
from random import Random

import pytest

from ragstone.apps import ASSISTANT
from ragstone.domain.budget import Amount, Spender, Standing
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import BudgetExhausted, ModelUnreachable
from ragstone.domain.usage import Usage
from ragstone.governance.ledger import UsageLedger
from ragstone.governance.prices import Price, PriceBook, Rate
from ragstone.models.llms.fake import ScriptedModel
from ragstone.pipeline.escalate import Escalation
from ragstone.ports import Clock, ModelOffer
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.model_route import GuardedRoute
from ragstone.resilience.retry import RetrySettings
from tests.pipeline import world as worlds
from tests.pipeline.world import World
from tests.virtual_loop import run, running_clock

USED = Usage(input_tokens=100, output_tokens=10)
PRICES = {"cheap": (1_000_000, 2_000_000), "dear": (10_000_000, 30_000_000)}
QUALITY = {"cheap": 1, "dear": 2}
COST = {"cheap": 120, "dear": 1_300}
ANSWERED = "Forty-five days [1]."
UNCITED = "Forty-five days, as everybody knows."


class Purse(UsageLedger):
    """Stands as it is told to; None: above a hard limit."""

    stands: Standing | None = "normal"

    async def standing(self, spender: Spender) -> Standing:
        if self.stands is None:
            raise BudgetExhausted("The budget of $2 a day is used up.", retry_after=60.0)
        return self.stands

    most: float = float("inf")
    """Nano-dollars that it reserves at once."""

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        if upper.nanodollars > self.most:
            raise BudgetExhausted("The budget of $2 a day has too little left.")
        return await super().reserve(spender, upper, model=model)

    def cost(self) -> int:
        return sum(row.nanodollars for row in self.rows)


def says(name: str, *words: str, **more: object) -> ScriptedModel:
    options = {"usage": USED, "clock": SystemClock(), **more}
    return ScriptedModel(words or (ANSWERED,), name=name, **options)  # type: ignore[arg-type]


async def routed(
    *models: ScriptedModel, stands: Standing | None = "normal", clock: Clock | None = None
) -> World:
    """A world whose route has these models, in this order."""
    world = World(clock=clock)
    world.ledger = Purse()
    world.ledger.stands = stands
    rates = {name: Rate(input=i, output=o) for name, (i, o) in PRICES.items()}
    world.prices = PriceBook(
        models={name: Price(source="test", rates=(rate,)) for name, rate in rates.items()},
        best="dear",
        regions={"cheap": "eu", "dear": "us"},
    )
    world.route = GuardedRoute(
        [(model, Dependency(model.name, clock=world.clock)) for model in models],
        clock=world.clock,
        random=Random(1),
        retry=RetrySettings(attempts=1, budget=0.0),
        offers=[
            ModelOffer(
                name=model.name, quality=QUALITY[model.name], region="",
                input_price=PRICES[model.name][0], output_price=PRICES[model.name][1],
            )
            for model in models
        ],
    )  # fmt: skip
    await world.put("help")
    return world


@pytest.fixture
def escalating(monkeypatch: pytest.MonkeyPatch):
    def when(escalation: Escalation) -> None:
        monkeypatch.setattr(worlds, "RECIPE", replace(worlds.RECIPE, escalation=escalation))

    return when


# Budgets


async def test_while_there_is_money_the_first_model_answers_whatever_it_costs() -> None:
    dear, cheap = says("dear"), says("cheap")
    world = await routed(dear, cheap)
    _, done = await world.ask()
    assert (done.model, done.degraded) == ("dear", [])
    assert done.receipt.standing == "normal"
    assert (done.receipt.nanodollars, world.ledger.cost()) == (COST["dear"], COST["dear"])
    assert cheap.prompts == []


async def test_in_economy_the_cheapest_answers_and_the_answer_says_so() -> None:
    dear, cheap = says("dear"), says("cheap")
    world = await routed(dear, cheap, stands="economy")
    _, done = await world.ask()
    assert (done.model, done.degraded) == ("cheap", ["economy_model"])
    assert done.receipt.standing == "economy"
    assert done.receipt.saved_nanodollars == {"routing": COST["dear"] - COST["cheap"]}
    assert world.ledger.cost() == COST["cheap"]
    assert dear.prompts == []


async def test_in_economy_a_cheap_model_that_fails_is_still_replaced() -> None:
    world = await routed(says("dear"), says("cheap", error=ModelUnreachable("Gone.")))
    world.ledger.stands = "economy"
    _, done = await world.ask()
    assert (done.model, done.degraded) == ("dear", [])  # the route's own: nothing was left out


async def test_a_route_that_begins_with_the_cheapest_has_nothing_to_say_in_economy() -> None:
    world = await routed(says("cheap"), says("dear"), stands="economy")
    _, done = await world.ask()
    assert (done.model, done.degraded) == ("cheap", [])


async def test_in_economy_nothing_escalates(escalating) -> None:
    escalating("unsupported")
    dear = says("dear")
    world = await routed(says("cheap", ASSISTANT.not_found), dear, stands="economy")
    _, done = await world.ask()
    assert (done.model, done.answer_kind) == ("cheap", "not_found")
    assert dear.prompts == []


async def test_a_model_that_the_budget_has_too_little_for_is_passed_over_and_that_is_why() -> None:
    dear, cheap = says("dear"), says("cheap")
    world = await routed(dear, cheap)
    world.ledger.most = 3 * COST["dear"]  # between the bounds of the two
    _, done = await world.ask()
    assert (done.model, done.degraded) == ("cheap", ["economy_model"])
    assert dear.prompts == []


async def test_where_no_models_bound_fits_the_receipt_says_that_the_budget_is_spent() -> None:
    world = await routed(says("dear"), says("cheap"))
    world.ledger.most = 1
    _, done = await world.ask()
    assert (done.answer_kind, done.receipt.standing) == ("extractive", "exhausted")


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_spent_budget_asks_no_model_and_the_extract_is_labelled(streamed: bool) -> None:
    models = says("dear"), says("cheap")
    world = await routed(*models, stands="exhausted")
    _, done = await world.ask(streamed=streamed)
    assert (done.answer_kind, done.degraded) == ("extractive", ["extractive_answer"])
    assert [notice.code for notice in done.notices] == ["budget_exhausted"]
    assert done.citations
    assert done.receipt.standing == "exhausted"
    assert done.receipt.nanodollars == world.ledger.cost() == 0
    assert [model.prompts for model in models] == [[], []]


async def test_what_is_kept_is_told_when_the_budget_is_spent() -> None:
    dear = says("dear")
    world = await routed(dear)
    _, made = await world.ask()
    world.ledger.stands = "exhausted"
    _, done = await world.ask()
    assert (done.cache, done.answer, done.degraded) == ("hit", made.answer, [])
    assert len(dear.prompts) == 1


async def test_an_answer_of_a_spent_budget_is_not_kept_for_better_days() -> None:
    world = await routed(says("dear"), stands="exhausted")
    await world.ask()
    world.ledger.stands = "normal"
    _, done = await world.ask()
    assert (done.cache, done.model) == ("miss", "dear")


@pytest.mark.parametrize("streamed", [True, False])
async def test_above_the_hard_limit_the_request_is_refused(streamed: bool) -> None:
    dear = says("dear")
    world = await routed(dear, stands=None)
    with pytest.raises(BudgetExhausted) as refused:
        await world.ask(streamed=streamed)
    assert refused.value.code == "budget_exhausted"
    assert refused.value.retry_after == 60.0
    assert (dear.prompts, world.ledger.rows) == ([], [])
    world.assert_nothing_is_held()
    assert 'rag_budget_refusals_total{scope="tenant"} 1.0' in world.metrics.render().decode()


# Escalation


@pytest.mark.parametrize(
    ("when", "first"), [("abstained", ASSISTANT.not_found), ("unsupported", UNCITED)]
)
async def test_an_answer_that_does_not_suffice_is_replaced_unseen_and_both_are_billed(
    escalating, when: Escalation, first: str
) -> None:
    escalating(when)
    cheap, dear = says("cheap", *first.partition(" ")), says("dear")
    world = await routed(cheap, dear)
    deltas, done = await world.ask()
    assert "".join(deltas) == done.answer == ANSWERED
    assert (done.model, done.answer_kind, done.degraded) == ("dear", "generated", [])
    assert done.receipt.escalated_from == "cheap"
    charged = [(charge.model, charge.region) for charge in done.receipt.charges]
    assert charged == [("cheap", "eu"), ("dear", "us")]
    assert done.receipt.nanodollars == world.ledger.cost() == COST["cheap"] + COST["dear"]
    assert "routing" not in done.receipt.saved_nanodollars  # it cost more than the best alone
    assert (await world.ask())[1].cache == "hit"
    assert (len(cheap.prompts), len(dear.prompts)) == (1, 1)


def test_a_better_model_has_the_time_that_a_generation_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not only what the first one has left of it."""
    recipe = replace(worlds.RECIPE, escalation="unsupported", model_seconds=20.0)
    monkeypatch.setattr(worlds, "RECIPE", recipe)

    async def scenario() -> None:
        slow = {"clock": running_clock(), "first_delay": 1.0, "delay": 12.0}
        world = await routed(
            says("cheap", *UNCITED.partition(" ")[::2], **slow),
            says("dear", *ANSWERED.partition(" ")[::2], **slow),
            clock=running_clock(),
        )
        _, done = await world.ask(seconds=60.0)
        assert (done.model, done.degraded) == ("dear", [])

    run(scenario())


async def test_an_answer_that_suffices_is_the_cheap_ones(escalating) -> None:
    escalating("unsupported")
    dear = says("dear")
    world = await routed(says("cheap"), dear)
    _, done = await world.ask()
    assert (done.model, done.receipt.escalated_from) == ("cheap", None)
    assert done.receipt.saved_nanodollars == {"routing": COST["dear"] - COST["cheap"]}
    assert dear.prompts == []


async def test_a_better_model_that_is_not_there_leaves_the_first_answer(escalating) -> None:
    escalating("abstained")
    world = await routed(
        says("cheap", ASSISTANT.not_found), says("dear", error=ModelUnreachable("Gone."))
    )
    _, done = await world.ask()
    assert (done.model, done.answer_kind) == ("cheap", "not_found")
    assert done.receipt.nanodollars == world.ledger.cost() == COST["cheap"]
