"""Percentiles of very many values, at a fixed size: an HdrHistogram that is filled in batches.

The package's own recording costs some microseconds a value, too much between two pieces of an
answer; here values are gathered and counted together.
"""

from array import array
from typing import Final

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

_LOWEST, _HIGHEST, _DIGITS = 1, 3_600_000_000, 3
"""Microseconds, up to an hour, with three digits kept."""

_HALF: Final = 1 << 10
"""Half of the sub-buckets that three digits need."""

_SIZE: Final = HdrHistogram(_LOWEST, _HIGHEST, _DIGITS).counts_len
_BATCH: Final = 1 << 14

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)


class Distribution:
    """Counts of durations. Two of them can be added."""

    def __init__(self, counts: NDArray[np.int64] | None = None) -> None:
        self._counts = np.zeros(_SIZE, dtype=np.int64) if counts is None else counts
        self._waiting = array("d")

    @classmethod
    def of(cls, seconds: NDArray[np.float64]) -> "Distribution":
        made = cls()
        made._count(seconds)
        return made

    def record(self, seconds: float) -> None:
        self._waiting.append(seconds)
        if len(self._waiting) >= _BATCH:
            self._settle()

    def counts(self) -> NDArray[np.int64]:
        """By bucket of the HdrHistogram."""
        self._settle()
        return self._counts

    def __add__(self, other: "Distribution") -> "Distribution":
        return Distribution(self.counts() + other.counts())

    def __len__(self) -> int:
        return int(self.counts().sum())

    def histogram(self) -> HdrHistogram:
        """The same as the package's histogram, in microseconds."""
        histogram = HdrHistogram(_LOWEST, _HIGHEST, _DIGITS)
        counts = self.counts()
        for index in np.flatnonzero(counts):
            histogram.record_value(_value(int(index)), int(counts[index]))
        return histogram

    def percentiles(self) -> dict[str, float]:
        """Seconds by name (`p50` ... `p99.9`, `max`); empty when nothing was recorded."""
        histogram = self.histogram()
        if histogram.get_total_count() == 0:
            return {}
        found = histogram.get_percentile_to_value_dict(list(PERCENTILES))
        named = {f"p{percentile:g}": found[percentile] / 1e6 for percentile in PERCENTILES}
        return {**named, "max": histogram.get_max_value() / 1e6}

    def _settle(self) -> None:
        if self._waiting:
            self._count(np.frombuffer(self._waiting, dtype=np.float64))
            self._waiting = array("d")

    def _count(self, seconds: NDArray[np.float64]) -> None:
        values = np.clip(np.rint(seconds * 1e6), 0, _HIGHEST).astype(np.int64)
        # HdrHistogram's index: the bucket by the power of two, then the place in it.
        _, exponents = np.frexp(np.maximum(values, 2 * _HALF - 1).astype(np.float64))
        buckets = exponents.astype(np.int64) - 11
        places = (values >> buckets) + buckets * _HALF
        self._counts += np.bincount(places, minlength=_SIZE)


def _value(index: int) -> int:
    """The lowest value of a bucket of the histogram."""
    bucket = max(0, index // _HALF - 1)
    return (index - bucket * _HALF) << bucket
