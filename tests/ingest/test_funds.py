"""Ingestion that costs: told before, paid batch by batch, never beyond the cap."""

from collections.abc import Sequence
from contextlib import suppress

import pytest

from ragstone.domain.budget import Amount, Spender
from ragstone.domain.document import DocumentSource
from ragstone.domain.errors import BudgetExhausted, EmbedderError
from ragstone.domain.meter import count_tokens
from ragstone.domain.principal import Principal
from ragstone.governance.ledger import UsageLedger
from ragstone.governance.prices import Price, Rate
from ragstone.ingest.funds import Cost, Funds, payer
from tests.ingest.fakes import OPERATOR, World

PRICE = Price(source="test", rates=(Rate(input=1_000_000),))
"""A nano-dollar a token."""


class Purse(UsageLedger):
    """Holds `left` nano-dollars of each tenant."""

    def __init__(self, left: int = 10**9) -> None:
        super().__init__()
        self.left = {"acme": left}
        self._upper: dict[str, tuple[str, int]] = {}

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        assert not model
        left = self.left.setdefault(spender.tenant, 10**9)
        if upper.nanodollars > left:
            raise BudgetExhausted("The budget of the day is used up.")
        self.left[spender.tenant] = left - upper.nanodollars
        reservation = await super().reserve(spender, upper, model=model)
        self._upper[reservation] = (spender.tenant, upper.nanodollars)
        return reservation

    def settle(self, reservation, spent, rows) -> None:
        tenant, upper = self._upper.pop(reservation)
        assert spent.nanodollars <= upper
        self.left[tenant] += upper - spent.nanodollars
        super().settle(reservation, spent, rows)


def world_with(purse: Purse, *, most: int = 0, spent: list[Cost] | None = None) -> World:
    def on_spent(model: str, cost: Cost) -> None:
        if spent is not None:
            spent.append(cost)

    return World(funds=Funds(purse, PRICE, "embedder", most_nanodollars=most, on_spent=on_spent))


def source(*lines: str) -> DocumentSource:
    return DocumentSource(name="file.txt", content="\n".join(lines).encode(), collection="docs")


LINES = [f"doc{number}|Item {number} can be returned within 45 days." for number in range(30)]


async def test_what_is_spent_is_what_was_estimated() -> None:
    purse, spent = Purse(), list[Cost]()
    world = world_with(purse, spent=spent)
    estimate = await world.ingestion.estimate(OPERATOR, source(*LINES))
    assert (estimate.documents, estimate.chunks, estimate.unchanged) == (30, 30, 0)
    assert estimate.tokens == estimate.nanodollars > 0
    assert purse.rows == []
    assert world.embedder.batches == []
    assert await world.records.collections("acme") == []
    await world.ingestion.start()
    job = await world.submit(*LINES)
    job = await world.ingestion.wait(OPERATOR, job.id)
    assert job.state == "done"
    assert sum(row.nanodollars for row in purse.rows) == estimate.nanodollars
    assert sum(cost.nanodollars for cost in spent) == estimate.nanodollars
    assert {row.application for row in purse.rows} == {"ingestion"}
    again = await world.ingestion.estimate(OPERATOR, source(*LINES))
    assert (again.unchanged, again.chunks, again.nanodollars) == (30, 0, 0)
    await world.ingestion.stop()


async def test_a_job_above_the_cap_fails_before_anything_is_embedded() -> None:
    purse = Purse()
    world = world_with(purse, most=100)
    await world.ingestion.start()
    job = await world.submit(*LINES)
    job = await world.ingestion.wait(OPERATOR, job.id)
    assert (job.state, job.counts.added) == ("failed", 0)
    assert job.errors[0].code == "budget_exhausted"
    assert "ingest.max_cost_dollars" in job.errors[0].message
    assert world.embedder.batches == []
    small = await world.submit("doc|Short.")
    assert (await world.ingestion.wait(OPERATOR, small.id)).state == "done"
    await world.ingestion.stop()


