"""Leaky buckets in memory: the generic cell rate algorithm (GCRA) over a table of fixed size.

GCRA, in its form of virtual scheduling (ATM Forum, Traffic Management 4.0, 1996, 4.4.2; ITU-T
I.371), keeps one number for each bucket: its theoretical arrival time (TAT), the moment at which
all that was taken has drained. A unit drains in the emission interval T; `n` units taken at `now`
move the TAT from max(TAT, now) to that plus n*T, and conform when the new TAT is at most the burst
tolerance after `now`. Here T is a minute divided by the limit and the tolerance is a minute, so
what fits at once is a minute's worth, and in any window of t seconds at most limit * (1 + t / 60)
is taken. T*n is rounded up to whole nanoseconds, so rounding takes nothing from the bound.

Giving back what was taken too much must not give more than that bound. What was taken at one
time drains in the order in which it was taken, so of a charge that moved the TAT to `a` no more
is left at `now` than a - now, less what was given back since then by those before it; that of
others after it counts against it too, which gives back less, never more. And when the bucket was
found empty since, all of it has drained. For that a slot also keeps since when its bucket has
not been found empty, and what was given back since then, both in nanoseconds.

Slots are found by open addressing. One whose TAT has passed says no more than an absent one, so
it is free: nothing has to sweep the table, and its size bounds it. Where a bucket finds no slot
near its place, it shares one with another, which lets less through, never more.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

MINUTE: Final = 60_000_000_000
"""In nanoseconds: the time in which a limit is counted, and the burst."""
SLOT: Final = 4
"""64-bit integers: hash, TAT, since when it has not been empty, given back since."""
_HASH, _TAT, _SINCE, _RETURNED = range(SLOT)
_PROBES: Final = 32
_LONGEST: Final = 60 * MINUTE
"""How far a TAT can be ahead, by use beyond an estimate. Further is damage, not use."""


class Bucket(NamedTuple):
    """Which one, and how fast it drains."""

    name: str
    hash: int
    """Of 63 bits, not 0."""
    limit: int
    """Units in a minute, at least 1."""

    def time(self, units: int) -> int:
        """Nanoseconds in which `units` drain."""
        return -(-units * MINUTE // self.limit)


class Mark(NamedTuple):
    """What a charge left behind, for giving back some of it."""

    time: int
    """That what was charged takes to drain."""
    tat: int
    since: int
    returned: int


class BucketTable:
    """Over 64-bit integers that may be shared; who shares them takes turns. Times in ns."""

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells
        self._slots = len(cells) // SLOT
        if not self._slots:
            raise ValueError("a table without a slot")

    def take(self, buckets: Sequence[Bucket], units: int, now: int) -> tuple[int, list[Mark]]:
        """From all of them, or from none: then how long until they conform."""
        for bucket in buckets:
            if self.wait(bucket, units, now):
                return max([self.wait(bucket, units, now) for bucket in buckets]), []
        return 0, [self.charge(bucket, units, now) for bucket in buckets]

    def take_one(self, buckets: Sequence[Bucket], now: int) -> int:
        """One unit, as by `take`, which costs three times as much and is asked where a bucket is
        not in its place or has no room; how long until it conforms. `-MINUTE // limit` is the
        emission interval, negative, so that it is rounded as in `Bucket.time`."""
        cells, slots = self._cells, self._slots
        for _, hash_, limit in buckets:
            at = hash_ % slots * SLOT
            if cells[at] != hash_ or cells[at + _TAT] > now + MINUTE + -MINUTE // limit:
                return self.take(buckets, 1, now)[0]
        for _, hash_, limit in buckets:
            at = hash_ % slots * SLOT
            tat = cells[at + _TAT]
            if tat <= now:
                cells[at + _SINCE], cells[at + _RETURNED] = now, 0
                tat = now
            cells[at + _TAT] = tat - -MINUTE // limit
        return 0

    def wait(self, bucket: Bucket, units: int, now: int) -> int:
        """How long until `units` conform; 0: now. More than the limit is taken for the limit."""
        beyond = self.used(bucket, now) + min(bucket.time(units), MINUTE) - MINUTE
        return beyond if beyond > 0 else 0

    def used(self, bucket: Bucket, now: int) -> int:
        """How long the bucket needs to drain."""
        return self._level(self._find(bucket.hash, now), now)

    def charge(self, bucket: Bucket, units: int, now: int) -> Mark:
        """Takes them, whether they conform or not."""
        cells, at = self._cells, self._find(bucket.hash, now)
        level = self._level(at, now)
        time = min(bucket.time(units), _LONGEST - level)
        tat = now + level + time
        if not level:
            # The TAT comes last: until then the slot is free, whoever is killed in between.
            cells[at + _HASH] = bucket.hash
            cells[at + _SINCE], cells[at + _RETURNED] = now, 0
        cells[at + _TAT] = tat
        return Mark(time, tat, cells[at + _SINCE], cells[at + _RETURNED])

    def give_back(self, bucket: Bucket, used: int, mark: Mark, now: int) -> None:
        """Of the charge that left `mark` all but `used` units, as far as it has not drained."""
        cells, at = self._cells, self._find(bucket.hash, now)
        if cells[at + _HASH] != bucket.hash or cells[at + _SINCE] != mark.since:
            return  # it was empty in between
        returned_since = cells[at + _RETURNED] - mark.returned
        undrained = mark.tat - returned_since - now
        time = min(mark.time - bucket.time(used), undrained, self._level(at, now))
        if time > 0:
            cells[at + _RETURNED] += time
            cells[at + _TAT] -= time

    def _level(self, at: int, now: int) -> int:
        """Of the bucket there, in the time in which it drains; a damaged one is full now."""
        level: int = self._cells[at + _TAT] - now
        if level <= 0:
            return 0
        if level <= _LONGEST:
            return level
        self._cells[at + _TAT] = now + MINUTE
        return MINUTE

    def _find(self, hash_: int, now: int) -> int:
        """Where the bucket is; else where it can be put; else the one whose slot it shares."""
        cells, slots = self._cells, self._slots
        home = hash_ % slots
        if cells[home * SLOT] == hash_:  # nearly always
            return home * SLOT
        free = None
        for number in range(home, home + _PROBES):
            at = number % slots * SLOT
            if cells[at] == hash_:
                return at
            if free is None and cells[at + _TAT] <= now:
                free = at
            if not cells[at]:
                break
        return home * SLOT if free is None else free
