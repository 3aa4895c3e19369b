"""The bill of a question: every attempt reserved before, settled once, however it ends."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.caches.embeddings import CachedEmbedder
from ragstone.caches.memory import MemoryCache
from ragstone.domain.budget import Amount, Spender, Standing, UsageRow
from ragstone.domain.errors import (
    BudgetExhausted,
    ModelProtocolError,
    ModelRateLimited,
    ModelTimedOut,
    ModelUnreachable,
    TokensRateLimited,
)
from ragstone.domain.principal import Principal
from ragstone.domain.quota import TokensTaken
from ragstone.domain.usage import Usage
from ragstone.governance.prices import FREE, Price, PriceBook, Rate
from ragstone.governance.token_bound import most_input
from ragstone.governance.token_estimate import TokenEstimates, about_tokens
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.billed import billed_embedder, billed_reranker
from ragstone.pipeline.settle import Bill, settled
from ragstone.pipeline.usage_rows import usage_rows
from ragstone.ports import Prompt, PromptMessage
from tests.clock import VirtualClock

ANN = Principal(tenant="acme", user="ann")
PAYER = Spender(tenant="acme", key_id="k1", user="ann", application="assistant")
BEN = Spender(tenant="acme", key_id="k2", user="ben", application="assistant")
PROMPT = Prompt(system="Be brief.", messages=[PromptMessage("user", "How long?")], max_tokens=50)
CHEAP = Price(source="test", rates=(Rate(input=1_000_000, cached_input=500_000, output=2_000_000),))
DEAR = Price(source="test", rates=(Rate(input=9_000_000, cached_input=500_000, output=9_000_000),))
EMBEDDING = Price(source="test", rates=(Rate(input=1_000_000),))
RERANKING = Price(source="test", rates=(Rate(),), call=7)
BOOK = PriceBook(
    models={"cheap": CHEAP, "dear": DEAR}, best="dear", embedder=EMBEDDING, reranker=RERANKING
)
UNCOUNTED = TokenEstimates().of("cheap", PROMPT, "")
USED = Usage(input_tokens=20, cached_input_tokens=10, output_tokens=5)


class Till:
    """A ledger that holds what it is told to hold, and refuses when it is told to."""

    def __init__(self) -> None:
        self.open: dict[str, Amount] = {}
        self.settled: list[tuple[str, Amount]] = []
        self.rows: list[UsageRow] = []
        self.models: list[bool] = []
        self.joined: list[tuple[str, Spender]] = []
        self.refuses = False
        self.joins = True
        self.stands: Standing = "normal"

    @property
    def open_reservations(self) -> int:
        return len(self.open)

    async def standing(self, spender: Spender) -> Standing:
        if self.refuses:
            raise BudgetExhausted("All is spent.")
        return self.stands

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        await asyncio.sleep(0)
        if self.refuses:
            raise BudgetExhausted("All is spent.")
        name = f"res_{len(self.models)}"
        self.models.append(model)
        self.open[name] = upper
        return name

    async def join(self, reservation: str, spender: Spender) -> bool:
        await asyncio.sleep(0)
        if self.joins and reservation in self.open:
            self.joined.append((reservation, spender))
            return True
        return False

    def settle(self, reservation: str, spent: Amount, rows: Sequence[UsageRow]) -> None:
        upper = self.open.pop(reservation)  # a KeyError is a second settlement
        assert spent.nanodollars <= upper.nanodollars
        assert spent.tokens <= upper.tokens
        self.settled.append((reservation, spent))
        self.rows.extend(rows)

    def record(self, rows: Sequence[UsageRow]) -> None:
        self.rows.extend(rows)

    async def close(self) -> None:
        """Nothing is held elsewhere."""


class Minute:
    """Quotas that count what was taken and not yet corrected."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.corrected: list[tuple[int, int]] = []
        self.refuses = False

    def check_request(self, principal: Principal) -> None:
        """Not asked here."""

    def take_tokens(self, principal: Principal, tokens: int) -> TokensTaken | None:
        if self.refuses:
            raise TokensRateLimited("Too many tokens.")
        self.taken.append(tokens)
        return TokensTaken(tokens, ())

    def correct_tokens(self, taken: TokensTaken, used: int) -> None:
        self.corrected.append((taken.tokens, used))

    def standing(self, principal: Principal) -> None:
        """Nobody asks."""


def opened(till: Till, metrics: Metrics | None = None, quotas: Minute | None = None):
    return settled(Bill(ANN, PAYER, till, BOOK, quotas, metrics or Metrics()))


def questions(till: Till) -> list[tuple[str, int, int]]:
    return [(row.model, row.questions, row.cached) for row in till.rows if row.questions]


