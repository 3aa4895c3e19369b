"""How late the event loop wakes, the first sign that something blocks it, and its tasks."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from ragstone.observe.metrics import Metrics

_INTERVAL_SECONDS: Final = 0.1
"""Often enough that whoever is told of lag can act within half a second."""

_GAUGES_EVERY: Final = 5
"""Looks between two readings of the gauges."""


async def watch_process(metrics: Metrics, tell_lag: Callable[[float], None]) -> None:
    """Lag and gauges, until cancelled; `tell_lag` is given each lag in seconds.

    Another process may be the one that renders the metrics.
    """
    looks = 0
    while True:
        due = time.perf_counter() + _INTERVAL_SECONDS
        await asyncio.sleep(_INTERVAL_SECONDS)
        lag = max(0.0, time.perf_counter() - due)
        metrics.event_loop_lag.observe(lag)
        tell_lag(lag)
        looks += 1
        if looks % _GAUGES_EVERY == 0:
            metrics.measure()
            metrics.event_loop_tasks.set(len(asyncio.all_tasks()))
