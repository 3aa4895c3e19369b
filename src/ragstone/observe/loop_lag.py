"""How late the event loop wakes, the first sign that something blocks it, and its tasks."""

import asyncio
import time
from typing import Final

from ragstone.observe.metrics import Metrics

_INTERVAL_SECONDS: Final = 0.5


async def watch_process(metrics: Metrics) -> None:
    """Lag and gauges, until cancelled. Another process may be the one that renders them."""
    while True:
        due = time.perf_counter() + _INTERVAL_SECONDS
        await asyncio.sleep(_INTERVAL_SECONDS)
        metrics.event_loop_lag.observe(max(0.0, time.perf_counter() - due))
        metrics.measure()
        metrics.event_loop_tasks.set(len(asyncio.all_tasks()))
