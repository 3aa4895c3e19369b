"""Stages 2 and 12: before anything that costs is asked its upper bound is reserved, and what it
really cost is settled, once.

Nothing is reserved for a question as a whole: a kept answer, and one that no model writes, need
nothing. Each attempt at a model has its own reservation, and each ends in one of three ways: the
provider's own count, our estimate where it was broken off, or nothing where it never began.
"""

from collections.abc import Awaitable
from types import TracebackType
from typing import Final, Literal, TypeVar

from ragstone.domain.budget import Amount, Spender, Standing
from ragstone.domain.errors import (
    BudgetExhausted,
    DependencyError,
    ModelProtocolError,
    ModelTimedOut,
)
from ragstone.domain.principal import Principal
from ragstone.domain.quota import TokensTaken
from ragstone.domain.usage import NANODOLLARS, Charge, ChargeKind, Receipt, Saving, Usage
from ragstone.governance.prices import Price, PriceBook
from ragstone.governance.token_bound import most_input
from ragstone.governance.token_estimate import TokenEstimates
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.usage_rows import usage_row, usage_rows
from ragstone.ports import Ledger, Prompt, Quotas

_NOTHING: Final = Usage()
_T = TypeVar("_T")

Stage = Literal["generate", "embed", "rerank"]
_STAGES: Final[dict[ChargeKind, Stage]] = {
    "generation": "generate",
    "embedding": "embed",
    "rerank": "rerank",
}


class settled:  # noqa: N801 - a context, as it reads where it is used
    """Ends a bill however the request ends, and begins it where nobody has.

    `questions`: as how many it counts in the usage report. `async with` raises what `Bill.open`
    raises. A class, not a generator, which costs more.
    """

    __slots__ = ("_bill", "_questions")

    def __init__(self, bill: "Bill", questions: int = 1) -> None:
        self._bill = bill
        self._questions = questions

    async def __aenter__(self) -> "Bill":
        if not self._bill.is_open:
            await self._bill.open()
        return self._bill

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bill.close(self._questions)


class Call:
    """One call to what is billed, from its reservation to its charge."""

    __slots__ = ("about", "kind", "model", "price", "reservation", "taken")

    def __init__(
        self, kind: ChargeKind, model: str, price: Price, about: Usage | Prompt, reservation: str,
        taken: TokensTaken | None,
    ) -> None:  # fmt: skip
        self.kind: ChargeKind = kind
        self.model = model
        self.price = price
        self.about = about
        """What it is taken to have used while nobody knows; of a language model its prompt, which
        is estimated only where that is needed."""
        self.reservation = reservation
        self.taken = taken
        """Of the quotas."""


