"""Known ways to adapt a concurrency limit, as briefly as they can be put, with their defaults."""

import math


class Fixed:
    """No adaptation."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def sample(self, latency: float, in_flight: int) -> None:
        """Learns nothing."""

    def dropped(self, in_flight: int) -> None:
        """Learns nothing."""


class Aimd:
    """One more a sample, a tenth less a timeout (Netflix's AIMDLimit)."""

    def __init__(self, initial: int, minimum: int, maximum: int) -> None:
        self.limit, self._minimum, self._maximum = initial, minimum, maximum

    def sample(self, latency: float, in_flight: int) -> None:
        if in_flight * 2 >= self.limit:
            self.limit = min(self._maximum, self.limit + 1)

    def dropped(self, in_flight: int) -> None:
        self.limit = max(self._minimum, int(self.limit * 0.9))


class Vegas:
    """Calls estimated to queue, from the least latency seen; probed anew (Netflix's VegasLimit)."""

    def __init__(self, initial: int, minimum: int, maximum: int) -> None:
        self._limit, self._minimum, self._maximum = float(initial), minimum, maximum
        self._least = math.inf
        self._samples = 0

    @property
    def limit(self) -> int:
        return int(self._limit)

    def sample(self, latency: float, in_flight: int) -> None:
        self._samples += 1
        if self._samples > 30 * self._limit:
            self._samples, self._least = 0, latency
            return
        self._least = min(self._least, latency)
        if in_flight * 2 < self._limit:
            return
        digits = max(1.0, math.log10(self._limit))
        queue = math.ceil(self._limit * (1 - self._least / latency))
        if queue <= digits:
            self._set(self._limit + 6 * digits)
        elif queue < 3 * digits:
            self._set(self._limit + digits)
        elif queue > 6 * digits:
            self._set(self._limit - digits)

    def dropped(self, in_flight: int) -> None:
        self._set(self._limit - max(1.0, math.log10(self._limit)))

    def _set(self, limit: float) -> None:
        self._limit = min(self._maximum, max(self._minimum, limit))


class Gradient2:
    """Limit times long-term over present latency, plus four (Netflix's Gradient2Limit).

    That library ignores drops; here a timeout counts as a sample of its length, or the limiter
    would see the survivors only.
    """

    def __init__(self, initial: int, minimum: int, maximum: int, timeout: float = 10.0) -> None:
        self._limit, self._minimum, self._maximum = float(initial), minimum, maximum
        self._timeout = timeout
        self._long = 0.0
        self._samples = 0

    @property
    def limit(self) -> int:
        return int(self._limit)

    def sample(self, latency: float, in_flight: int) -> None:
        self._samples += 1
        weight = 1 / self._samples if self._samples <= 10 else 2 / 601
        self._long += weight * (latency - self._long)
        if self._long > 2 * latency:
            self._long *= 0.95
        if in_flight < self._limit / 2:
            return
        gradient = max(0.5, min(1.0, 1.5 * self._long / latency))
        limit = self._limit + 0.2 * (self._limit * gradient + 4 - self._limit)
        self._limit = min(self._maximum, max(self._minimum, limit))

    def dropped(self, in_flight: int) -> None:
        self.sample(self._timeout, in_flight)
