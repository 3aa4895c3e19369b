"""Admission of requests, as the settings say."""

from collections.abc import Callable
from random import Random
from typing import Final

from ragstone.ports import Clock
from ragstone.resilience.admission import GatedAdmission, OpenAdmission
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.resilience.limiter import AdaptiveLimiter
from ragstone.resilience.units import Units
from ragstone.settings import Settings
from ragstone.settings import cores as cores_here

_SLOTS_A_CORE: Final = 4
"""So many keep a core busy while some wait for the event loop, and hold each other up for no
longer than CoDel's target and a little: docs/decisions/0007-admission.md."""


def open_admission(
    settings: Settings,
    clock: Clock,
    board: Units | None = None,
    *,
    random: Random | None = None,
    cores: int | None = None,
) -> GatedAdmission | OpenAdmission:
    """For one process; with a `board`, for one of those that share the slots.

    Places in flight bound a process's memory, and its queue its own waiters: it has its part of
    them. `cores`: other than those that this process may use.
    """
    chosen = settings.admission
    if not chosen.enabled:
        return OpenAdmission()
    processes = board.processes if board is not None else 1
    limit, limiter = _slots(settings, board, clock, cores or cores_here())
    gate = Gate(
        "server",
        limit=limit,
        settings=GateSettings(
            queue=max(1, chosen.queue // processes) if chosen.queue else 0,
            target_seconds=chosen.target_seconds,
            interval_seconds=chosen.interval_seconds,
            tenant_share=chosen.tenant_share,
        ),
        clock=clock,
        board=board,
        random=random,
    )
    places = max(1, chosen.in_flight // processes)
    return GatedAdmission(gate, in_flight=places, clock=clock, limiter=limiter)


def _slots(
    settings: Settings, board: Units | None, clock: Clock, cores: int
) -> tuple[Callable[[], int], AdaptiveLimiter | None]:
    """How many there are, over all processes, and who learns it.

    What only computes here needs some for each core. What also waits for another machine needs
    more, and how many only the time tells for which they are held. Then each process learns its
    own number, and the limit is their sum.
    """
    most, first = settings.admission.concurrency, _SLOTS_A_CORE * cores
    if not _asks_elsewhere(settings):
        fixed = min(most, first)
        return (lambda: fixed), None
    processes = board.processes if board is not None else 1
    most, first, least = (max(1, -(-slots // processes)) for slots in (most, first, cores))
    limiter = AdaptiveLimiter(
        initial=min(first, most), minimum=min(least, most), maximum=most, clock=clock
    )
    if board is None:
        return (lambda: limiter.limit), limiter
    return (lambda: board.agree(limiter.limit)), limiter


def _asks_elsewhere(settings: Settings) -> bool:
    """Whether a request that holds a slot waits for what another machine computes."""
    embeds_there = settings.embedder.provider == "openai"
    return embeds_there or bool(settings.reranker.base_url or settings.engine.url)