class Bill:
    """What one question costs, and what it would have cost. Settling never waits."""

    def __init__(
        self,
        principal: Principal,
        spender: Spender,
        ledger: Ledger,
        prices: PriceBook,
        quotas: Quotas | None,
        metrics: Metrics,
        trace: Trace | None = None,
        estimates: TokenEstimates | None = None,
    ) -> None:
        self.spender = spender
        self.prices = prices
        self.usage = _NOTHING
        """Of all charges so far."""
        self.model = "none"
        """Who wrote, or was asked last."""
        self.standing: Standing = "normal"
        """How the budgets were when the question came."""
        self.cached = False
        """Answered from a cache, or from another's generation."""
        self.escalated_from: str | None = None
        """The model whose answer was replaced by that of a better one."""
        self._principal = principal
        self._ledger = ledger
        self._quotas = quotas
        self._metrics = metrics
        self._trace = trace
        self._estimates = estimates or TokenEstimates()
        self._charges: list[Charge] = []
        self._saved: dict[Saving, int] = {}
        self._open: list[Call] = []
        self._attempt: Call | None = None
        """The one at a language model that is under way."""
        self._sharers: list[Spender] = []
        self.is_open = False
        self._closed = False

    async def open(self) -> None:
        """Raises `BudgetExhausted` at a hard limit, and `RecordsUnavailable`."""
        self.standing = await self.refusable(self._ledger.standing(self.spender))
        self.is_open = True

    # Language models

    async def asked(self, model: str, prompt: Prompt) -> None:
        """Reserves for an attempt at `model`, which is sent next; an earlier one has ended.

        Raises `BudgetExhausted`, `TokensRateLimited`, `RecordsUnavailable`.
        """
        self.spent(None)
        self.model = model
        price, tokens = self.prices.model(model), most_input(prompt)
        upper = Amount(
            nanodollars=price.upper_bound(tokens, prompt.max_tokens),
            tokens=tokens + prompt.max_tokens,
        )
        self._attempt = await self._reserve("generation", model, price, upper, prompt)

    def spent(self, usage: Usage | None) -> None:
        """Charges the attempt that is open, if one is; None: as much as its prompt alone has."""
        if (attempt := self._attempt) is not None:
            self.settle(attempt, self._about(attempt) if usage is None else usage)

    def counted(self, usage: Usage, text: str) -> None:
        """Charges what the provider counted of the attempt that wrote `text`."""
        if (attempt := self._attempt) is not None and isinstance(attempt.about, Prompt):
            self._estimates.learn(attempt.model, attempt.about, text, usage)
        self.spent(usage)

    def broken_off(self, text: str) -> None:
        """Charges the attempt that is open, if one is, by an estimate: it wrote `text`."""
        if (attempt := self._attempt) is not None:
            self.settle(attempt, self._about(attempt, text))

    def failed(self, error: Exception) -> None:
        """Ends an attempt that gave no text. One that the provider refused, or that never
        reached it, has used nothing that we know of; one that was given up, or broke off after
        it was accepted, had its prompt read.
        """
        refused = isinstance(error, DependencyError) and not isinstance(
            error, ModelTimedOut | ModelProtocolError
        )
        self.spent(_NOTHING if refused else None)

    def escalated(self, model: str) -> None:
        """Notes that `model`'s answer was replaced."""
        self.escalated_from = model

    # Embedders and rerankers

    async def reserve(
        self, kind: ChargeKind, model: str, price: Price, *, most_tokens: int, about: Usage
    ) -> Call:
        """For a call to what is no language model. Raises as `asked` does."""
        upper = Amount(nanodollars=price.upper_bound(most_tokens))
        return await self._reserve(kind, model, price, upper, about)

    def settle(self, call: Call, usage: Usage) -> None:
        """Charges what the call used; a second time changes nothing."""
        if call not in self._open:
            return
        self._open.remove(call)
        if self._attempt is call:
            self._attempt = None
        cost = call.price.cost(usage)
        payers = [self.spender, *self._sharers]
        rows = usage_rows(payers, call.model, usage, cost) if usage != _NOTHING else []
        self._ledger.settle(call.reservation, Amount(cost, usage.tokens), rows)
        if call.taken is not None and self._quotas is not None:
            self._quotas.correct_tokens(call.taken, usage.tokens)
        if usage != _NOTHING:
            self._charge(call, usage, cost)

    # Together

    def saved(self, kind: Saving, nanodollars: int) -> None:
        """Notes what was not spent, against asking afresh."""
        if nanodollars > 0:
            self._saved[kind] = self._saved.get(kind, 0) + nanodollars
            self._metrics.cost_saved.labels(kind).inc(nanodollars / NANODOLLARS)

    async def share_with(self, spender: Spender) -> bool:
        """The spender pays an even part of what is open, and of what follows.

        False where its budgets do not allow it, or where nothing will be paid any more. One
        whose budgets end later, when a model is asked again, has its part paid by the others.
        """
        if self.is_paid():
            return False
        joined: set[Call] = set()
        while opened := [call for call in self._open if call not in joined]:
            for call in opened:  # one that is settled meanwhile is paid, and refuses nobody
                if not await self._ledger.join(call.reservation, spender) and call in self._open:
                    return False
                joined.add(call)
        if self.is_paid():
            return False
        self._sharers.append(spender)
        return True

    def is_paid(self) -> bool:
        """Whether no model is being asked, and none will be any more: it is written."""
        asked = any(charge.kind == "generation" for charge in self._charges)
        return self._closed or (self._attempt is None and asked)

    def receipt(self) -> Receipt:
        """As it stands now."""
        cost = sum(charge.nanodollars for charge in self._charges)
        return Receipt(
            nanodollars=cost,
            charges=list(self._charges),
            saved_nanodollars=dict(self._saved),
            shared_by=1 + len(self._sharers),
            standing=self.standing,
            escalated_from=self.escalated_from,
        )

    def answered(self, model: str) -> None:
        """The answer is there, by `model`: counts what the choice of models saved.

        Against asking the first-listed model of the highest quality for the same tokens; what
        was spent on other attempts is taken off.
        """
        self.model = model
        best, written = self.prices.best, self._written_by(model)
        if best is None or written is None:
            return
        spent = sum(each.nanodollars for each in self._charges if each.kind == "generation")
        self.saved("routing", self.prices.model(best).cost(written.usage) - spent)

    def close(self, questions: int = 1) -> None:
        """Charges what is still open at its estimate, and counts the request."""
        self._closed = True
        for call in tuple(self._open):
            self.settle(call, self._about(call))
        if questions:
            saved = sum(self._saved.values())
            row = usage_row(
                self.spender, self.model, questions=questions, cached=self.cached, saved=saved
            )
            self._ledger.record([row])

    async def refusable(self, asking: Awaitable[_T]) -> _T:
        """Counts a refusal by the budgets."""
        try:
            return await asking
        except BudgetExhausted as error:
            self._metrics.budget_refusals.labels(error.scope or "tenant").inc()
            raise

    async def _reserve(
        self, kind: ChargeKind, model: str, price: Price, upper: Amount, about: Usage | Prompt
    ) -> Call:
        taken = None
        if self._quotas is not None and upper.tokens:
            taken = self._quotas.take_tokens(self._principal, upper.tokens)
        try:
            reserving = self._ledger.reserve(self.spender, upper, model=kind == "generation")
            reservation = await self.refusable(reserving)
        except BaseException:
            if taken is not None and self._quotas is not None:
                self._quotas.correct_tokens(taken, 0)
            raise
        call = Call(kind, model, price, about, reservation, taken)
        self._open.append(call)
        try:
            for spender in tuple(self._sharers):
                if not await self._ledger.join(reservation, spender):
                    self._sharers.remove(spender)
        except BaseException:
            self.settle(call, _NOTHING)
            raise
        return call

    def _charge(self, call: Call, usage: Usage, cost: int) -> None:
        charge = Charge(
            kind=call.kind, model=call.model, usage=usage, nanodollars=cost,
            price=call.price.source, region=self.prices.regions.get(call.model, ""),
        )  # fmt: skip
        self._charges.append(charge)
        self.usage += usage
        if self._trace is not None:
            self._trace.nanodollars += cost // (1 + len(self._sharers))
        self.saved("prompt_cache", call.price.saved_by_cache(usage))
        metrics = self._metrics
        if cost:
            metrics.cost.labels(call.model, _STAGES[call.kind]).inc(cost / NANODOLLARS)
        for kind, tokens in (
            ("input", usage.input_tokens),
            ("cached_input", usage.cached_input_tokens),
            ("output", usage.output_tokens),
            ("embedding", usage.embedding_tokens),
            ("rerank", usage.rerank_tokens),
        ):
            if tokens:
                metrics.tokens.labels(kind, call.model).inc(tokens)

    def _about(self, call: Call, text: str = "") -> Usage:
        if isinstance(call.about, Usage):
            return call.about
        return self._estimates.of(call.model, call.about, text)

    def _written_by(self, model: str) -> Charge | None:
        """The last call to that language model."""
        for charge in reversed(self._charges):
            if charge.kind == "generation" and charge.model == model:
                return charge
        return None
