"""Whole questions with a price: reserved, settled, on the receipt, in the report."""

from contextlib import aclosing
from random import Random

import pytest

from ragstone.domain.answer import Delta
from ragstone.domain.budget import Amount, Spender, Standing
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import BudgetExhausted, ModelTimedOut, ModelUnreachable
from ragstone.domain.usage import Usage
from ragstone.governance.ledger import UsageLedger
from ragstone.governance.prices import FREE, Price, PriceBook, Rate
from ragstone.models.llms.fake import ScriptedModel
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.model_route import GuardedRoute
from ragstone.resilience.retry import RetrySettings
from tests.pipeline.world import World

CHEAP = Price(source="test", rates=(Rate(input=1_000_000, cached_input=400_000, output=3_000_000),))
DEAR = Price(source="test", rates=(Rate(input=10_000_000, output=30_000_000),))
EMBEDDING = Price(source="test", rates=(Rate(input=1_000_000),))
USED = Usage(input_tokens=100, cached_input_tokens=50, output_tokens=10)
COST = 50 + 20 + 30


class Purse(UsageLedger):
    """Refuses language models, or all that costs, when told to."""

    stands: Standing = "normal"
    refuses_models = False
    refuses = False
    is_overspent = False

    def __init__(self) -> None:
        super().__init__()
        self.uppers: list[int] = []

    async def standing(self, spender: Spender) -> Standing:
        return self.stands

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        if self.refuses or (model and self.refuses_models):
            raise BudgetExhausted("The budget of the day is used up.")
        self.uppers.append(upper.nanodollars)
        return await super().reserve(spender, upper, model=model)

    def settle(self, reservation, spent, rows) -> None:
        within = spent.nanodollars <= self._open[reservation].nanodollars
        assert within is not self.is_overspent
        super().settle(reservation, spent, rows)

    @property
    def cost(self) -> int:
        return sum(row.nanodollars for row in self.rows)


async def priced(*models: ScriptedModel, embedder: Price | None = None) -> World:
    world = World(models[0] if models else None)
    world.ledger = Purse()
    prices = {"cheap": CHEAP, "dear": DEAR}
    world.prices = PriceBook(models=prices, best="dear", embedder=embedder or FREE)
    if len(models) > 1:
        world.route = GuardedRoute(
            [(model, Dependency(model.name, clock=world.clock)) for model in models],
            clock=world.clock, random=Random(1), retry=RetrySettings(attempts=1, budget=0.0),
        )  # fmt: skip
    await world.put("help")
    return world


def says(name: str = "cheap", **more) -> ScriptedModel:
    words = ["Within 45 days", " of delivery", " [1]."]
    return ScriptedModel(words, clock=SystemClock(), name=name, **{"usage": USED, **more})


async def test_an_answer_has_a_receipt_and_a_kept_one_says_what_it_saved() -> None:
    world = await priced(says())
    _, made = await world.ask()
    assert made.receipt.nanodollars == COST
    [charge] = made.receipt.charges
    assert (charge.kind, charge.model, charge.usage) == ("generation", "cheap", USED)
    routing = 50 * 10 + 50 * 0 + 10 * 30 - COST
    assert made.receipt.saved_nanodollars == {"prompt_cache": 30, "routing": routing}
    _, again = await world.ask()
    assert again.cache == "hit"
    assert again.receipt.nanodollars == 0
    assert again.receipt.charges == []
    assert again.receipt.saved_nanodollars == {"answer_cache": COST}
    assert world.ledger.cost == COST
    assert [(row.questions, row.cached) for row in world.ledger.rows if row.questions] == [
        (1, 0), (1, 1),
    ]  # fmt: skip
    assert len(world.ledger.uppers) == 1


async def test_a_stream_that_is_cut_is_billed_for_what_came() -> None:
    world = await priced(says(usage=None))
    async with aclosing(world.events()) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
    world.assert_nothing_is_held()
    [usage] = [row.usage for row in world.ledger.rows if row.usage != Usage()]
    assert usage.estimated
    assert usage.input_tokens > 50
    assert 0 < usage.output_tokens <= 15
    assert world.ledger.cost == CHEAP.cost(usage)


async def test_a_model_that_does_not_keep_to_its_limit_is_stopped_and_charged_as_it_wrote() -> None:
    words = ("Within 45 days of delivery [1]. ",) * 1_000
    model = ScriptedModel(words, clock=SystemClock(), name="cheap", usage=USED)
    world = await priced(model)
    world.ledger.is_overspent = True
    _, done = await world.ask()
    most = model.prompts[0].max_tokens
    assert done.degraded == ["answer_cut_by_length"]
    assert len(done.answer) < 16 * most + 300
    assert model.closed_early == 1
    [charge] = done.receipt.charges
    assert charge.usage.output_tokens > most


async def test_a_whole_body_beyond_the_limit_is_cut_and_not_replaced() -> None:
    model = ScriptedModel(
        ("Within 45 days of delivery [1]. " * 5_000,), clock=SystemClock(), name="cheap", usage=USED
    )
    world = await priced(model)
    world.ledger.is_overspent = True
    _, done = await world.ask()
    assert done.answer_kind == "generated"
    assert done.degraded == ["answer_cut_by_length"]
    assert 0 < len(done.answer) < 16 * model.prompts[0].max_tokens


async def test_a_model_that_never_began_is_charged_its_prompt_and_the_next_its_answer() -> None:
    world = await priced(says(error=ModelTimedOut("Nothing came.")), says("dear"))
    _, done = await world.ask()
    first, second = done.receipt.charges
    assert (first.model, second.model) == ("cheap", "dear")
    assert first.usage.estimated
    assert first.usage.output_tokens == 0
    assert first.nanodollars > 0
    assert done.receipt.nanodollars == first.nanodollars + second.nanodollars == world.ledger.cost
    assert "routing" not in done.receipt.saved_nanodollars


async def test_a_model_that_was_not_reached_costs_nothing() -> None:
    world = await priced(says(error=ModelUnreachable("Gone.")), says("dear"))
    _, done = await world.ask()
    assert [charge.model for charge in done.receipt.charges] == ["dear"]
    assert len(world.ledger.uppers) == 2


async def test_a_spent_budget_leaves_an_extract_labelled() -> None:
    world = await priced(says())
    world.ledger.refuses_models = True
    _, done = await world.ask()
    assert done.answer_kind == "extractive"
    assert "extractive_answer" in done.degraded
    assert done.notices[0].code == "budget_exhausted"
    assert done.receipt.nanodollars == world.ledger.cost == 0
    assert 'rag_budget_refusals_total{scope="tenant"} 1.0' in world.metrics.render().decode()


async def test_an_embedder_that_costs_is_on_the_receipt_and_words_stand_in_for_it() -> None:
    world = await priced(says(), embedder=EMBEDDING)
    _, done = await world.ask()
    assert [charge.kind for charge in done.receipt.charges] == ["embedding", "generation"]
    assert done.receipt.nanodollars == world.ledger.cost
    world.ledger.refuses = True
    _, poor = await world.ask("When can I return what I bought at full price?")
    assert {"lexical_only", "extractive_answer"} <= set(poor.degraded)
    assert poor.receipt.nanodollars == 0


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_question_without_a_model_reserves_nothing(streamed: bool) -> None:
    world = await priced()
    _, done = await world.ask(streamed=streamed)
    assert done.receipt.charges == []
    assert world.ledger.uppers == []
    assert [row.questions for row in world.ledger.rows] == [1]
