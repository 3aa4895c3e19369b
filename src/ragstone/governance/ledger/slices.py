"""What this process may spend of an account, and how much of it to ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ragstone.domain.budget import Account, Amount, Budget
from ragstone.governance.ledger.accounts import Obeyed, binds_other_work

_PART: Final = 4
"""A slice is at most this part of a process's even share of what is left: what a process may
hold unused shrinks as a budget nears its end, so that little of it is stranded."""
_AHEAD_SECONDS: Final = 2.0
"""Of spending as of late that a slice should last for."""
_FIRST: Final = 8
"""Reservations like the last one that a slice should last for, whatever the rate."""
_LOW_SECONDS: Final = 0.5
"""Of spending left in a slice below which more is asked for ahead of need."""
_IDLE_SECONDS: Final = 10.0
"""A slice that nobody took from for so long is given back."""
_REFUSED_SECONDS: Final = 0.25
"""For so long a refusal holds without asking again, so that a flood of questions beyond a budget
is no flood of calls; short, since others may give back meanwhile."""


@dataclass(slots=True, eq=False)
class AccountView:
    """What this process knows of an account, whichever of its books has a slice of it."""

    budget: Budget
    account: Account
    period_end: int
    cap: int = 0
    used: int | None = None
    """Settled and out in slices, of all processes, as last heard."""
    active_at: float = 0.0
    """Monotonic seconds; when it was last looked at or taken from, give or take a report."""
    looked: bool = False
    taken: int = 0
    """Reserved since the last report."""
    rate: float = 0.0
    """Reserved in a second, of late."""
    last: int = 0
    """The amount that was reserved last."""
    low: int = 0
    """With less free than this, more is asked for ahead of need."""
    refused: int | None = None
    """The least amount that could not be had."""
    refused_until: float = float("-inf")

    @staticmethod
    def of(obeyed: Obeyed, now: float) -> "AccountView":
        view = AccountView(obeyed.budget, obeyed.account, obeyed.period_end, active_at=now)
        view.change(obeyed.budget)
        return view

    def change(self, budget: Budget) -> bool:
        """An administrator has set it anew; whether to less than before."""
        before, self.budget = self.cap, budget
        self.cap = budget.limit if self.account.pool == "limit" else budget.hard_limit or 0
        self.refused = None
        return self.cap < before

    @property
    def tokens(self) -> bool:
        return self.budget.unit == "tokens"

    @property
    def binds_other_work(self) -> bool:
        return binds_other_work(self.budget, self.account.pool)

    @property
    def left(self) -> int:
        """That could be leased, as far as is known."""
        return max(0, self.cap - (self.used or 0))

    @property
    def is_over(self) -> bool:
        """Whether more is settled or out in slices than the cap: it was lowered, or a provider
        counted more than was reserved. What slices have free is too much then."""
        return self.used is not None and self.used > self.cap

    def hear(self, used: int, cap: int) -> None:
        self.used, self.cap = used, cap

    def refuse(self, amount: int, now: float) -> None:
        if self.refused is None or now >= self.refused_until:
            self.refused = amount
        else:
            self.refused = min(self.refused, amount)
        self.refused_until = now + _REFUSED_SECONDS

    def refuses(self, amount: int, now: float) -> bool:
        return self.refused is not None and now < self.refused_until and amount >= self.refused

    def is_short(self, free: int) -> bool:
        """Whether what was refused last would be refused again, with `free` in this process's
        slice; without a refusal, whether nothing is left at all."""
        if self.used is None:
            return False
        return free + self.left < max(1, self.refused or 0)

    def is_spent(self, free: int) -> bool:
        """The same of what was had last too: where a dear model's bound no longer fits, a cheap
        one's may."""
        if not self.is_short(free):
            return False
        return not self.last or free + self.left < self.last

    def share(self, free: int) -> float:
        """Used, as a share of the cap; what this process has `free` is not used."""
        if self.used is None:
            return 0.0
        return (self.used - max(0, free)) / self.cap if self.cap > 0 else 1.0

    def ahead(self, processes: int, needed: int) -> int:
        """How much to ask for beyond what is `needed` at once."""
        wished = max(_FIRST * max(self.last, needed), int(self.rate * _AHEAD_SECONDS))
        return min(self.left // (_PART * processes), wished)

    def tick(self, now: float, seconds: float, processes: int) -> None:
        """Learns from the `seconds` since the last tick."""
        if self.taken or self.looked:
            self.active_at = now
        self.rate = (self.rate + self.taken / seconds) / 2
        self.taken, self.looked = 0, False
        self.low = min(self.left // (2 * _PART * processes), int(self.rate * _LOW_SECONDS))

    def is_idle(self, now: float) -> bool:
        return now - self.active_at >= _IDLE_SECONDS


@dataclass(slots=True, eq=False)
class Slice:
    """What one book has of an account: `free`, `held` by reservations, and `spent` but not yet
    reported; together what was leased. `free` is negative where a provider counted more than was
    reserved: what is leased next pays for it first."""

    view: AccountView
    number: int
    """In the journal."""
    tokens: bool = field(init=False)
    free: int = 0
    held: int = 0
    spent: int = 0

    def __post_init__(self) -> None:
        self.tokens = self.view.tokens

    def of(self, amount: Amount) -> int:
        """In the unit of the budget."""
        return amount.tokens if self.tokens else amount.nanodollars

    @property
    def leased(self) -> int:
        return self.free + self.held + self.spent

    def settle(self, held: int, charge: int) -> None:
        self.held -= held
        self.spent += charge
        self.free += held - charge

    def overdraw(self, other: "Slice | None") -> None:
        """What was spent beyond this slice is paid for by another one of the same account."""
        if other is not None and self.free < 0:
            paid = min(-self.free, max(0, other.free + other.held))
            self.free += paid
            other.free -= paid

    def unneeded(self, now: float, seconds: float, processes: int) -> int:
        """To give back: all that is idle or too little for what was refused; where little is
        left for all, what is not needed until the next report."""
        view, free = self.view, max(0, self.free)
        if view.is_idle(now) or (view.refused is not None and free < view.refused):
            return free
        plenty = _PART * processes * max(_FIRST * view.last, int(view.rate * _AHEAD_SECONDS))
        keep = view.rate * (_AHEAD_SECONDS if view.left > plenty else seconds)
        if view.left > plenty:
            keep = max(keep, _FIRST * view.last)
        return max(0, free - int(keep))

    def report(self, returned: int) -> int:
        """What was spent is told, and `returned` given back; returns what was spent."""
        settled, beyond = self.spent, max(0, self.spent - self.leased)
        self.spent = 0
        self.free += beyond - returned
        if self.view.used is not None:
            self.view.used += beyond - returned
        return settled


def take(slices: Sequence[Slice], upper: Amount) -> bool:
    """From all of them, or from none."""
    tokens, nanodollars = upper.tokens, upper.nanodollars
    for slice_ in slices:
        amount = tokens if slice_.tokens else nanodollars
        if amount > slice_.free and amount:
            return False
    for slice_ in slices:
        amount = tokens if slice_.tokens else nanodollars
        slice_.free -= amount
        slice_.held += amount
        view = slice_.view
        view.taken += amount
        view.last = amount
    return True


def missing(slices: Sequence[Slice], upper: Amount) -> list[tuple[Slice, int]]:
    """Those that have not enough, and how much they lack."""
    wanted = [(slice_, slice_.of(upper)) for slice_ in slices]
    return [(slice_, amount - slice_.free) for slice_, amount in wanted if amount > slice_.free]