async def test_a_spent_budget_fails_the_job_and_it_goes_on_when_submitted_again() -> None:
    purse = Purse(left=500)
    world = world_with(purse)
    await world.ingestion.start()
    job = await world.submit(*LINES)
    job = await world.ingestion.wait(OPERATOR, job.id)
    assert job.state == "failed"
    assert "Submit it again later" in job.errors[0].message
    added = job.counts.added
    assert 0 < added < 30
    assert purse.open_reservations == 0
    other = world.parser.read.copy()
    purse.left["acme"] = 10**9
    calls = sum(world.embedder.batches)
    job = await world.submit(*LINES)
    job = await world.ingestion.wait(OPERATOR, job.id)
    assert job.state == "done"
    assert (job.counts.unchanged, job.counts.added) == (added, 30 - added)
    assert sum(world.embedder.batches) - calls == 30 - added
    assert len(world.parser.read) == len(other) + 1
    await world.ingestion.stop()


class UsersPurse(Purse):
    """Of which Ann has nothing."""

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        if spender.user == "ann":
            raise BudgetExhausted("Ann's budget is used up.")
        return await super().reserve(spender, upper, model=model)


async def test_who_submits_pays_and_a_spent_budget_of_theirs_fails_their_jobs_alone() -> None:
    purse = UsersPurse()
    world = world_with(purse)
    who = [
        Principal(tenant="acme", user=user, key_id=key, scopes=frozenset({"ingest"}))
        for user, key in (("ann", "key_1"), ("ben", "key_2"), (None, "key_3"))
    ]
    jobs = [
        await world.ingestion.submit(one, source(f"doc{number}|Text number {number}."))
        for number, one in enumerate(who)
    ]
    await world.ingestion.start()
    ended = [await world.ingestion.wait(one, job.id) for one, job in zip(who, jobs, strict=True)]
    assert [job.state for job in ended] == ["failed", "done", "done"]
    assert "Ann's budget" in ended[0].errors[0].message
    paid = {(row.key_id, row.user) for row in purse.rows}
    assert paid == {("key_2", "ben"), ("key_3", "")}
    await world.ingestion.stop()


async def test_a_call_that_failed_costs_nothing_and_is_reserved_anew() -> None:
    purse = Purse()
    world = world_with(purse)
    world.embedder.failures = [EmbedderError("down")]
    await world.ingestion.start()
    estimate = await world.ingestion.estimate(OPERATOR, source("doc|One sentence."))
    job = await world.submit("doc|One sentence.")
    assert (await world.ingestion.wait(OPERATOR, job.id)).state == "done"
    assert sum(row.nanodollars for row in purse.rows) == estimate.nanodollars
    await world.ingestion.stop()


async def test_without_funds_an_estimate_counts_and_costs_nothing() -> None:
    world = World()
    found = await world.ingestion.estimate(OPERATOR, source("doc|Two words.", "!bad|broken"))
    assert (found.documents, found.failed, found.chunks, found.nanodollars) == (1, 1, 1, 0)
    assert found.tokens > 0


@pytest.mark.parametrize("texts", [[], ["a"], ["One.", "Zwölf Größen."]])
async def test_a_settlement_is_within_the_reservation(texts: Sequence[str]) -> None:
    purse = Purse()
    funds = Funds(purse, PRICE, "embedder")
    async with funds.paying(payer("acme"), texts):
        pass
    assert purse.left["acme"] == 10**9 - funds.cost(texts).nanodollars


async def test_the_providers_count_is_charged_also_of_a_call_that_failed_halfway() -> None:
    purse = Purse()
    funds = Funds(purse, PRICE, "embedder")
    async with funds.paying(payer("acme"), ["One sentence."]):
        count_tokens(7)
    with suppress(EmbedderError):
        async with funds.paying(payer("acme"), ["One sentence."]):
            count_tokens(3)
            raise EmbedderError("the second batch failed")
    assert purse.left["acme"] == 10**9 - 7 - 3
    assert [(row.nanodollars, row.usage.estimated) for row in purse.rows] == [
        (7, False),
        (3, False),
    ]


async def test_a_call_that_took_too_long_may_have_been_paid() -> None:
    purse, texts = Purse(), ["One sentence."]
    funds = Funds(purse, PRICE, "embedder")
    with suppress(EmbedderError):
        async with funds.paying(payer("acme"), texts):
            raise EmbedderError("too slow") from TimeoutError()
    assert purse.left["acme"] == 10**9 - funds.cost(texts).nanodollars
