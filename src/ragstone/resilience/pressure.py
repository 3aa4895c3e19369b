"""How pressure is read from observations, and how a level follows it without swinging."""

from typing import Final

from ragstone.domain.errors import DependencyBusy, Overloaded, ShuttingDown

PRESSED: Final = 0.5
"""Share of observations above the threshold from which a window counts as pressure. A share,
not a mean: one request that waited for a minute must not speak for a thousand that did not."""

CALM: Final = 0.1
"""Share up to which it counts as calm. Between the two a level stays where it is."""

_MOST_PATIENCE: Final = 8
"""How often the time of calm may be asked for that was asked for at first."""


def tells_of_load(error: BaseException) -> bool:
    """Whether a refusal says that there was no room, here or at a dependency.

    Not one for a client in haste (`DeadlineExceeded`), for a tenant that has its share, or
    before a stop: otherwise one client could take quality from all. A dependency that is busy
    says so by its gate's `Overloaded`; its throttle and a pause that it asked for have no cause.
    """
    refusal = error.__cause__ if isinstance(error, DependencyBusy) else error
    return isinstance(refusal, Overloaded) and not isinstance(refusal, ShuttingDown)


class Share:
    """The share of observations above a threshold, in windows that the reader ends."""

    __slots__ = ("_above", "_fewest", "_seen", "_threshold")

    def __init__(self, threshold: float, *, fewest: int = 1) -> None:
        """Fewer than `fewest` observations in a window say nothing: calm."""
        self._threshold = threshold
        self._fewest = fewest
        self._seen = 0
        self._above = 0

    def observe(self, value: float) -> None:
        self._seen += 1
        self._above += value > self._threshold

    def take(self) -> float:
        """The share since the last call, in [0, 1]; begins the next window."""
        share = self._above / self._seen if self._seen >= self._fewest else 0.0
        self._seen = self._above = 0
        return share


class Stairs:
    """A level that goes up when told to, and down by trying.

    A step down is a probe, as a sender's for bandwidth is: whether there is room is seen only
    afterwards. When it must be taken back before it has stood for as long as was waited for
    it, the next try from that level waits twice as long, up to eight times; one that stands
    makes up for it. So at a load between two levels the number of moves in an hour is bounded
    by the wait, and levels that were an overshoot are given back without delay.
    """

    __slots__ = ("_calm_since", "_first_patience", "_left_at", "_patience", "level", "moves")

    def __init__(self, *, patience: float, now: float) -> None:
        """`patience`: seconds of calm before a step down."""
        self.level = 0
        self.moves = 0
        """Steps in either direction since the start."""
        self._first_patience = patience
        self._patience: dict[int, float] = {}
        """By level, where it is not the first."""
        self._calm_since = now
        self._left_at: float | None = None
        """When the level above was left by a step down, unless it was taken again."""

    def up(self, now: float) -> None:
        self.level += 1
        self.moves += 1
        if self._left_at is not None:
            waited = self._patience_of(self.level)
            if now - self._left_at < waited:
                longest = _MOST_PATIENCE * self._first_patience
                self._patience[self.level] = min(2 * waited, longest)
            else:
                self._patience.pop(self.level, None)
        self._left_at = None
        self._calm_since = now

    def stay(self, now: float) -> None:
        """Neither pressure nor calm: the time of calm begins anew."""
        self._calm_since = now

    def calm(self, now: float) -> None:
        """One step down when it has been calm for long enough."""
        if not self.level or now - self._calm_since < self._patience_of(self.level):
            return
        self._patience.pop(self.level + 1, None)  # leaving that one has stood
        self.level -= 1
        self.moves += 1
        self._left_at = self._calm_since = now

    def _patience_of(self, level: int) -> float:
        return self._patience.get(level, self._first_patience)