async def test_an_attempt_is_reserved_at_its_upper_bound_and_settled_at_its_cost() -> None:
    till, metrics = Till(), Metrics()
    async with opened(till, metrics) as bill:
        await bill.asked("cheap", PROMPT)
        upper = Amount(CHEAP.upper_bound(most_input(PROMPT), 50), most_input(PROMPT) + 50)
        assert list(till.open.values()) == [upper]
        bill.spent(USED)
        bill.spent(USED)  # once is enough
        bill.answered("cheap")
        receipt = bill.receipt()
    assert till.settled == [("res_0", Amount(25, 25))]
    assert receipt.nanodollars == 10 + 5 + 10
    [charge] = receipt.charges
    assert (charge.kind, charge.model, charge.usage, charge.price) == (
        "generation", "cheap", USED, "test",
    )  # fmt: skip
    assert receipt.saved_nanodollars == {"prompt_cache": 5, "routing": 90 + 5 + 45 - 25}
    assert questions(till) == [("cheap", 1, 0)]
    assert sum(row.nanodollars for row in till.rows) == 25
    assert sum(row.saved_nanodollars for row in till.rows) == 120
    text = metrics.render().decode()
    assert 'rag_cost_dollars_total{model="cheap",stage="generate"} 2.5e-08' in text
    assert 'rag_cost_saved_dollars_total{by="prompt_cache"} 5e-09' in text
    assert 'rag_tokens_total{kind="cached_input",model="cheap"} 10.0' in text


@pytest.mark.parametrize(
    ("error", "cost"),
    [
        (ModelRateLimited("slow down"), 0),
        (ModelUnreachable("nobody there"), 0),
        (ModelProtocolError("it broke off"), CHEAP.cost(UNCOUNTED)),
        (ModelTimedOut("nothing came"), CHEAP.cost(UNCOUNTED)),
        (TimeoutError(), CHEAP.cost(UNCOUNTED)),
    ],
)
async def test_a_failed_attempt_is_charged_for_its_prompt_only_where_it_was_read(
    error: Exception, cost: int
) -> None:
    till = Till()
    async with opened(till) as bill:
        await bill.asked("cheap", PROMPT)
        bill.failed(error)
        await bill.asked("dear", PROMPT)
        bill.spent(USED)
        bill.answered("dear")
        receipt = bill.receipt()
    assert [spent.nanodollars for _, spent in till.settled] == [cost, DEAR.cost(USED)]
    assert [charge.model for charge in receipt.charges] == ["cheap", "dear"][1 - bool(cost) :]
    assert receipt.nanodollars == cost + DEAR.cost(USED)
    assert "routing" not in receipt.saved_nanodollars
    assert questions(till) == [("dear", 1, 0)]


async def test_what_is_open_when_the_question_ends_is_settled_at_its_estimate() -> None:
    till = Till()
    with suppress(RuntimeError):
        async with opened(till) as bill:
            await bill.asked("cheap", PROMPT)
            raise RuntimeError
    assert till.open == {}
    assert till.settled == [("res_0", Amount(CHEAP.cost(UNCOUNTED), UNCOUNTED.tokens))]


async def test_a_spent_budget_refuses_and_is_counted() -> None:
    till, metrics = Till(), Metrics()
    async with opened(till, metrics) as bill:
        till.refuses = True
        with pytest.raises(BudgetExhausted):
            await bill.asked("cheap", PROMPT)
    with pytest.raises(BudgetExhausted):
        async with opened(till, metrics):
            raise AssertionError("there is no money")
    assert 'rag_budget_refusals_total{scope="tenant"} 2.0' in metrics.render().decode()
    assert till.settled == []


async def test_the_standing_is_on_the_receipt() -> None:
    till = Till()
    till.stands = "economy"
    async with opened(till) as bill:
        assert bill.receipt().standing == "economy"


async def test_tokens_of_the_minute_are_taken_and_corrected_once() -> None:
    till, minute = Till(), Minute()
    async with opened(till, quotas=minute) as bill:
        await bill.asked("cheap", PROMPT)
        bill.spent(USED)
        till.refuses = True
        with pytest.raises(BudgetExhausted):
            await bill.asked("cheap", PROMPT)
        till.refuses, minute.refuses = False, True
        with pytest.raises(TokensRateLimited):
            await bill.asked("cheap", PROMPT)
    most = most_input(PROMPT) + 50
    assert minute.taken == [most, most]
    assert minute.corrected == [(most, 25), (most, 0)]


async def test_embedding_and_reranking_are_on_the_bill_but_are_no_model() -> None:
    till = Till()
    async with opened(till) as bill:
        embedder = billed_embedder(HashingEmbedder(), bill)
        await embedder.embed_query("How long?")
        await embedder.embed_documents(["One.", "Two and three."])
        reranker = billed_reranker(Reversing(), bill)
        assert reranker is not None
        await reranker.rerank("How long?", [], deadline=1.0)
        receipt = bill.receipt()
    assert till.models == [False, False, False]
    assert [charge.kind for charge in receipt.charges] == ["embedding", "embedding", "rerank"]
    texts = ("How long?", "One.", "Two and three.")
    assert receipt.nanodollars == sum(map(about_tokens, texts)) + 7


async def test_a_vector_that_is_kept_is_not_paid_for() -> None:
    till, clock = Till(), VirtualClock()
    kept = CachedEmbedder(HashingEmbedder(), MemoryCache(max_bytes=100_000, clock=clock))
    async with opened(till) as bill:
        embedder = billed_embedder(kept, bill)
        first = await embedder.embed_query("How long?")
        till.refuses = True
        assert await embedder.embed_query("How  long?") == first
        with pytest.raises(BudgetExhausted):
            await embedder.embed_query("How much?")
        assert len(bill.receipt().charges) == 1


