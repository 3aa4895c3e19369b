"""Who waits in one class of priority: who is next, and for how long one may wait.

Every operation is O(1) or O(log tenants); none grows with the number of requests that wait.
"""

import asyncio
import heapq
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ragstone.domain.errors import RagstoneError
from ragstone.resilience.ticket import Ticket
from ragstone.resilience.wait_limit import WaitLimit

_STALE_ENTRIES: Final = 64
"""Outdated heap entries, beside two for each tenant, before the heap is made anew."""


class Waiter:
    """One request in line. `outcome` is its ticket, or why it was refused."""

    __slots__ = (
        "deadline", "due", "outcome", "rank", "since", "tenant", "timer", "turn", "weight",
    )  # fmt: skip

    def __init__(
        self, tenant: str, rank: int, weight: int, *, since: float, deadline: float
    ) -> None:
        self.tenant = tenant
        self.rank = rank
        """Index in `PRIORITIES`: 0 goes first."""
        self.weight = weight
        self.since = since
        self.deadline = deadline
        self.due = math.inf
        """When its turn has come at the latest, if the line moves as fast as when it came."""
        self.outcome: Ticket | RagstoneError | None = None
        self.turn: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def settle(self, outcome: Ticket | RagstoneError) -> None:
        self.outcome = outcome
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class _Flow:
    """The waiters of one tenant in one class, oldest first."""

    __slots__ = ("entry", "tenant", "units", "waiters")

    def __init__(self, tenant: str) -> None:
        self.units = 0
        self.tenant = tenant
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.entry = 0
        """Number of its one valid entry in the heap; any other is outdated."""


class Line:
    """The tenant with the fewest units in use is next, then in turn.

    Of a tenant's requests it is the oldest, or the newest where `WaitLimit.newest_first` says so.
    """

    def __init__(self, in_use: Callable[[str], int], wait_limit: WaitLimit) -> None:
        self._in_use = in_use
        self.wait_limit = wait_limit
        self._flows: dict[str, _Flow] = {}
        self._heap: list[tuple[int, int, _Flow]] = []
        self._entries = 0
        self.units = 0
        """Weight of all who wait here."""

    def __bool__(self) -> bool:
        return bool(self._flows)

    def push(self, waiter: Waiter) -> None:
        flow = self._flows.get(waiter.tenant)
        if flow is None:
            flow = self._flows[waiter.tenant] = _Flow(waiter.tenant)
            self._enter(flow)
        flow.waiters[waiter] = None
        flow.units += waiter.weight
        self.units += waiter.weight

    def remove(self, waiter: Waiter) -> None:
        flow = self._flows[waiter.tenant]
        del flow.waiters[waiter]
        flow.units -= waiter.weight
        self.units -= waiter.weight
        if not flow.waiters:
            del self._flows[waiter.tenant]
            if not self._flows:
                self.wait_limit.emptied()

    def head(self, now: float) -> Waiter:
        """Who is next; the line must not be empty."""
        waiters = self._first_flow().waiters
        oldest = next(iter(waiters))
        if self.wait_limit.newest_first(now, oldest.due):
            return next(reversed(waiters))
        return oldest

    def freed(self, tenant: str) -> None:
        """The tenant has fewer units in use than before."""
        flow = self._flows.get(tenant)
        if flow is not None:
            self._enter(flow)

    def units_until(self, tenant: str, weight: int) -> int:
        """Units that are let in until the tenant's last waiter is, if all tenants take turns.

        With `weight`, until one more of that weight is, itself included.
        """
        flow = self._flows.get(tenant)
        units = weight if flow is None else flow.units + weight
        tenants = len(self._flows) + (flow is None and weight > 0)
        return min(self.units + weight, units * tenants)

    def oldest_of(self, tenant: str) -> Waiter | None:
        flow = self._flows.get(tenant)
        return next(iter(flow.waiters)) if flow is not None else None

    def oldest_of_last_tenant(self) -> Waiter:
        """The line must not be empty."""
        return next(iter(next(reversed(self._flows.values())).waiters))

    def _enter(self, flow: _Flow) -> None:
        self._entries += 1
        flow.entry = self._entries
        if len(self._heap) > 2 * len(self._flows) + _STALE_ENTRIES:
            self._heap = [entry for entry in self._heap if self._valid(entry)]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (self._in_use(flow.tenant), flow.entry, flow))

    def _valid(self, entry: tuple[int, int, _Flow]) -> bool:
        _, number, flow = entry
        return number == flow.entry and bool(flow.waiters)

    def _first_flow(self) -> _Flow:
        while True:
            units, number, flow = self._heap[0]
            if number != flow.entry or not flow.waiters:
                heapq.heappop(self._heap)
            elif units < self._in_use(flow.tenant):  # it was served meanwhile
                heapq.heappop(self._heap)
                self._enter(flow)
            else:
                return flow
