"""Every request of a run, with its moment, before the run begins.

Since nothing of it depends on how the target answers, a slow target is offered just as much (the
open model of Schroeder, Wierman and Harchol-Balter, "Open Versus Closed", NSDI 2006), and two
runs with the same seed ask the same.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.load.shapes import Shape

_GRID: Final = 20_000
"""Points at which a shape is looked at."""

MOST_REQUESTS: Final = 20_000_000


def arrivals(
    shape: Shape, *, rate: float, duration: float, evenly: bool, seed: int
) -> NDArray[np.float64]:
    """Ascending arrival times in [0, duration), for `rate` (per second) times the shape.

    The cumulated rate is inverted: at equal distances, or at those of a Poisson process of rate
    one (time rescaling; Çinlar, "Introduction to Stochastic Processes", 1975, section 4.7).
    Raises `InvalidExperiment`.
    """
    _check(rate, duration)
    parts = np.linspace(0.0, 1.0, _GRID + 1)
    middles = (parts[:-1] + parts[1:]) / 2
    rates = np.fromiter((shape.rate(float(part)) for part in middles), np.float64, _GRID)
    cumulated = np.concatenate(([0.0], np.cumsum(rates))) * (rate * duration / _GRID)
    expected = float(cumulated[-1])
    if expected > MOST_REQUESTS:
        raise InvalidExperiment(
            f"This run would have {expected:,.0f} requests; {MOST_REQUESTS:,} can be planned.",
            remedy="Run shorter, or at a lower rate.",
        )
    if evenly:
        points = np.arange(0.5, expected, 1.0)
    else:
        points = _poisson_points(expected, np.random.default_rng(seed))
    times = np.interp(points, cumulated, parts * duration)
    return np.asarray(times[times < duration], dtype=np.float64)


def _check(rate: float, duration: float) -> None:
    for name, value, unit in (("rate", rate, " requests/s"), ("duration", duration, " s")):
        if not 0 < value < 1e9:
            raise InvalidExperiment(
                f"A load cannot have a {name} of {value:g}{unit}.",
                remedy="Give a number above 0, and below 1,000,000,000.",
            )


def _poisson_points(expected: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Points of a Poisson process of rate one in [0, expected): their number, then where."""
    return np.sort(random.uniform(0.0, expected, random.poisson(expected)))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The arrivals and what each of them will do; all arrays have the same first dimension."""

    times: NDArray[np.float64]
    """Seconds since the run's beginning."""
    questions: NDArray[np.int32]
    """Number of the question, for each turn of the conversation that begins then."""
    pauses: NDArray[np.float64]
    """Seconds of thought before the second turn and each later one."""
    keys: NDArray[np.int32]
    """Number of the key, -1 without one."""
    leaves: NDArray[np.float64]
    """How far into the answer the client leaves, in [0, 1); not a number: it stays."""
    duration: float

    def __len__(self) -> int:
        return len(self.times)

    def share(self, number: int, of: int) -> Self:
        """What generator `number` of several does: every so-manieth arrival."""
        part = slice(number, None, of)
        return type(self)(
            self.times[part],
            self.questions[part],
            self.pauses[part],
            self.keys[part],
            self.leaves[part],
            self.duration,
        )

    def peak_rate(self) -> float:
        """The most arrivals in any whole second, a second."""
        if len(self) == 0:
            return 0.0
        window = min(1.0, self.duration)
        first = np.searchsorted(self.times, self.times - window, side="right")
        return float(np.max(np.arange(1, len(self) + 1) - first)) / window


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What clients do, as shares and means."""

    zipf: float | None = 1.0
    """Exponent of the questions' popularity; None: in the file's order, from the start again."""
    once: bool = False
    """Each question once; there are then no more arrivals than questions."""
    turns: int = 1
    """Questions in each conversation."""
    think_seconds: float = 5.0
    """Mean pause before a next turn; pauses are exponentially distributed."""
    leave: float = 0.0
    """Share of the clients that go before the answer's end."""


def make_schedule(
    times: NDArray[np.float64],
    *,
    duration: float,
    questions: int,
    behaviour: Behaviour,
    key_weights: tuple[float, ...] = (),
    seed: int,
) -> Schedule:
    """Give each arrival its questions, key and patience.

    Each property is drawn from a random stream of its own, so that changing one leaves the
    others as they were. Raises `InvalidExperiment`.
    """
    _check_behaviour(behaviour)
    asked, thought, keyed, left = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(4)
    )
    if behaviour.once:
        times = times[: max(1, questions // behaviour.turns)]
    count = len(times)
    leaves = left.uniform(0.0, 1.0, count)
    stays = left.uniform(0.0, 1.0, count) >= behaviour.leave
    leaves[stays] = np.nan
    return Schedule(
        times=times,
        questions=_choose(questions, count, behaviour, asked),
        pauses=thought.exponential(behaviour.think_seconds, (count, behaviour.turns - 1)),
        keys=_keys(key_weights, count, keyed),
        leaves=leaves,
        duration=duration,
    )


def zipf_shares(count: int, exponent: float) -> NDArray[np.float64]:
    """Shares of the first, second, ... most popular of `count`: 1 / rank ** exponent, summing
    to 1. The popularity of what people ask for is close to it with an exponent near 1 (Breslau
    et al., "Web Caching and Zipf-like Distributions", INFOCOM 1999)."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _choose(
    questions: int, count: int, behaviour: Behaviour, random: np.random.Generator
) -> NDArray[np.int32]:
    size = (count, behaviour.turns)
    if behaviour.zipf is None or behaviour.once:
        return (np.arange(count * behaviour.turns) % questions).reshape(size).astype(np.int32)
    shares = zipf_shares(questions, behaviour.zipf)
    return random.choice(questions, size, p=shares).astype(np.int32)


def _keys(weights: tuple[float, ...], count: int, random: np.random.Generator) -> NDArray[np.int32]:
    if not weights:
        return np.full(count, -1, dtype=np.int32)
    shares = np.asarray(weights, dtype=np.float64)
    return random.choice(len(weights), count, p=shares / shares.sum()).astype(np.int32)


def _check_behaviour(behaviour: Behaviour) -> None:
    checks = (
        (0 <= behaviour.leave <= 1, f"a share of {behaviour.leave:g} leaving", "0 to 1"),
        (1 <= behaviour.turns <= 100, f"{behaviour.turns} turns a conversation", "1 to 100"),
        (behaviour.think_seconds >= 0, f"{behaviour.think_seconds:g} s of thought", "0 up"),
        (0 <= (behaviour.zipf or 0) <= 10, f"a Zipf exponent of {behaviour.zipf}", "0 to 10"),
    )
    for holds, what, allowed in checks:
        if not holds:
            raise InvalidExperiment(
                f"A load cannot have {what}.", remedy=f"Give a number from {allowed}."
            )