async def test_a_refused_call_to_an_embedder_costs_nothing() -> None:
    till = Till()
    async with opened(till) as bill:
        embedder = billed_embedder(Failing(), bill)
        with pytest.raises(ModelRateLimited):
            await embedder.embed_query("How long?")
        assert bill.receipt().charges == []
    assert till.open == {}


async def test_nothing_is_around_what_is_free() -> None:
    async with settled(Bill(ANN, PAYER, Till(), PriceBook(), None, Metrics())) as bill:
        embedder, reranker = HashingEmbedder(), Reversing()
        assert billed_embedder(embedder, bill) is embedder
        assert billed_reranker(reranker, bill) is reranker
        assert billed_reranker(None, bill) is None


async def test_those_who_share_pay_even_parts_of_all_that_follows() -> None:
    till = Till()
    async with opened(till) as bill:
        assert await bill.share_with(BEN)  # before anything is asked
        await bill.asked("cheap", PROMPT)
        assert await bill.share_with(BEN)
        bill.spent(USED)
        assert not await bill.share_with(BEN)  # there is nothing left to pay
        receipt = bill.receipt()
    assert receipt.shared_by == 3
    assert till.joined == [("res_0", BEN), ("res_0", BEN)]
    charged = [(row.key_id, row.nanodollars) for row in till.rows if not row.questions]
    assert charged == [("k1", 9), ("k2", 8), ("k2", 8)]
    assert not await bill.share_with(BEN)


async def test_what_is_settled_or_begun_while_one_joins_changes_nothing_of_its_part() -> None:
    till = Till()
    async with opened(till) as bill:
        first = await bill.reserve("embedding", "e", FREE, most_tokens=0, about=Usage())
        joining = asyncio.ensure_future(bill.share_with(BEN))
        await asyncio.sleep(0)
        bill.settle(first, Usage())
        asking = asyncio.ensure_future(bill.asked("cheap", PROMPT))
        assert await joining
        await asking
        bill.spent(USED)
        assert bill.receipt().shared_by == 2
    assert till.joined == [("res_1", BEN)]

    till = Till()
    async with opened(till) as bill:
        await bill.asked("cheap", PROMPT)
        joining = asyncio.ensure_future(bill.share_with(BEN))
        await asyncio.sleep(0)
        await bill.reserve("embedding", "e", FREE, most_tokens=0, about=Usage())
        assert await joining
    assert till.joined == [("res_0", BEN), ("res_1", BEN)]


async def test_one_whose_budget_does_not_allow_it_shares_nothing() -> None:
    till = Till()
    async with opened(till) as bill:
        await bill.asked("cheap", PROMPT)
        till.joins = False
        assert not await bill.share_with(BEN)
        bill.spent(USED)
        assert bill.receipt().shared_by == 1


@given(
    st.integers(1, 9), st.integers(0, 10**12),
    st.builds(Usage, input_tokens=st.integers(0, 999), output_tokens=st.integers(0, 999)),
)  # fmt: skip
def test_the_parts_add_up_to_the_whole(payers: int, cost: int, usage: Usage) -> None:
    rows = usage_rows([PAYER] * payers, "m", usage, cost)
    assert len(rows) == payers
    assert sum(row.nanodollars for row in rows) == cost
    assert sum((row.usage for row in rows), Usage()) == usage
    assert max(row.nanodollars for row in rows) - min(row.nanodollars for row in rows) <= 1


_STEPS = st.lists(
    st.sampled_from(["ask", "ask dear", "spend", "fail", "time out", "share", "embed"]), max_size=12
)


@settings(deadline=None)
@given(_STEPS, st.integers(0, 40))
def test_cancelled_anywhere_everything_is_settled_once(steps: list[str], after: int) -> None:
    till = Till()

    async def question(bill: Bill) -> None:
        for step in steps:
            if step.startswith("ask"):
                await bill.asked("dear" if step.endswith("dear") else "cheap", PROMPT)
            elif step == "embed":
                await billed_embedder(HashingEmbedder(), bill).embed_query("How long?")
            elif step == "share":
                await bill.share_with(BEN)
            elif step == "spend":
                bill.spent(USED)
            else:
                bill.failed(
                    ModelTimedOut("late") if step == "time out" else ModelRateLimited("slow")
                )

    async def scenario() -> None:
        async def run() -> None:
            async with opened(till) as bill:
                await question(bill)

        task = asyncio.create_task(run())
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(scenario())
    assert till.open == {}
    spent = sum(amount.nanodollars for _, amount in till.settled)
    assert spent == sum(row.nanodollars for row in till.rows)


class Reversing:
    """A reranker."""

    name = "reversing"

    async def rerank(self, question, passages, *, deadline):
        return list(reversed(passages))


class Failing(HashingEmbedder):
    async def embed_query(self, text: str) -> list[float]:
        raise ModelRateLimited("slow down")
