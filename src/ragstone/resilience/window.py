"""Two counts over the last seconds: how many, and how many of those were of one kind."""

from typing import Final

_BUCKETS: Final = 10


class CountWindow:
    """A ring of ten buckets, so that adding and reading cost the same at any rate.

    What is counted covers between 90 % and 100 % of `seconds`.
    """

    __slots__ = ("_every", "_kinds", "_slot", "_totals", "kind", "total")

    def __init__(self, seconds: float) -> None:
        self._every = seconds / _BUCKETS
        self.clear()

    def clear(self) -> None:
        self._totals = [0] * _BUCKETS
        self._kinds = [0] * _BUCKETS
        self._slot = 0
        self.total = 0
        """As of the last `advance` or `add`."""
        self.kind = 0

    def advance(self, now: float) -> None:
        """Forget what is older than the window. `now` never goes back."""
        slot = int(now / self._every)
        if slot <= self._slot:
            return
        for passed in range(max(self._slot + 1, slot - _BUCKETS + 1), slot + 1):
            place = passed % _BUCKETS
            self.total -= self._totals[place]
            self.kind -= self._kinds[place]
            self._totals[place] = self._kinds[place] = 0
        self._slot = slot

    def add(self, now: float, *, total: int, kind: int) -> None:
        self.advance(now)
        place = self._slot % _BUCKETS
        self._totals[place] += total
        self._kinds[place] += kind
        self.total += total
        self.kind += kind
