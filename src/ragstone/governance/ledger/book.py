"""Slices and reservations under one name, and what is reported of them.

A process has one book that it reserves in. It begins a new one, under a new name and with a new
journal, when the journal has grown long or when its lease may have run out; the old one takes no
more reservations and ends, and its journal goes, once its last reservation is settled.
"""

import math
from collections.abc import Callable, Sequence, Set

from ragstone.domain.budget import (
    Account,
    AccountReport,
    Amount,
    Grant,
    LedgerReport,
    Spender,
    UsageRow,
)
from ragstone.governance.ledger.journal import (
    Joined,
    Journal,
    Named,
    Reported,
    Reporting,
    Reserved,
    Settled,
    Used,
)
from ragstone.governance.ledger.reservation import Reservation
from ragstone.governance.ledger.slices import AccountView, Slice, take
from ragstone.governance.ledger.usage_rows import UsageRows, unfinished_rows


class Book:
    """What a process leased as `holder`, and does with it. Nothing here waits."""

    def __init__(self, holder: str, journal: Journal | None) -> None:
        self.holder = holder
        self.draining = False
        """Takes no more reservations."""
        self.calls = 0
        """For slices, under way."""
        self.renewed_at = -math.inf
        """Monotonic seconds; when the last call that prolonged the lease was begun."""
        self.open: dict[int, Reservation] = {}
        self.batch: LedgerReport | None = None
        """Sent, or to be sent, and not yet known to have arrived."""
        self._journal = journal
        self._slices: dict[Account, Slice] = {}
        self._recalled: list[Slice] = []
        """Nothing is taken from these any more."""
        self._rows = UsageRows()
        self._free_rows = UsageRows()
        self._last_number = 0
        self._last_slice = 0
        self._sequence = 0

    @property
    def journal_bytes(self) -> int:
        return self._journal.bytes if self._journal is not None else 0

    @property
    def has_leased(self) -> bool:
        return any(slice_.leased for slice_ in (*self._slices.values(), *self._recalled))

    def slice(self, view: AccountView) -> Slice:
        """Its slice of the account, empty at first."""
        found = self._slices.get(view.account)
        if found is None:
            self._last_slice += 1
            found = self._slices[view.account] = Slice(view, self._last_slice)
            if self._journal is not None:
                self._journal.write(Named(found.number, view.account, found.tokens))
        return found

    def has(self, account: Account) -> bool:
        return account in self._slices

    def has_unspent(self, account: Account) -> bool:
        """Whether something of it is free, or may be when reservations are settled."""
        slice_ = self._slices.get(account)
        return slice_ is not None and (slice_.free > 0 or slice_.held > 0)

    def granted(self, view: AccountView, grant: Grant) -> None:
        if grant.amount:
            slice_ = self.slice(view)
            slice_.free += grant.amount
            if view.refused is not None and slice_.free >= view.refused:
                view.refused = None
        view.hear(grant.used, grant.cap)

    def recall(self, account: Account) -> None:
        """What is free of it is given back, and what its reservations free; who goes on spending
        leases anew, in another slice."""
        slice_ = self._slices.pop(account, None)
        if slice_ is not None:
            self._recalled.append(slice_)

    def gives_back(self, accounts: Set[Account]) -> bool:
        """Whether something of these is on its way back, or will be with the next report."""
        if self.batch is not None:
            return any(told.returned and told.account in accounts for told in self.batch.accounts)
        own = self._slices.values() if self.draining else ()
        return any(one.free > 0 and one.view.account in accounts for one in (*own, *self._recalled))

    # Reservations

    def reserve(
        self, spender: Spender, upper: Amount, slices: Sequence[Slice], *, model: bool, at: float
    ) -> Reservation:
        """Notes that `upper` was taken from `slices`."""
        self._last_number += 1
        number = self._last_number
        parties = [(spender, slices)]
        reservation = Reservation(self, number, upper, model, at, parties, list(slices))
        self.open[number] = reservation
        if self._journal is not None:
            numbers = [slice_.number for slice_ in slices]
            self._journal.write(Reserved(number, int(at), spender, upper, numbers))
        return reservation

    def join(self, reservation: Reservation, spender: Spender, slices: Sequence[Slice]) -> bool:
        """Takes what is not held yet; False where there is not enough."""
        added = [slice_ for slice_ in slices if slice_ not in reservation.slices]
        if not take(added, reservation.upper):
            return False
        reservation.parties.append((spender, slices))
        reservation.slices.extend(added)
        if self._journal is not None:
            numbers = [slice_.number for slice_ in added]
            self._journal.write(Joined(reservation.number, spender, numbers))
        return True

    def settle(self, reservation: Reservation, spent: Amount, rows: Sequence[UsageRow]) -> bool:
        """Charges each account with the shares of the parties that have it; False where more was
        spent than was held: it is charged all the same."""
        del self.open[reservation.number]
        charges = reservation.charges(spent)
        within = True
        for slice_, charge in charges:
            held = slice_.of(reservation.upper)
            within = within and charge <= held
            slice_.settle(held, charge)
        if self._journal is not None:
            numbered = [(slice_.number, charge) for slice_, charge in charges]
            self._journal.write(Settled(reservation.number, numbered, rows))
        self._rows.add(rows)
        return within

    def record(self, rows: Sequence[UsageRow]) -> None:
        """What cost nothing is written to the journal only when it is reported."""
        if any(row.nanodollars for row in rows):
            if self._journal is not None:
                self._journal.write(Used(rows))
            self._rows.add(rows)
        else:
            self._free_rows.add(rows)

    # Reports

    def next_batch(self, unneeded: Callable[[Slice], int], *, renew: bool) -> LedgerReport | None:
        """What is to be told next: the last report again until it has arrived; None if there is
        nothing to say. `unneeded` is what to give back of a slice."""
        if self.batch is not None:
            return self.batch
        last = self.draining and not self.open and not self.calls
        told = self._told(unneeded)
        if not (told or self._rows or self._free_rows or last or renew):
            return None
        return self._begin_batch(told, last)

    def _told(self, unneeded: Callable[[Slice], int]) -> list[tuple[Slice, int, int]]:
        """Slices, what was spent of them, and what is given back, which they have no more."""
        for slice_ in self._recalled:
            slice_.overdraw(self._slices.get(slice_.view.account))
        back = [
            (slice_, max(0, slice_.free) if self.draining else unneeded(slice_))
            for slice_ in self._slices.values()
        ]
        back += [(slice_, max(0, slice_.free)) for slice_ in self._recalled]
        return [(one, one.report(free), free) for one, free in back if one.spent or free]

    def _begin_batch(self, told: list[tuple[Slice, int, int]], last: bool) -> LedgerReport:
        free = self._free_rows.take()
        self._sequence += 1
        if self._journal is not None:
            if free:
                self._journal.write(Used(free))
            numbered = [(slice_.number, settled, back) for slice_, settled, back in told]
            self._journal.write(Reporting(self._sequence, numbered))
        self._rows.add(free)
        self.batch = LedgerReport(
            holder=self.holder,
            sequence=self._sequence,
            accounts=[
                AccountReport(slice_.view.account, settled, back) for slice_, settled, back in told
            ],
            usage=self._rows.take(),
            last=last,
        )
        return self.batch

    def arrived(self, batch: LedgerReport, sent_at: float) -> None:
        """The report is in the records, durably."""
        self.batch = None
        self.renewed_at = max(self.renewed_at, sent_at)
        if self._journal is not None:
            self._journal.write(Reported(batch.sequence))

    def forget_empty(self, is_idle: Callable[[AccountView], bool]) -> bool:
        """Slices with nothing in them, of accounts that nobody spends from; whether there were."""
        in_use = {slice_ for one in self.open.values() for slice_ in one.slices}
        self._recalled = [one for one in self._recalled if one.free or one.spent or one in in_use]
        empty = [
            account
            for account, slice_ in self._slices.items()
            if not (slice_.free or slice_.spent or slice_ in in_use) and is_idle(slice_.view)
        ]
        for account in empty:
            del self._slices[account]
        return bool(empty)

    def abandon(self) -> None:
        """Charges what is open in full: nobody will settle it."""
        for reservation in list(self.open.values()):
            spenders = [spender for spender, _ in reservation.parties]
            rows = unfinished_rows(spenders, reservation.upper, reservation.at)
            self.settle(reservation, reservation.upper, rows)

    def end(self) -> None:
        """All has been reported."""
        if self._journal is not None:
            self._journal.remove()

    def leave(self) -> None:
        """What was not reported is left to whoever recovers the journal."""
        if self._journal is not None:
            self._journal.close()
